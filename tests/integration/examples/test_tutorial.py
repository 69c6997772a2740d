"""The tutorial, typed by a machine: each file written, each line entered, and what stands below it compared.

In its blocks, `...` stands for any text, and times, ids, durations and addresses may differ. A `py` block is a file, named
in its first line. A line with a prompt is typed in the second terminal, but `eventsrc dev` in the first, whose output the
blocks without a prompt are. Ctrl-C is pressed before `eventsrc dev` is typed again.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from eventsrc.localstack.stack import LocalStack
from tests.unit.docs.reading import ROOT, blocks

PAGE = ROOT / "docs" / "tutorial.md"
WITHIN_S = 90.0
_VARYING = [
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)"), "<time>"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<digest>"),
    (re.compile(r"\b[\d,]+ ms\b"), "<duration>"),
    (re.compile(r"\bready in [\d.]+ s\b"), "ready in <duration>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<address>"),
    (re.compile(r"revision \d+"), "revision <number>"),
    (re.compile(r"(?<=\S) +"), " "),
]


class Typed(NamedTuple):
    """A line with its prompt, and what the page says comes of it."""

    line: str
    shown: list[str]


def matches(shown: str, seen: str) -> bool:
    """Whether a line of the page says what a line of a terminal says."""
    for pattern, name in _VARYING:
        shown, seen = pattern.sub(name, shown), pattern.sub(name, seen)
    return re.fullmatch(".*".join(map(re.escape, shown.rstrip().split("..."))), seen.rstrip()) is not None


def match_all(shown: list[str], seen: list[str]) -> bool:
    """A line `...` alone is any number of lines."""
    if not shown or not seen:
        return all(line == "..." for line in shown) and not seen
    if shown[0] == "...":
        return match_all(shown[1:], seen) or match_all(shown, seen[1:])
    return matches(shown[0], seen[0]) and match_all(shown[1:], seen[1:])


def typed_lines(text: str) -> Iterator[Typed]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, *shown = part.splitlines()
        yield Typed(line, shown)


class Dev:
    """The first terminal: `eventsrc dev`, and how many lines of what it says were found on the page."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._directory, self._environment = directory, environment
        self._log = directory.parent / "dev.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._seen = 0

    def type(self, line: str) -> None:
        self.press_ctrl_c()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                line.split(),
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def press_ctrl_c(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            assert self._process.wait(WITHIN_S) == 0, self._log.read_text()
            self._process = None

    def wait_said(self, shown: list[str]) -> None:
        """Each of these lines, in this order, whatever comes between."""
        wanted = [line for line in shown if line != "..."]
        deadline = time.monotonic() + WITHIN_S
        while True:
            left = list(wanted)
            for number, line in enumerate(self._log.read_text().splitlines()[self._seen :], self._seen + 1):
                if matches(left[0], line):
                    left.pop(0)
                if not left:
                    self._seen = number
                    return
            assert time.monotonic() < deadline, f"`eventsrc dev` did not say {left[0]!r}:\n{self._log.read_text()}"
            time.sleep(0.1)


class Terminal:
    """The second terminal: one shell, so that `cd` and `export` last."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash"], cwd=directory, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def type(self, line: str) -> list[str]:
        """What comes of it, up to the next prompt."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {line}\n}} < /dev/null\necho ==prompt==\n")
        self._shell.stdin.flush()
        seen: list[str] = []
        for text in self._shell.stdout:
            if text == "==prompt==\n":
                return seen
            seen.append(text.rstrip("\n"))
        raise AssertionError(f"the shell ended at {line!r}: {seen}")

    def close(self) -> None:
        self._shell.communicate()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that Postgres may enter too, where it has to run under an account of its own."""
    directory = Path(tempfile.mkdtemp(prefix="eventsrc-tutorial-"))
    directory.chmod(0o755)
    yield directory
    LocalStack(directory / "bank" / ".eventsrc").wipe()
    shutil.rmtree(directory)


@pytest.fixture
def environment() -> dict[str, str]:
    """Of somebody who has installed eventsrc, and set nothing."""
    kept = {name: value for name, value in os.environ.items() if not re.search("EVENTSRC|KAFKA|DATABASE|PYTEST", name)}
    kept |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "TZ": "Europe/Berlin"}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def write(text: str, directory: Path) -> None:
    first, _, rest = text.partition("\n")
    name, at_end = re.fullmatch(r"# (\w+\.py)(, at its end)?", first).groups()  # type: ignore[union-attr]  # told if not
    with (directory / name).open("a" if at_end else "w") as file:
        file.write(rest)


@pytest.mark.timeout(600)
def test_the_tutorial_can_be_typed(place: Path, environment: dict[str, str]) -> None:
    directory = place / "bank"
    dev, terminal = Dev(directory, environment), Terminal(place, environment)
    try:
        for language, text in blocks(PAGE):
            if language == "py":
                write(text, directory)
            elif language == "" and not text.startswith("$ "):
                dev.wait_said(text.splitlines())
            elif language == "":
                for line, shown in typed_lines(text):
                    if line.startswith("eventsrc dev"):
                        dev.type(line)
                        dev.wait_said(shown)
                    else:
                        seen = terminal.type(line)
                        assert match_all(shown, seen), f"$ {line}\n" + "\n".join(seen)
    finally:
        terminal.close()
        dev.press_ctrl_c()


# ---- the comparison itself


@pytest.mark.parametrize(
    ("shown", "seen", "same"),
    [
        ("sequence 1, 90 ms", "sequence 1, 1,409 ms", True),
        ("sequence 1, 90 ms", "sequence 2, 90 ms", False),
        ("  balance  250000", "  balance  25000", False),
        ("note: ..., more", "note: one, two, more", True),
        ("note: ...", "error: one", False),
    ],
)
def test_lines_that_are_the_same(shown: str, seen: str, same: bool) -> None:
    assert matches(shown, seen) is same


def test_lines_may_be_left_out_where_the_page_says_so() -> None:
    assert match_all(["a", "...", "d"], ["a", "b", "c", "d"])
    assert not match_all(["a", "d"], ["a", "b", "d"])
    assert not match_all(["a"], ["a", "b"])
    assert not match_all(["a", "b"], ["a"])
    assert match_all([], [])

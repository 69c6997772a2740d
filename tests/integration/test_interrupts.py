"""Ctrl-C at any moment of any command: exit code 130 (a drain: 0), no traceback, nothing by half, nothing left running."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import IsolationLevel

from eventsrc.adapters.local.processes import is_alive
from eventsrc.adapters.postgres.upgrading import upgrade
from tests.harness.collect import Reader, wait_until
from tests.integration.test_operations import Bank

INTERRUPTED = 130
BEGIN = """
import os, sys
from eventsrc.cli import main as command

run, told = command._run, int(sys.argv.pop(1))
command._run = lambda words: (os.write(told, b"."), run(words))[1]
command.main()
"""
"""The interpreter's own start is over, and a command's begins: before that nobody could end it quietly."""

COMMANDS = {
    "send": "send --file lines.jsonl --timeout 5",
    "show": "show Account a1",
    "log": "log Account a1",
    "tail": "tail --since=-1h",
    "tail with JSON logs": "tail --log-format json",
    "replay": "replay --until end --into states.jsonl",
    "replay to SQLite": "replay --until end --into sqlite:states.db",
    "checkpoint now": "checkpoint now --timeout 5",
    "status --watch": "status --watch 1",
    "topics create": "topics create",
    "db upgrade": "db upgrade",
    "schema export": "schema export --dir exported",
    "init": "init new-app",
    "doctor": "doctor",
    "check": "check examples.bank.app:pipeline --schemas-dir checked",  # which runs handlers: one of the other ends its process
    "run": "run",
    "run of two": "run --workers 2",
    "dev": "dev",
}
SHORT = {"show", "log", "replay", "replay to SQLite", "checkpoint now", "topics create", "db upgrade", "schema export"} | {
    "init", "doctor", "check",
}  # fmt: skip
DRAINING = {"run", "run of two", "dev"}
MOMENTS_S = (0.0, 0.1, 0.3, 0.6, 1.0, 1.6, 2.5)


class Ended:
    """How a command ended that was interrupted when `moment`, called at its begin, returned."""

    def __init__(self, bank: Bank, words: list[str], moment: Callable[[], object]) -> None:
        reading, writing = os.pipe()
        with closing(os.fdopen(reading, "rb")) as begun:
            process = subprocess.Popen(
                [sys.executable, "-c", BEGIN, str(writing), *words],
                cwd=bank.directory, env=bank.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True, pass_fds=(writing,),
            )  # fmt: skip
            os.close(writing)
            assert begun.read(1) == b"."
        try:
            moment()
        except BaseException:
            process.kill()
            process.communicate()
            raise
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        interrupted_s = time.monotonic()
        try:
            self.stdout, self.stderr = process.communicate(timeout=40)
        finally:
            process.kill()
            process.wait()
        self.took_s = time.monotonic() - interrupted_s
        self.code = process.returncode


@pytest.fixture(scope="module")
def bank(
    kafka: str, make_database: Callable[[str], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bank]:
    with make_database("interrupts") as address:
        upgrade(address)
        directory = tmp_path_factory.mktemp("interrupts")
        line = {"aggregate": "Account", "command": "Deposit", "payload": {"amount": 1}}
        made = Bank(directory, kafka, address)
        (directory / "lines.jsonl").write_text(
            "\n".join(json.dumps(line | {"id": f"a{n % 50}"}) for n in range(20_000))
        )
        yield made


def children_of(directory: Path) -> set[int]:
    """Processes that work in this directory."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if (entry / "cwd").resolve() == directory.resolve():
                    found.add(int(entry.name))
    return {process for process in found if is_alive(process)}


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="processes are looked for in /proc")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupted_command_leaves_nothing_half_done(name: str, bank: Bank) -> None:
    words = COMMANDS[name].split()
    for after_s in MOMENTS_S:
        ended = Ended(bank, words, partial(time.sleep, after_s))
        about = f"{name} after {after_s} s: exit {ended.code} after {ended.took_s:.1f} s\n{ended.stdout[-2000:]}\n{ended.stderr}"
        assert "Traceback" not in ended.stderr + ended.stdout, about
        assert "Exception ignored" not in ended.stderr, about
        assert "Aborted" not in ended.stderr, about
        allowed = {INTERRUPTED, -signal.SIGINT} | (  # the latter while the interpreter is taken down
            {0} if name in DRAINING else {0, 1} if name in SHORT else set()
        )  # it may have ended before
        assert ended.code in allowed, about
        assert ended.took_s < 30, about
        assert children_of(bank.directory) == set(), about
        assert_whole(bank.directory)


def assert_whole(directory: Path) -> None:
    """Whatever is there is there as a whole."""
    left = [path for path in directory.rglob("*") if path.name.endswith((".partial", ".tmp"))]
    assert left == []
    for path in [*directory.rglob("*.avsc"), *directory.rglob("fold.json")]:
        json.loads(path.read_text())
    states = directory / "states.jsonl"
    if states.exists():
        assert all(json.loads(line)["aggregate"] == "account" for line in states.read_text().splitlines())
        states.unlink()
    database = directory / "states.db"
    if database.exists():
        with closing(sqlite3.connect(database)) as opened:
            assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            opened.execute("SELECT count(*) FROM account").fetchone()
        database.unlink()
    made = directory / "new-app"
    if made.exists():
        assert {path.name for path in made.iterdir()} == {
            "pyproject.toml", "new_app", "tests", "README.md", ".gitignore",
        }  # fmt: skip
        assert (made / "README.md").read_text().endswith("\n")
        for path in sorted(made.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        made.rmdir()


def test_who_interrupts_a_file_of_commands_is_told_where_it_stood(bank: Bank) -> None:
    with closing(Reader(bank.environ["KAFKA_BOOTSTRAP_SERVERS"])) as reader:
        topic = f"{bank.environ['EVENTSRC_TEST_PIPELINE']}.account.commands"

        def sent() -> int:
            return sum(reader.ends(topic, IsolationLevel.READ_UNCOMMITTED).values())

        before = sent()
        under_way = partial(wait_until, lambda: sent() > before, 60, "some lines are sent")
        # nobody answers: it would wait as long as the test may take, were it to wait for that
        ended = Ended(bank, ["send", "--file", "lines.jsonl", "--timeout", "600"], under_way)
    assert ended.code == INTERRUPTED, ended.stderr
    assert "interrupted: lines 1 to " in ended.stderr
    assert ended.stdout == ""

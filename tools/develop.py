#!/usr/bin/env python3
"""Everything a developer runs, with nothing but Python >= 3.11: `python3 tools/develop.py demo|test|lint|...`.

The Makefile and .ci/run only call this. It makes .venv from the hash-pinned lock when that has changed, then runs the
command there. Standard library only; it must at least be parsed by an old Python, to say that it is too old.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements" / "dev.txt"
STAMP = VENV / "made-from"
MINIMUM = (3, 11)

# What `make lock` runs; for every platform and Python from 3.11 on.
COMPILE = (
    "pip compile pyproject.toml --group dev --extra local --extra containers --extra registry --extra metrics"
    " --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --output-file requirements/dev.txt"
)
BUILD_SITE = ["mkdocs", "build", "--strict", "--quiet"]
EXAMPLES = ("bank", "orders", "http")
MADE = (".venv", ".eventsrc", "build", "dist", "site", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis")


def main(arguments: Sequence[str]) -> int:
    use_new_enough_python()
    commands: dict[str, Callable[[list[str]], int]] = {
        "setup": lambda _: 0,
        "demo": lambda rest: become("-m", "examples.bank.demo", *rest),
        "example": example,
        "test": lambda rest: become("-m", "pytest", *rest),
        "lint": lambda _: lint(),
        "docs": lambda _: docs(),
        "bench": lambda rest: become("-m", "benchmarks", *rest),
    }
    name, rest = (arguments[0], list(arguments[1:])) if arguments else ("", [])
    if name == "lock":
        return lock()
    if name == "clean":
        return clean()
    if name not in commands:
        print(f"usage: {Path(sys.argv[0]).name} {'|'.join([*commands, 'lock', 'clean'])} [arguments]", file=sys.stderr)
        return 2
    set_up(with_services=name not in ("lint", "docs"))
    os.chdir(ROOT)
    return commands[name](rest)


def use_new_enough_python() -> None:
    """Goes on in a newer Python of this machine if this one is too old."""
    if sys.platform == "win32":
        sys.exit("eventsrc's tools run on Linux and macOS. On Windows, use WSL.")
    if sys.version_info >= MINIMUM:
        return
    for minor in range(20, MINIMUM[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer and subprocess.call([newer, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            os.execv(newer, [newer, *sys.argv])
    sys.exit(f"eventsrc needs Python 3.11 or newer. This is {sys.version.split()[0]}, and no newer one is on PATH.")


def set_up(with_services: bool) -> None:
    """Makes .venv from the lock, unless that was done; fetches Kafka, unless that was done."""
    with one_at_a_time():
        wanted = fingerprint()
        if not STAMP.exists() or STAMP.read_text() != wanted:
            make_environment()
            STAMP.write_text(wanted)
    if with_services and not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        check(PYTHON, "-m", "eventsrc.localstack")


def fingerprint() -> str:
    content = b"".join(path.read_bytes() for path in (LOCK, ROOT / "pyproject.toml", Path(__file__)))
    return f"{sys.version_info[0]}.{sys.version_info[1]} {ROOT} {hashlib.sha256(content).hexdigest()}\n"


def make_environment() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        sys.exit(
            "This Python cannot make virtual environments: its module ensurepip is missing.\n"
            f"  next: sudo apt install python{version}-venv   (Debian, Ubuntu), then run this again"
        )
    if not usable():
        say(f"making .venv with Python {sys.version.split()[0]}")
        check(sys.executable, "-m", "venv", "--clear", str(VENV))
    count = sum("==" in line for line in LOCK.read_text().splitlines())
    say(f"installing {count} packages, pinned by hash, from requirements/dev.txt")
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    check(*pip, "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(LOCK))
    check(*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT))


def usable() -> bool:
    """Whether .venv is there, whole, and of this Python's version."""
    same = f"import sys, pip; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    return PYTHON.exists() and subprocess.call([str(PYTHON), "-c", same], stderr=subprocess.DEVNULL) == 0


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    import fcntl

    # On the directory itself: a lock file inside .venv would not outlive its making.
    descriptor = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def lint() -> int:
    """Every check, also after one has failed."""
    checks = [
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["mypy"],
        ["lint-imports"],
        BUILD_SITE,
    ]
    failed = []
    for command in checks:
        if call(command):
            failed.append(" ".join(command))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def docs() -> int:
    """Writes the pages that are made of the code, then builds the site."""
    check(PYTHON, "-m", "tools.cli_reference")
    code = call(BUILD_SITE)
    if not code:
        print(f"next: open {ROOT / 'site' / 'index.html'}")
    return code


def call(command: Sequence[str]) -> int:
    """One of the environment's programs."""
    say(" ".join(command))
    quiet = {"NO_MKDOCS_2_WARNING": "1"}  # an announcement of the theme's authors, at each build
    return subprocess.call([str(VENV / "bin" / command[0]), *command[1:]], env={**os.environ, **quiet})


def example(words: Sequence[str]) -> int:
    if not words or words[0] not in EXAMPLES:
        print(f"usage: {Path(sys.argv[0]).name} example {'|'.join(EXAMPLES)} [arguments]", file=sys.stderr)
        return 2
    return become("-m", f"examples.{words[0]}", *words[1:])


def become(*arguments: str) -> int:
    """Signals and the exit code are the command's own."""
    sys.stdout.flush()
    os.execv(PYTHON, [str(PYTHON), *arguments])


def lock() -> int:
    """Pins anew what pyproject.toml asks for. Needs uv, which no other command does."""
    uv = next((str(path) for path in (VENV / "bin" / "uv",) if path.exists()), None) or shutil.which("uv")
    if uv is None:
        sys.exit("making the lock needs uv.\n  next: .venv/bin/pip install uv")
    return subprocess.call([uv, *COMPILE.split(), *sys.argv[2:]], cwd=ROOT)


def clean() -> int:
    """Removes what the other commands have made here. What is fetched for all projects stays in the user's cache."""
    for name in MADE:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    return 0


def check(*command: str | Path) -> None:
    code = subprocess.call([str(part) for part in command], cwd=ROOT)
    if code:
        sys.exit(code)


def say(text: str) -> None:
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

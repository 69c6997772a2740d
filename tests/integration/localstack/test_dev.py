"""`eventsrc dev` as a person uses it: a process in a project, code that changes, Ctrl-C, and worse ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventsrc.adapters.local.processes import is_alive
from eventsrc.localstack.processes import wait_until
from eventsrc.localstack.services import read_record
from eventsrc.localstack.stack import LocalStack

_REPOSITORY = Path(__file__).parents[3]

_APP = """\
from eventsrc import Pipeline, apply, handle

pipeline = Pipeline("shop", partitions=1)


@pipeline.command
class Add:
    amount: int


@pipeline.event
class Added:
    amount: int


@pipeline.aggregate
class Basket:
    total: int = 0

    @handle
    def add(self, command: Add) -> Added:
        return Added(command.amount)

    @apply
    def added(self, event: Added) -> None:
        self.total += event.amount
"""


class _Dev:
    """`eventsrc dev` in a project directory, its output read from a file."""

    def __init__(self, project: Path, *arguments: str) -> None:
        self.project = project
        self._output = project / "output.txt"
        environ = {**os.environ, "PYTHONPATH": str(_REPOSITORY), "PYTHONUNBUFFERED": "1"}
        for name in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"):
            environ.pop(name, None)
        self.environ = environ
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "eventsrc", "dev", *arguments],
                cwd=project,
                env=environ,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        return self._output.read_text()

    def wait_for(self, pattern: str, times: int = 1) -> None:
        found = wait_until(lambda: len(re.findall(pattern, self.text())) >= times or self.ended(), timeout_s=60)
        assert found, self.text()
        assert len(re.findall(pattern, self.text())) >= times, self.text()

    def ended(self) -> bool:
        return self.process.poll() is not None

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def processes(self) -> list[int]:
        """The supervisor, the servers and the worker."""
        record = read_record(LocalStack(self.project / ".eventsrc").directory.record)
        assert record is not None
        workers = _children(self.process.pid) if Path("/proc/self").exists() else []
        return sorted({record.supervisor, *(pid for pid, _ in record.children), *workers})

    def eventsrc(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "eventsrc", *words],
            cwd=self.project,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def project() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="eventsrc-dev-", ignore_cleanup_errors=True) as directory:
        path = Path(directory)
        path.chmod(0o755)
        (path / "shop.py").write_text(_APP)
        yield path
        LocalStack(path / ".eventsrc").wipe()


@pytest.fixture
def dev(project: Path) -> Iterator[_Dev]:
    running = _Dev(project, "shop:pipeline")
    yield running
    if not running.ended():
        running.end()


def test_dev_prints_addresses_processes_commands_and_drains_on_ctrl_c(dev: _Dev) -> None:
    dev.wait_for(r"partition basket/0 open")
    assert re.search(r"^  kafka +127\.0\.0\.1:\d+ +4\.4\.0, ready in \d+\.\d s +\.eventsrc/kafka$", dev.text(), re.M)
    assert re.search(r"^  postgres +postgresql://\S+ +\d+\.\d+, ready in", dev.text(), re.M)
    offered = re.search(r"^  try +eventsrc (send .*)$", dev.text(), re.M)
    assert offered is not None
    assert offered[1] == "send shop:pipeline Basket b-1 Add '{\"amount\": 1}'"
    assert "Added(amount=1)" in dev.eventsrc("send", "shop:pipeline", "Basket", "b-1", "Add", '{"amount": 1}')
    processes = dev.processes()
    assert dev.end() == 0
    assert "drained" in dev.text()
    assert not any(is_alive(pid) for pid in processes)


def test_changed_code_is_loaded_and_broken_code_is_waited_out(dev: _Dev) -> None:
    dev.wait_for(r"partition basket/0 open")
    (dev.project / "shop.py").write_text(_APP.replace("Added(command.amount)", "Added(command.amount * 10)"))
    dev.wait_for(r"changed +shop\.py")
    dev.wait_for(r"partition basket/0 open", times=2)
    assert "Added(amount=20)" in dev.eventsrc("send", "shop:pipeline", "Basket", "b-1", "Add", '{"amount": 2}')
    (dev.project / "shop.py").write_text("import nothing_of_that_name\n")
    dev.wait_for(r"error: importing shop failed: No module named 'nothing_of_that_name'")
    dev.wait_for(r"worker +ended with exit code 2; the next change")
    assert not dev.ended()
    (dev.project / "shop.py").write_text(_APP)
    dev.wait_for(r"partition basket/0 open", times=3)
    assert dev.end(signal.SIGTERM) == 0


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="children are found through /proc")
def test_nothing_outlives_a_killed_dev(dev: _Dev) -> None:
    dev.wait_for(r"partition basket/0 open")
    processes = dev.processes()
    assert len(processes) == 4
    began = time.monotonic()
    dev.end(signal.SIGKILL)
    assert wait_until(lambda: not any(is_alive(pid) for pid in processes), timeout_s=40), time.monotonic() - began


def test_fresh_begins_anew(project: Path) -> None:
    first = _Dev(project, "shop:pipeline")
    first.wait_for(r"partition basket/0 open")
    first.eventsrc("send", "shop:pipeline", "Basket", "b-1", "Add", '{"amount": 1}')
    assert first.end() == 0
    second = _Dev(project, "shop:pipeline", "--fresh")
    second.wait_for(r"partition basket/0 open after")
    assert second.end() == 0


def test_a_second_dev_shares_the_stack_and_says_when_it_is_gone(dev: _Dev) -> None:
    dev.wait_for(r"partition basket/0 open")
    (dev.project / "other").mkdir()
    second = _Dev(dev.project / "other", "--state-dir", str(dev.project / ".eventsrc"))
    second.wait_for(r"kafka +127\.0\.0\.1:\d+ +4\.4\.0, shared")
    second.wait_for(r"worker +none")
    assert dev.end() == 0
    assert second.process.wait(60) == 3
    assert "the command that started the stack has ended" in second.text()
    assert "next: start again" in second.text()


def test_fresh_is_refused_while_another_command_uses_the_stack(dev: _Dev) -> None:
    dev.wait_for(r"partition basket/0 open")
    (dev.project / "other").mkdir()
    second = _Dev(dev.project / "other", "--fresh", "--state-dir", str(dev.project / ".eventsrc"))
    assert second.process.wait(60) == 3
    assert "cannot be wiped" in second.text()
    assert not dev.ended()

"""Real processes under a supervisor: heard, told when they end, and never outliving it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventsrc.adapters.local.processes import is_alive
from eventsrc.adapters.local.slots import Slot
from eventsrc.errors import InvalidSettings
from eventsrc.runtime.supervised import VARIABLE, accept_supervision
from eventsrc.runtime.worker_processes import EndAtOnce, Ended, Happened, Said, Signalled, WorkerProcesses

ROOT = str(Path(__file__).parents[3])
SUPERVISED = "import os; from eventsrc.runtime.supervised import accept_supervision as a; lock = a(os.environ)\n"


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    taken = Slot.take(tmp_path, "group", "one")
    yield taken
    taken.release()


@pytest.fixture
def processes(slot: Slot) -> Iterator[Callable[[str], WorkerProcesses]]:
    opened: list[WorkerProcesses] = []

    def running(program: str) -> WorkerProcesses:
        made = WorkerProcesses([slot], lambda _: [sys.executable, "-c", program], {**os.environ, "PYTHONPATH": ROOT})
        opened.append(made.__enter__())
        return made

    yield running
    for each in opened:
        each.__exit__()


def heard_until(processes: WorkerProcesses, enough: Callable[[list[Happened]], bool]) -> list[Happened]:
    happened: list[Happened] = []
    deadline = time.monotonic() + 30
    while not enough(happened):
        assert time.monotonic() < deadline, happened
        happened += processes.wait(0.1)
    return happened


def has_ended(happened: list[Happened]) -> bool:
    return any(isinstance(each, Ended) for each in happened)


def test_every_line_comes_before_the_end(processes: Callable[[str], WorkerProcesses]) -> None:
    running = processes(
        "import os; [os.write(1 + n % 2, b'line %d\\n' % n) for n in range(5000)]; os.write(1, b'rest\\xff'); os._exit(3)"
    )
    running.start("one")
    happened = heard_until(running, has_ended)
    assert happened == [*(Said("one", f"line {n}") for n in range(5000)), Said("one", "rest\ufffd"), Ended("one", 3)]


def test_a_line_without_an_end_is_cut(processes: Callable[[str], WorkerProcesses]) -> None:
    running = processes("import os; os.write(1, b'x' * 200_000)")
    running.start("one")
    lines = [each.line for each in heard_until(running, has_ended) if isinstance(each, Said)]
    assert "".join(lines) == "x" * 200_000
    assert len(lines) > 1


def test_a_worker_that_closes_its_output_is_still_waited_for(processes: Callable[[str], WorkerProcesses]) -> None:
    running = processes("import os, time; os.close(1); os.close(2); time.sleep(0.3)")
    running.start("one")
    looks = 0
    while not has_ended(list(running.wait(5))):
        looks += 1
    assert looks < 10  # the closed pipe does not wake it again and again


def test_a_program_that_keeps_the_pipe_open_delays_nothing(processes: Callable[[str], WorkerProcesses]) -> None:
    running = processes("import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)")
    running.start("one")
    said, ended = heard_until(running, has_ended)
    assert isinstance(said, Said)
    kept_by = int(said.line)
    try:
        assert ended == Ended("one", 0)
        assert is_alive(kept_by)
    finally:
        os.kill(kept_by, signal.SIGKILL)


def test_the_first_signal_is_told_and_the_second_one_raised(processes: Callable[[str], WorkerProcesses]) -> None:
    running = processes("import time; time.sleep(60)")
    running.start("one")
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard_until(running, bool) == [Signalled(signal.SIGTERM)]
    with pytest.raises(EndAtOnce):
        os.kill(os.getpid(), signal.SIGINT)
    running.terminate_all()
    assert heard_until(running, has_ended)[-1] == Ended("one", -signal.SIGTERM)


def test_a_worker_shares_the_slot_and_holds_it_alone_when_its_supervisor_lets_go(
    processes: Callable[[str], WorkerProcesses], slot: Slot, tmp_path: Path
) -> None:
    running = processes(
        f"{SUPERVISED}from pathlib import Path; from eventsrc.adapters.local.slots import Slot\n"
        f"slot = Slot.inherit(Path({str(tmp_path)!r}), 'group', 'one', lock)\n"
        f"print(slot.instance_id, slot.directory, {VARIABLE!r} in os.environ, flush=True); import time; time.sleep(60)"
    )
    running.start("one")
    assert heard_until(running, bool) == [Said("one", f"one {slot.directory} False")]
    slot.release()
    with pytest.raises(InvalidSettings, match="in use"):
        Slot.take(tmp_path, "group", "one")
    running.terminate_all()
    heard_until(running, has_ended)
    Slot.take(tmp_path, "group", "one").release()


def test_who_is_not_supervised_goes_on_by_itself() -> None:
    assert accept_supervision({}) is None


@pytest.mark.parametrize("tied_by", ["kernel", "input"])
def test_a_worker_ends_with_its_killed_supervisor(tied_by: str, tmp_path: Path) -> None:
    """By the kernel; and where that does not do it, by the end of the pipe that its standard input is."""
    untied = (
        "import eventsrc.runtime.supervised as s; s.tie_to_parent = lambda *_: True\n" if tied_by == "input" else ""
    )
    worker = f"{untied}{SUPERVISED}print('up', flush=True); import time; time.sleep(60)"
    supervisor = (
        "import os, sys\nfrom pathlib import Path\nfrom eventsrc.adapters.local.slots import Slot\n"
        "from eventsrc.runtime.worker_processes import WorkerProcesses\n"
        f"slot = Slot.take(Path({str(tmp_path)!r}), 'group')\n"
        f"with WorkerProcesses([slot], lambda _: [sys.executable, '-c', {worker!r}], dict(os.environ)) as processes:\n"
        "    print(processes.start(slot.instance_id), flush=True)\n"
        "    while True:\n"
        "        for happened in processes.wait(1): print(happened.line, flush=True)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", supervisor], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ROOT}
    )
    with parent:
        assert parent.stdout is not None
        worker_id = int(parent.stdout.readline())
        assert parent.stdout.readline() == "up\n"
        parent.kill()
    deadline = time.monotonic() + 30
    while is_alive(worker_id):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_whose_supervisor_is_gone_already_does_not_begin() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{SUPERVISED}print('went on')"],
        env={**os.environ, "PYTHONPATH": ROOT, VARIABLE: "1:0"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert "the supervisor ended meanwhile" in done.stderr

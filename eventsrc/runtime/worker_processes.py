"""Worker processes as a supervisor sees them: started, heard, signalled, and ended with it.

Owns processes, pipes and signals, and decides nothing. One thread: the kernel ends the children of a thread that ends.
Each is a new program in a session of its own (Ctrl-C is for the supervisor alone); nothing is ever forked off a process
that has a client.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import NamedTuple

from eventsrc.adapters.local.slots import Slot
from eventsrc.runtime.supervised import supervision

_READ_BYTES = 65_536
_LONGEST_LINE_BYTES = 65_536


class Said(NamedTuple):
    """A worker printed a line."""

    instance: str
    line: str


class Ended(NamedTuple):
    """A worker's process is gone; everything it printed has been told. `code` as `subprocess` gives it."""

    instance: str
    code: int


class Signalled(NamedTuple):
    """The supervisor got its first SIGTERM or SIGINT."""

    number: int


Happened = Said | Ended | Signalled


class EndAtOnce(BaseException):
    """A second SIGTERM or SIGINT: raised wherever the supervisor stands, also where it waits for its log's reader."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(slots=True)
class _Running:
    process: subprocess.Popen[bytes]
    output: int
    rest: bytes = b""

    def lines(self, part: bytes) -> list[str]:
        """Those that are whole with this part, or so long that they are cut."""
        *lines, self.rest = (self.rest + part).split(b"\n")
        if len(self.rest) > _LONGEST_LINE_BYTES:
            lines, self.rest = [*lines, self.rest], b""
        return [_text(line) for line in lines]


class WorkerProcesses:
    """A context manager, on the main thread: while it is open, SIGTERM and SIGINT come as what happened. Whoever still
    runs when it closes is killed."""

    def __init__(self, slots: Sequence[Slot], command: Callable[[str], list[str]], environment: dict[str, str]) -> None:
        """`command`: of the worker with that instance id."""
        self._slots = {slot.instance_id: slot for slot in slots}
        self._command = command
        self._environment = environment
        self._running: dict[str, _Running] = {}
        self._selector = selectors.DefaultSelector()
        self._signals = 0

    def __enter__(self) -> WorkerProcesses:
        self._woken, waker = os.pipe()
        for descriptor in (self._woken, waker):
            os.set_blocking(descriptor, False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._waker = waker
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._waker_before = signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        return self

    def __exit__(self, *failure: object) -> None:
        for running in self._running.values():
            running.process.kill()
        for running in self._running.values():
            running.process.wait()
            _close(running)
        signal.set_wakeup_fd(self._waker_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._selector.close()
        os.close(self._woken)
        os.close(self._waker)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            raise EndAtOnce(number)

    def start(self, instance: str) -> int:
        """Its process id."""
        descriptor = self._slots[instance].descriptor
        process = subprocess.Popen(
            self._command(instance),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment | supervision(os.getpid(), descriptor),
            pass_fds=(descriptor,),
            start_new_session=True,
        )
        assert process.stdout is not None
        running = _Running(process, process.stdout.fileno())
        os.set_blocking(running.output, False)
        self._selector.register(running.output, selectors.EVENT_READ, instance)
        self._running[instance] = running
        return process.pid

    def terminate_all(self) -> None:
        """Every worker drains."""
        for running in self._running.values():
            running.process.terminate()

    def wait(self, timeout_s: float) -> Iterator[Happened]:
        """What happened, at most so much later."""
        for key, _ in self._selector.select(max(0.0, timeout_s)):
            if key.data is None:
                yield from self._signals_told()
            elif key.data in self._running:
                yield from self._heard(key.data, self._running[key.data])
        for instance, running in list(self._running.items()):
            code = running.process.poll()
            if code is not None:
                yield from self._heard(instance, running, to_the_end=True)
                self._forget(instance)
                yield Ended(instance, code)

    def _signals_told(self) -> Iterator[Happened]:
        with suppress(BlockingIOError):
            for number in os.read(self._woken, _READ_BYTES):
                if number != signal.SIGCHLD:
                    yield Signalled(number)

    def _heard(self, instance: str, running: _Running, *, to_the_end: bool = False) -> Iterator[Said]:
        """The lines in its pipe. A program that the worker started may hold the pipe open: its end is not waited for."""
        while part := _read(running.output):
            yield from (Said(instance, line) for line in running.lines(part))
            if not to_the_end:
                return
        if part is not None:
            self._stop_hearing(running)  # a worker that closed its output lives on; the pipe would be readable for ever
        if to_the_end and running.rest:
            yield Said(instance, _text(running.rest))

    def _stop_hearing(self, running: _Running) -> None:
        with suppress(KeyError):
            self._selector.unregister(running.output)

    def _forget(self, instance: str) -> None:
        running = self._running.pop(instance)
        self._stop_hearing(running)
        _close(running)


def _read(descriptor: int) -> bytes | None:
    """None: nothing there now. Empty: nothing comes any more."""
    try:
        return os.read(descriptor, _READ_BYTES)
    except BlockingIOError:
        return None


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r")


def _close(running: _Running) -> None:
    for pipe in (running.process.stdin, running.process.stdout):
        if pipe is not None:
            pipe.close()

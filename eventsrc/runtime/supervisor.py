"""Keeps N worker processes of one pipeline running: `eventsrc run --workers N`.

Each worker keeps its slot, and with it its instance id, over restarts: it is the same static member of the group, and
is back within its session. The supervisor holds the slots' locks, so nobody takes one in between. It makes no client
and imports no application: what it knows of its workers it reads in the status files of their slots.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.report import WorkerReport
from eventsrc.runtime.restarts import Restarts, how_it_ended
from eventsrc.runtime.worker_processes import EndAtOnce, Ended, Happened, Said, Signalled

LOOK_S = 1.0
EXIT_DRAINED = 0
EXIT_FAILED = 1


class Progress(NamedTuple):
    """What the progress line says. Partitions and commands are None where no worker has told of any yet."""

    workers: int
    running: int
    restarts: int
    draining: bool
    partitions: int | None
    open_partitions: int
    halted_partitions: int
    commands_per_s: float | None


class SeatSeen(NamedTuple):
    """A worker's place. `process` is None while none runs; `age_s`: since it was started last."""

    instance: str
    process: int | None
    age_s: float


class Show(Protocol):
    """Where the supervisor's words go."""

    def log(self, instance: str, line: str) -> None:
        """A line that a worker printed."""

    def event(self, text: str, *, alarming: bool = False) -> None:
        """What the supervisor did, and why."""

    def progress(self, progress: Progress) -> None:
        """How things stand; about once a second."""


class Processes(Protocol):
    """See `runtime.worker_processes`."""

    def start(self, instance: str) -> int: ...

    def terminate_all(self) -> None: ...

    def wait(self, timeout_s: float) -> Iterable[Happened]: ...


@dataclass(slots=True)
class _Seat:
    """One worker's place. `process`: its id, None while none runs; then `due_s` is when the next one starts, None for
    never."""

    restarts: Restarts
    process: int | None = None
    started_s: float = 0.0
    due_s: float | None = 0.0
    last_line: str = ""
    refused_with: int | None = None


@dataclass(slots=True)
class _Rate:
    """Commands a second, from where each partition's commands stood at two reports of the same worker."""

    _stood: dict[tuple[str, PartitionKey], tuple[int, int]] = field(default_factory=dict)

    def of(self, reports: Iterable[WorkerReport]) -> float | None:
        stands = {
            (report.instance, partition.partition): (partition.commands_position, report.at_us)
            for report in reports
            for partition in report.partitions
            if partition.commands_position is not None
        }
        rates = [
            max(0, position - before) * 1e6 / (at_us - at_before_us)
            for key, (position, at_us) in stands.items()
            for before, at_before_us in [self._stood.get(key, (position, at_us))]
            if at_us > at_before_us
        ]
        self._stood = stands
        return sum(rates) if rates else None


@dataclass(slots=True)
class Supervisor:
    """`never`: exit codes after which a worker must not be started again, each with its reason. `reports`: what the
    workers that run now say of themselves."""

    processes: Processes
    instances: Iterable[str]
    never: Mapping[int, str]
    show: Show
    reports: Callable[[], Iterable[WorkerReport]]
    now_s: Callable[[], float] = time.monotonic
    _seats: dict[str, _Seat] = field(default_factory=dict)
    _draining: bool = False
    _failed_in_drain: bool = False
    _looked_s: float | None = None
    _rate: _Rate = field(default_factory=_Rate)

    def run(self) -> int:
        """The exit code: 0 when all have drained after SIGTERM or SIGINT, 128 + its number after a second one. When no
        worker may be started any more, the code of the first that was refused."""
        self._seats = {instance: _Seat(Restarts(self.never)) for instance in self.instances}
        try:
            while not self._over:
                self._start_due()
                self._look()
                for happened in self.processes.wait(self._timeout_s()):
                    self._on(happened)
        except EndAtOnce as again:
            self.show.event(f"{signal.Signals(again.number).name} again: all workers end at once", alarming=True)
            return 128 + again.number
        return self._exit_code()

    def seats(self) -> list[SeatSeen]:
        """As of now; from any thread."""
        now_s = self.now_s()
        return [SeatSeen(name, seat.process, now_s - seat.started_s) for name, seat in self._seats.items()]

    @property
    def _over(self) -> bool:
        return all(seat.process is None and (self._draining or seat.due_s is None) for seat in self._seats.values())

    def _exit_code(self) -> int:
        refused = [seat.refused_with for seat in self._seats.values() if seat.refused_with is not None]
        if refused:
            return refused[0]
        if self._failed_in_drain:
            return EXIT_FAILED
        self.show.event("all workers have drained")
        return EXIT_DRAINED

    def _timeout_s(self) -> float:
        now_s = self.now_s()
        due = [seat.due_s - now_s for seat in self._seats.values() if seat.process is None and seat.due_s is not None]
        return max(0.0, min([LOOK_S, *due])) if not self._draining else LOOK_S

    def _start_due(self) -> None:
        now_s = self.now_s()
        for instance, seat in self._seats.items():
            if self._draining or seat.process is not None or seat.due_s is None or seat.due_s > now_s:
                continue
            try:
                seat.process = self.processes.start(instance)
            except OSError as error:  # the machine has no process left to give
                seat.due_s = now_s + (seat.restarts.delay_after(EXIT_FAILED, 0.0) or LOOK_S)
                self.show.event(f"{instance} cannot be started: {error}; tried again", alarming=True)
                continue
            seat.started_s, seat.last_line = now_s, ""
            again = f" again (start {seat.restarts.count + 1})" if seat.restarts.count else ""
            self.show.event(f"{instance} started{again}, process {seat.process}")

    def _on(self, happened: Happened) -> None:
        match happened:
            case Said(instance, line):
                self.show.log(instance, line)
                if line.strip():
                    self._seats[instance].last_line = line.strip()
            case Ended(instance, code):
                seat, self._looked_s = self._seats[instance], None
                seat.process = None
                if self._draining:
                    self._ended_in_drain(instance, seat, code)
                else:
                    self._ended(instance, seat, code)
            case Signalled(number):
                self._drain(signal.Signals(number).name)

    def _drain(self, name: str) -> None:
        self._draining, self._looked_s = True, None
        running = sum(seat.process is not None for seat in self._seats.values())
        self.show.event(f"{name}: {running} workers drain; a second signal ends them at once")
        self.processes.terminate_all()

    def _ended_in_drain(self, instance: str, seat: _Seat, code: int) -> None:
        if code in (EXIT_DRAINED, -signal.SIGTERM):  # by SIGTERM itself: before it had begun anything
            return
        self._failed_in_drain = True
        self.show.event(f"{instance} {how_it_ended(code)} while it drained{_words(seat)}", alarming=True)

    def _ended(self, instance: str, seat: _Seat, code: int) -> None:
        now_s = self.now_s()
        lived_s = now_s - seat.started_s
        delay_s = seat.restarts.delay_after(code, lived_s)
        what = f"{instance} {how_it_ended(code)} after {lived_s:.1f} s"
        if delay_s is None:
            seat.due_s, seat.refused_with = None, code
            why = self.never[code]
            self.show.event(f"{what}: {why}; it is not started again{_words(seat)}", alarming=True)
            return
        seat.due_s = now_s + delay_s
        if delay_s:
            what += f", {seat.restarts.short_lives} times in a row; started again in {delay_s:g} s"
        telling = code > 0 or seat.restarts.short_lives > 1  # who was killed once was not asked for its last words
        self.show.event(what + (_words(seat) if telling else ""), alarming=code != EXIT_DRAINED)

    def _look(self) -> None:
        now_s = self.now_s()
        if self._looked_s is not None and now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        running = {instance for instance, seat in self._seats.items() if seat.process is not None}
        reports = [report for report in self.reports() if report.instance in running]
        phases = [partition.phase for report in reports for partition in report.partitions]
        self.show.progress(
            Progress(
                workers=len(self._seats),
                running=len(running),
                restarts=sum(seat.restarts.count for seat in self._seats.values()),
                draining=self._draining,
                partitions=len(phases) if reports else None,
                open_partitions=phases.count("open"),
                halted_partitions=phases.count("halted"),
                commands_per_s=self._rate.of(reports),
            )
        )


def _words(seat: _Seat) -> str:
    return f"; its last line: {seat.last_line}" if seat.last_line else ""

"""What checkpoints cost a worker under full load: the ledger workload, a checkpoint of every partition every 10 s.

`python -m benchmarks.checkpoints [--commands N] [--accounts K] [--every 10s] [--rounds R] [--json]`

Within each run: every 10 s all partitions are asked for a checkpoint, as `eventsrc checkpoint now` asks, and the half of
that time in which they are written is held against the halves before and after it, in which nothing is. So the two are
seconds apart in one process, and slow spells of the machine, which make two runs differ by more than checkpoints do, hit
both. What a half loses, halved, is what a checkpoint every 10 s costs. Every second run begins with the other half.

Broker, database, generator and monitor on core 0, the worker on core 1. The declared objective and the worker's own
interval are an hour. A worker without a database is in `benchmarks.checkpoints_apart`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise

from benchmarks import results
from benchmarks.ledger_system import PARTITIONS, LedgerSystem, place
from benchmarks.load import Load, Monitor
from benchmarks.machine import OUTSIDE_CORE, load_average, pin, usage
from benchmarks.snapshots import wal_position
from benchmarks.written import Written, per_state_byte, tell, written
from eventsrc.adapters.postgres.store import PostgresSnapshots
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.durations import seconds

SETTINGS = {"checkpoint_interval": "1h", "objective": "1h"}
WARM_UP = 0.1
"""Of the commands: before anything is measured."""
SHORTEST_S = 8.0
"""Of a cycle: a worker looks for requests once a second, and then takes two or three for the checkpoints."""


@dataclass(frozen=True, slots=True)
class Half:
    """`rate`: events per second; `cpu_s`: of the worker, per million events."""

    with_checkpoints: bool
    rate: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One run. `load`: of the machine when it ended."""

    halves: list[Half]
    written: Written
    load: float


@dataclass(frozen=True, slots=True)
class Cost:
    """A share, and its standard error over all runs (of a single one: None)."""

    mean: float
    error: float | None

    def __str__(self) -> str:
        return f"{self.mean:.1%}" if self.error is None else f"{self.mean:.1%} +- {self.error:.1%}"


@dataclass(frozen=True, slots=True)
class _Mark:
    at_s: float
    seen: int
    cpu_s: float
    with_checkpoints: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=3_000_000)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--every", type=seconds, default=10.0, metavar="DURATION", help="two halves [10s]")
    parser.add_argument("--rounds", type=int, default=6)
    results.add_arguments(parser)
    options = parser.parse_args(arguments)
    if options.every < SHORTEST_S:
        parser.error(f"--every: at least {SHORTEST_S:g}s, or checkpoints would be written in the halves without")
    pin(OUTSIDE_CORE)
    with place() as here:
        runs = []
        for number in range(options.rounds):
            load = Load(options.commands, options.accounts, seed=number)
            runs.append(_measure(LedgerSystem(here, SETTINGS), load, options.every / 2, begin_with=number % 2 == 0))
    throughput = _cost(runs, lambda half, other: 1 - half.rate / other.rate)
    cpu = _cost(runs, lambda half, other: half.cpu_s / other.cpu_s - 1)
    wal = per_state_byte([each.written for each in runs])
    cost = {"throughput": asdict(throughput), "cpu": asdict(cpu)}
    found = {"runs": [asdict(each) for each in runs], "cost": cost, "wal_per_state_byte": wal}

    def table() -> None:
        print(f"{'half of ' + format(options.every, 'g') + ' s':<22}{'events/s, median':>18}{'CPU s per 1 M':>15}")
        for label, kind in (("no checkpoint", False), ("checkpoints written", True)):
            halves = [half for run in runs for half in run.halves if half.with_checkpoints is kind]
            rate, cpu_s = (statistics.median(getattr(half, name) for half in halves) for name in ("rate", "cpu_s"))
            print(f"{label:<22}{rate:>18,.0f}{cpu_s:>15.2f}")
        print(f"cost of a checkpoint every {options.every:g} s: {throughput} of throughput, {cpu} of CPU", end="")
        print(f" (standard error); load {min(run.load for run in runs)}-{max(run.load for run in runs)}")
        tell([each.written for each in runs])

    results.tell(options, found, table)
    return 0


def _measure(system: LedgerSystem, load: Load, half_s: float, *, begin_with: bool) -> Measured:
    system.create()
    system.load(load)
    monitor = Monitor(system.place.bootstrap_servers, system.events_topic, PARTITIONS)
    before = wal_position(system.place.database_url)
    marks: list[_Mark] = []
    with (
        closing(PostgresSnapshots(system.place.database_url, system.name)) as store,
        system.working(with_database=True) as worker,
    ):
        with_checkpoints = not begin_with
        for seen, now_s in monitor.follow(load.commands):
            if seen < load.commands * WARM_UP or (marks and now_s - marks[-1].at_s < half_s):
                continue
            if marks and seen == marks[-1].seen:
                raise RuntimeError(f"not one event came in {now_s - marks[-1].at_s:.1f} s: there is nothing to compare")
            with_checkpoints = not with_checkpoints
            marks.append(_Mark(now_s, seen, usage(worker.pid).cpu_s, with_checkpoints))
            if with_checkpoints:
                for number in range(PARTITIONS):
                    store.request(PartitionKey("account", number))
    wrote = written(system, before)
    if len(marks) < 4:
        raise RuntimeError("too few halves to hold against each other: more --commands, or a shorter --every")
    return Measured([_half(*each) for each in pairwise(marks)], wrote, load_average())


def _half(began: _Mark, ended: _Mark) -> Half:
    events = ended.seen - began.seen
    cpu_s = (ended.cpu_s - began.cpu_s) * 1e6 / events
    return Half(began.with_checkpoints, events / (ended.at_s - began.at_s), cpu_s)


def _cost(runs: Sequence[Measured], loss: Callable[[Half, Half], float]) -> Cost:
    """Half of what halves with checkpoints lose, each half held against both its neighbours; the mean over runs."""
    means = [
        statistics.mean(
            (loss(one, other) if one.with_checkpoints else loss(other, one)) / 2
            for before, half, after in zip(run.halves, run.halves[1:], run.halves[2:], strict=False)
            for one, other in ((half, before), (half, after))
        )
        for run in runs
    ]
    error = statistics.stdev(means) / len(means) ** 0.5 if len(means) > 1 else None
    return Cost(statistics.mean(means), error)


if __name__ == "__main__":
    raise SystemExit(main())

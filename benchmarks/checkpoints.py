"""What checkpoints cost: the ledger workload with one of every partition every 10 s, against the same without a database.

`python -m benchmarks.checkpoints [--commands N] [--accounts K] [--every 10s] [--rounds R] [--json]`

The two take turns, so that a slow spell of the machine hits both. Broker, database, generator and monitor on core 0, the
worker on core 1. The declared objective is an hour, so that the interval alone decides. WAL is what Postgres wrote while
the worker ran (full page writes on), per byte of the changed states it was given (id, sequence, memory, state): merges
are in it as a cost, and counted as writes only in the second figure.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace

from benchmarks import results
from benchmarks.ledger_system import PARTITIONS, LedgerSystem, place
from benchmarks.load import Load, Monitor
from benchmarks.machine import OUTSIDE_CORE, load_average, pin, usage
from benchmarks.snapshots import wal_position
from eventsrc.adapters.postgres.store import PostgresSnapshots
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.snapshot import Segment, StoredCheckpoint

WITHOUT, WITH = "without a database", "checkpoints"
COLUMN_BYTES_PER_STATE = 13  # of a block: hash, end, length of the id
COLUMN_BYTES_PER_BLOCK = 12


@dataclass(frozen=True, slots=True)
class Written:
    """By one worker. `changed_bytes`: of changed states; `merged_bytes`: of states written again by merges."""

    wal_bytes: int
    changed_bytes: int
    merged_bytes: int
    checkpoints: int


@dataclass(frozen=True, slots=True)
class Measured:
    """`cpu_s`: of the worker, per million commands. `load`: of the machine when it ended."""

    system: str
    rate: float
    cpu_s: float
    peak_mb: float
    load: float
    written: Written | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=3_000_000)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--every", default="10s", help="checkpoint_interval [10s]")
    parser.add_argument("--objective", default="1h", help="recovery_time_objective; a short one wants more [1h]")
    parser.add_argument("--rounds", type=int, default=3)
    results.add_arguments(parser)
    options = parser.parse_args(arguments)
    pin(OUTSIDE_CORE)
    rows: list[Measured] = []
    settings = {"checkpoint_interval": options.every, "objective": options.objective}
    with place() as here:
        for number in range(options.rounds):
            load = Load(options.commands, options.accounts, seed=number)
            turns = (_with, _without) if number % 2 else (_without, _with)
            rows += [turn(LedgerSystem(here, settings), load) for turn in turns]
    _tell(rows, options)
    return 0


def _without(system: LedgerSystem, load: Load) -> Measured:
    return _measure(WITHOUT, system, load, with_database=False)


def _with(system: LedgerSystem, load: Load) -> Measured:
    before = wal_position(system.place.database_url)
    measured = _measure(WITH, system, load, with_database=True)
    wal_bytes = wal_position(system.place.database_url) - before
    first, merged, count = _stored(system)
    written = Written(wal_bytes, _state_bytes(first), _state_bytes(merged), count)
    return replace(measured, written=written)


def _measure(label: str, system: LedgerSystem, load: Load, *, with_database: bool) -> Measured:
    system.create()
    system.load(load)
    monitor = Monitor(system.place.bootstrap_servers, system.events_topic, PARTITIONS)
    with system.working(with_database=with_database) as worker:
        seen = monitor.watch(load.commands)
        used = usage(worker.pid)
    return Measured(label, seen.rate, used.cpu_s * 1e6 / seen.records, used.peak_mb, load_average())


def _stored(system: LedgerSystem) -> tuple[list[Segment], list[Segment], int]:
    """Segments of changed states, those made by merging others, and how many checkpoints were taken. A benchmark is over
    before anything is thinned. A checkpoint at the position of the one before it is a merge of it."""
    changed: list[Segment] = []
    merged: list[Segment] = []
    count = 0
    with closing(PostgresSnapshots(system.place.database_url, system.name)) as store:
        for number in range(PARTITIONS):
            found = store.checkpoints(PartitionKey("account", number))
            position, known = -1, set()
            for each in sorted((one for one in found if isinstance(one, StoredCheckpoint)), key=_when):
                new = [segment for run in each.runs for segment in run if segment.id not in known]
                known |= {segment.id for segment in new}
                if each.checkpoint.position == position:
                    merged += new
                else:
                    changed += new
                    count += 1
                position = each.checkpoint.position
    return changed, merged, count


def _when(stored: StoredCheckpoint) -> float:
    return stored.taken_at.timestamp()


def _state_bytes(segments: Iterable[Segment]) -> int:
    return sum(each.size_bytes - COLUMN_BYTES_PER_BLOCK - COLUMN_BYTES_PER_STATE * each.states for each in segments)


def _tell(rows: list[Measured], options: argparse.Namespace) -> None:
    def median(system: str, value: Callable[[Measured], float]) -> float:
        return statistics.median(value(row) for row in rows if row.system == system)

    throughput_cost = 1 - median(WITH, lambda row: row.rate) / median(WITHOUT, lambda row: row.rate)
    cpu_cost = median(WITH, lambda row: row.cpu_s) / median(WITHOUT, lambda row: row.cpu_s) - 1
    written = [row.written for row in rows if row.written is not None]
    changed = sum(each.changed_bytes for each in written)
    wal, merged = sum(each.wal_bytes for each in written), sum(each.merged_bytes for each in written)
    with_merges, per_write = (wal / changed, wal / (changed + merged)) if changed else (None, None)
    costs = {"throughput": throughput_cost, "cpu": cpu_cost}
    per_byte = {"changed": with_merges, "changed_and_merged": per_write}
    found = {"rows": [asdict(row) for row in rows], "cost": costs, "wal_per_state_byte": per_byte}

    def table() -> None:
        print(f"{'system':<20}{'events/s, median':>18}{'CPU s per 1 M':>15}{'peak RSS MB':>13}{'load':>12}")
        for system in (WITHOUT, WITH):
            mine = [row for row in rows if row.system == system]
            loads = f"{min(row.load for row in mine)}-{max(row.load for row in mine)}"
            rate, cpu = median(system, lambda row: row.rate), median(system, lambda row: row.cpu_s)
            print(f"{system:<20}{rate:>18,.0f}{cpu:>15.2f}{max(row.peak_mb for row in mine):>13.0f}{loads:>12}")
        print(f"cost: {throughput_cost:.1%} of throughput, {cpu_cost:.1%} of CPU")
        if with_merges is None:
            print("no checkpoint was taken: the run was too short")
            return
        counts = ", ".join(str(each.checkpoints) for each in written)
        print(
            f"{counts} checkpoints of a partition, {changed / 1e6:.1f} MB of changed states, {merged / 1e6:.1f} MB merged"
        )
        print(f"WAL per byte of changed state: {with_merges:.2f}; per byte written, merges too: {per_write:.2f}")

    results.tell(options, found, table)


if __name__ == "__main__":
    raise SystemExit(main())

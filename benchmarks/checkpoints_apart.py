"""Workers with and without a database: the ledger workload with a checkpoint of every partition every 10 s, or as the
controller wants them (`--objective 2s`), against the same without a database.

`python -m benchmarks.checkpoints_apart [--commands N] [--accounts K] [--every 10s] [--objective 1h] [--rounds R] [--json]`

The two take turns, and still one pair of runs is good to some 5 % only: for the cost of checkpoints there is
`benchmarks.checkpoints`. WAL as there.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from benchmarks import results
from benchmarks.ledger_system import PARTITIONS, LedgerSystem, place
from benchmarks.load import Load, Monitor
from benchmarks.machine import OUTSIDE_CORE, load_average, pin, usage
from benchmarks.snapshots import wal_position
from benchmarks.written import Written, per_state_byte, tell, written

WITHOUT, WITH = "without a database", "checkpoints"


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
    return replace(measured, written=written(system, before))


def _measure(label: str, system: LedgerSystem, load: Load, *, with_database: bool) -> Measured:
    system.create()
    system.load(load)
    monitor = Monitor(system.place.bootstrap_servers, system.events_topic, PARTITIONS)
    with system.working(with_database=with_database) as worker:
        seen = monitor.watch(load.commands)
        used = usage(worker.pid)
    return Measured(label, seen.rate, used.cpu_s * 1e6 / seen.records, used.peak_mb, load_average())


def _tell(rows: list[Measured], options: argparse.Namespace) -> None:
    def median(system: str, value: Callable[[Measured], float]) -> float:
        return statistics.median(value(row) for row in rows if row.system == system)

    throughput_cost = 1 - median(WITH, lambda row: row.rate) / median(WITHOUT, lambda row: row.rate)
    cpu_cost = median(WITH, lambda row: row.cpu_s) / median(WITHOUT, lambda row: row.cpu_s) - 1
    wrote = [row.written for row in rows if row.written is not None]
    costs = {"throughput": throughput_cost, "cpu": cpu_cost}
    found = {"rows": [asdict(row) for row in rows], "cost": costs, "wal_per_state_byte": per_state_byte(wrote)}

    def table() -> None:
        print(f"{'system':<20}{'events/s, median':>18}{'CPU s per 1 M':>15}{'peak RSS MB':>13}{'load':>12}")
        for system in (WITHOUT, WITH):
            mine = [row for row in rows if row.system == system]
            loads = f"{min(row.load for row in mine)}-{max(row.load for row in mine)}"
            rate, cpu = median(system, lambda row: row.rate), median(system, lambda row: row.cpu_s)
            print(f"{system:<20}{rate:>18,.0f}{cpu:>15.2f}{max(row.peak_mb for row in mine):>13.0f}{loads:>12}")
        print(f"cost: {throughput_cost:.1%} of throughput, {cpu_cost:.1%} of CPU")
        tell(wrote)

    results.tell(options, found, table)


if __name__ == "__main__":
    raise SystemExit(main())

"""Resident memory of a worker with 1 M ledger aggregates: loaded by processing a command of each, and recovered from
checkpoints, where states stay encoded until a command first touches them.

`python -m benchmarks.memory [--accounts K] [--json]`

Everything by its defaults. The second worker starts after `kill -9` of the first, whose every partition has been
checkpointed; it is measured once every partition of it has produced an event.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks import results
from benchmarks.ledger_system import APP, PARTITIONS, LedgerSystem, place
from benchmarks.load import Load, Monitor
from benchmarks.machine import OUTSIDE_CORE, Usage, load_average, pin, run_module, usage
from benchmarks.new_term import NewTerm

FEW = 400
"""Commands that touch every partition of the recovered worker."""
RECOVERED_WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Measured:
    """`rss_mb`: when it was done; `peak_mb`: the most until then. `load`: of the machine when it ended."""

    case: str
    rss_mb: float
    peak_mb: float
    load: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    results.add_arguments(parser)
    options = parser.parse_args(arguments)
    pin(OUTSIDE_CORE)
    with place() as here:
        system = LedgerSystem(here)
        system.create()
        rows = [*_loaded(system, options.accounts), _recovered(system, options.accounts)]

    def table() -> None:
        print(f"{options.accounts:,} aggregates in one worker")
        print(f"{'':<44}{'RSS MB':>8}{'peak MB':>9}{'load':>7}")
        for row in rows:
            print(f"{row.case:<44}{row.rss_mb:>8.0f}{row.peak_mb:>9.0f}{row.load:>7}")

    results.tell(options, {"accounts": options.accounts, "rows": [asdict(row) for row in rows]}, table)
    return 0


def _loaded(system: LedgerSystem, accounts: int) -> list[Measured]:
    """Killed in the end, with every state in a checkpoint."""
    system.load(Load(accounts, accounts, in_turn=True))
    environment = system.environment(with_database=True)
    monitor = Monitor(system.place.bootstrap_servers, system.events_topic, PARTITIONS)
    with system.working(with_database=True) as worker:
        monitor.watch(accounts)
        processed = _measured("loaded by processing a command of each", usage(worker.pid))
        run_module(["eventsrc", "checkpoint", "now", APP, "--timeout", "300"], environment)
        checkpointed = _measured("the same, every partition checkpointed", usage(worker.pid))
        worker.kill()
        worker.wait()
    return [processed, checkpointed]


def _recovered(system: LedgerSystem, accounts: int) -> Measured:
    with (
        NewTerm(system.place.bootstrap_servers, system.events_topic, PARTITIONS) as new_term,
        system.working(with_database=True) as worker,
    ):
        system.load(Load(FEW, accounts, seed=2))
        new_term.wait_for_all(RECOVERED_WITHIN_S)
        return _measured("recovered from checkpoints", usage(worker.pid))


def _measured(case: str, used: Usage) -> Measured:
    return Measured(case, used.rss_mb, used.peak_mb, load_average())


if __name__ == "__main__":
    raise SystemExit(main())

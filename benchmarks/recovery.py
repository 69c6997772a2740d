"""From `kill -9` of a worker, restarted at once, to the first new event that an outside consumer sees; and until every
partition has produced one.

`python -m benchmarks.recovery [--accounts K] [--per-second N] [--rounds R] [--log-rounds R] [--json]`

One command of each account is processed first; then commands of random ones go on coming, through every kill. Everything by
its defaults. Snapshot path: each start finds the checkpoints that the worker before it took by itself (one of every
partition is asked for after the load). Log path: each start finds no database, as after `checkpoint discard`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO

from benchmarks import results
from benchmarks.ledger_system import APP, PARTITIONS, LedgerSystem, place
from benchmarks.load import Load, Monitor
from benchmarks.machine import OUTSIDE_CORE, end, load_average, pin, run_module, start
from benchmarks.new_term import NewTerm
from examples.bank.recovery import opened

SNAPSHOT_PATH, LOG_PATH = "snapshot path", "log path"
RECOVERED_WITHIN_S = 300.0
PAUSE_S = (6.0, 12.0)
"""Between a recovery and the next kill."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds from the kill, as an outside consumer sees them. `replayed`: events that the new worker folded before its
    partitions were open, as it says; `from_checkpoint`: how many of them it opened from one."""

    path: str
    first_s: float
    all_s: float
    replayed: int
    from_checkpoint: int
    load: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--per-second", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7, help="kills that are recovered from checkpoints [7]")
    parser.add_argument("--log-rounds", type=int, default=2, help="kills that are recovered from the log alone [2]")
    results.add_arguments(parser)
    options = parser.parse_args(arguments)
    pin(OUTSIDE_CORE)
    with place() as here:
        system = LedgerSystem(here)
        system.create()
        system.load(Load(options.accounts, options.accounts, in_turn=True))
        going_on = Load(1 << 40, options.accounts, seed=2, per_second=options.per_second)
        with _workers(system) as workers:
            workers.start(with_database=True)
            Monitor(here.bootstrap_servers, system.events_topic, PARTITIONS).watch(options.accounts)
            environment = system.environment(with_database=True)
            run_module(["eventsrc", "checkpoint", "now", APP, "--timeout", "300"], environment)
            with system.loading(going_on):
                rows = [_killed(workers, SNAPSHOT_PATH) for _ in range(options.rounds)]
                rows += [_killed(workers, LOG_PATH) for _ in range(options.log_rounds)]
    results.tell(options, {"rows": [asdict(row) for row in rows]}, lambda: _show(rows))
    return 0


@dataclass(slots=True)
class _Workers:
    """One after another."""

    system: LedgerSystem
    log: IO[bytes]
    process: subprocess.Popen[bytes] | None = None

    def start(self, *, with_database: bool) -> None:
        self.log.truncate(0)
        environment = self.system.environment(with_database=with_database)
        self.process = start(self.system.command, environment, self.log.fileno())

    def kill(self) -> None:
        if self.process is None:
            raise RuntimeError("there is no worker to kill")
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        self.log.flush()
        self.log.seek(0)
        return self.log.read().decode(errors="replace")


@contextmanager
def _workers(system: LedgerSystem) -> Iterator[_Workers]:
    with (system.place.directory / "worker.log").open("a+b") as log:
        workers = _Workers(system, log)
        try:
            yield workers
        except BaseException:
            print(workers.said()[-30000:])
            raise
        finally:
            if workers.process is not None:
                end(workers.process)


def _killed(workers: _Workers, path: str) -> Measured:
    time.sleep(random.uniform(*PAUSE_S))
    here = workers.system.place
    with NewTerm(here.bootstrap_servers, workers.system.events_topic, PARTITIONS) as new_term:
        killed_s = time.monotonic()
        workers.kill()
        workers.start(with_database=path == SNAPSHOT_PATH)
        first_s, all_s = new_term.wait_for_all(RECOVERED_WITHIN_S)
    partitions = opened(workers.said()).values()
    return Measured(
        path,
        first_s - killed_s,
        all_s - killed_s,
        sum(each.events for each in partitions),
        sum(each.from_checkpoint for each in partitions),
        load_average(),
    )


def _show(rows: list[Measured]) -> None:
    print(f"{'seconds from kill -9, median (worst)':<38}{'first event':>16}{'all partitions':>18}", end="")
    print(f"{'replayed':>12}{'load':>12}")
    for path in dict.fromkeys(row.path for row in rows):
        mine = [row for row in rows if row.path == path]
        first, last = (_spread(mine, value) for value in (lambda row: row.first_s, lambda row: row.all_s))
        replayed = statistics.median(row.replayed for row in mine)
        loads = f"{min(row.load for row in mine)}-{max(row.load for row in mine)}"
        print(f"{f'{path}, {len(mine)} kills':<38}{first:>16}{last:>18}{replayed:>12,.0f}{loads:>12}")
    partial = [row for row in rows if row.path == SNAPSHOT_PATH and row.from_checkpoint < PARTITIONS]
    if partial:
        print(f"{len(partial)} of them found no usable checkpoint for some partition")


def _spread(rows: list[Measured], value: Callable[[Measured], float]) -> str:
    values = [value(row) for row in rows]
    return f"{statistics.median(values):.2f} ({max(values):.2f})"


if __name__ == "__main__":
    raise SystemExit(main())

"""Steady throughput of the ledger workload, against raw transactional pass-through in the same run.

`python -m benchmarks.throughput [--commands N] [--accounts K] [--batch B] [--rounds R] [--poison SHARE] [--json]`

Broker, generator and monitor on core 0, the system under test on core 1. Commands are written before anything is
measured; the rate is of events between 10 % and 90 %, as an outside read_committed consumer sees them. The two take
turns, so that a slow spell of the machine hits both. Our records are larger than pass-through's (events carry `meta` and
long keys): a ratio below 1 includes those bytes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks import pass_through, results
from benchmarks.ledger_system import PARTITIONS, LedgerSystem, Place, place
from benchmarks.load import Load, Monitor, produce
from benchmarks.machine import OUTSIDE_CORE, load_average, pin, running, usage


@dataclass(frozen=True, slots=True)
class Measured:
    """`cpu_s`: user and system seconds of the process per million commands; `rss_mb`: its peak."""

    system: str
    rate: float
    cpu_s: float
    rss_mb: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=300_000)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--poison", type=float, default=0.0, help="also run with this share of poisoned commands")
    results.add_arguments(parser)
    options = parser.parse_args(arguments)
    pin(OUTSIDE_CORE)
    rows: list[Measured] = []
    with place(with_database=False) as here:
        for number in range(options.rounds):
            load = Load(options.commands, options.accounts, seed=number)
            rows.append(_pass_through(here.bootstrap_servers, load, options.batch))
            rows.append(_eventsrc(here, load))
            if options.poison:
                rows.append(_eventsrc(here, replace(load, poison=options.poison)))
    _tell(rows, options)
    return 0


def _pass_through(bootstrap_servers: str, load: Load, batch: int) -> Measured:
    name = f"raw-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    for future in admin.create_topics([NewTopic(f"{name}.{side}", PARTITIONS, 1) for side in ("in", "out")]).values():
        future.result()
    produce(bootstrap_servers, f"{name}.in", PARTITIONS, load)
    command = pass_through.command(bootstrap_servers, f"{name}.in", f"{name}.out", name, batch)
    return _measure("raw pass-through", command, dict(os.environ), bootstrap_servers, f"{name}.out", load.commands)


def _eventsrc(here: Place, load: Load) -> Measured:
    system = LedgerSystem(here)
    system.create()
    system.load(load)
    expected = load.commands - (len(range(0, load.commands, round(1 / load.poison))) if load.poison else 0)
    label = f"eventsrc, {load.poison:.0%} poisoned" if load.poison else "eventsrc"
    return _measure(label, system.command, system.environment(), here.bootstrap_servers, system.events_topic, expected)


def _measure(
    system: str, command: list[str], environment: dict[str, str], bootstrap_servers: str, topic: str, expected: int
) -> Measured:
    monitor = Monitor(bootstrap_servers, topic, PARTITIONS)
    with running(command, environment) as process:
        seen = monitor.watch(expected)
        used = usage(process.pid)
    return Measured(system, seen.rate, used.cpu_s * 1e6 / seen.records, used.peak_mb)


def _tell(rows: list[Measured], options: argparse.Namespace) -> None:
    systems = dict.fromkeys(row.system for row in rows)
    medians = {name: statistics.median(row.rate for row in rows if row.system == name) for name in systems}
    floor = medians["raw pass-through"]
    ratios = {name: rate / floor for name, rate in medians.items()}

    def table() -> None:
        print(f"{'system':<26}{'events/s, median':>18}{'of pass-through':>17}{'CPU s per 1 M':>15}{'RSS MB':>9}")
        for name in systems:
            mine = [row for row in rows if row.system == name]
            cpu = statistics.median(row.cpu_s for row in mine)
            rss = max(row.rss_mb for row in mine)
            print(f"{name:<26}{medians[name]:>18,.0f}{ratios[name]:>17.2f}{cpu:>15.1f}{rss:>9.0f}")

    found = {"rows": [asdict(row) for row in rows], "ratio_to_pass_through": ratios, "load": load_average()}
    results.tell(options, found, table)


if __name__ == "__main__":
    raise SystemExit(main())

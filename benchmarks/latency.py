"""From a command's sending to its event, as an outside read_committed consumer sees it, at a steady rate.

`python -m benchmarks.latency [--per-second N] [--seconds S] [--accounts K] [--rounds R] [--warm-up W]`

The generator sends a burst every 5 ms and stamps each command as it does; the monitor reads commands and events, and takes
the time at which a record arrives from that of the command. Generator, monitor and worker share one clock. The command's
own arrival is what Kafka, generator and monitor take by themselves. Then `Client.send` in turn, one after the other, while
the load goes on: what a caller waits for its outcome. Last the same load through raw transactional pass-through, with the
same settings: what transactions of these eight partitions take on this broker. The first seconds are not counted.

Latency at such a rate is mostly the broker's, and a broker in production has run for days: this one's JVM optimises, and
has W seconds of the same load and worker, on both cores, to do so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from confluent_kafka import Consumer, TopicPartition

from benchmarks import results
from benchmarks.ledger_system import PARTITIONS, LedgerSystem, Place, optimising_kafka
from benchmarks.load import Load
from benchmarks.machine import OUTSIDE_CORE, ROOT, load_average, pin, pin_threads
from eventsrc.codec.metas import command_meta_alone

WARM_UP_S = 5.0
SENDS = 300


@dataclass(frozen=True, slots=True)
class Measured:
    """Milliseconds."""

    case: str
    count: int
    p50: float
    p99: float
    p999: float
    worst: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-second", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--warm-up", type=float, default=90.0)
    results.add_arguments(parser)
    options = parser.parse_args(arguments)
    load = Load(1 << 40, options.accounts, per_second=options.per_second)
    taken: dict[str, list[float]] = {}
    with optimising_kafka() as (here, kafka):
        _warm_up(here, load, options.warm_up)
        pin(OUTSIDE_CORE)
        pin_threads(OUTSIDE_CORE, kafka)
        for _ in range(options.rounds):
            for case, milliseconds in _round(here, load, options.seconds).items():
                taken.setdefault(case, []).extend(milliseconds)
    rows = [_measured(case, milliseconds) for case, milliseconds in taken.items()]

    def table() -> None:
        print(
            f"{f'milliseconds, at {options.per_second:,}/s':<34}{'count':>8}{'p50':>8}{'p99':>8}{'p99.9':>8}{'worst':>8}"
        )
        for row in rows:
            print(f"{row.case:<34}{row.count:>8,}{row.p50:>8.1f}{row.p99:>8.1f}{row.p999:>8.1f}{row.worst:>8.1f}")

    found = {"per_second": options.per_second, "rows": [asdict(row) for row in rows], "load": load_average()}
    results.tell(options, found, table)
    return 0


def _warm_up(here: Place, load: Load, seconds: float) -> None:
    warm = LedgerSystem(here)
    warm.create()
    with warm.working(), warm.loading(load):
        _arrivals(warm, seconds)


def _round(here: Place, load: Load, seconds: float) -> dict[str, list[float]]:
    """Milliseconds by case. Both have topics of their own, and the broker to themselves."""
    system, raw = LedgerSystem(here), LedgerSystem(here)
    for each in (system, raw):
        each.create()
    with system.working(), system.loading(load):
        commands, events = _arrivals(system, seconds)
        sends = _sends(system)
    with raw.passing_through(), raw.loading(load):
        _, passed = _arrivals(raw, seconds)
    return {
        "command to the monitor itself": commands,
        "command to event": events,
        "Client.send, one after the other": sends,
        "raw pass-through": passed,
    }


def _arrivals(system: LedgerSystem, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds of each command, and of each event, that arrives within so many seconds after the warm-up."""
    consumer = Consumer(
        {
            "bootstrap.servers": system.place.bootstrap_servers,
            "group.id": "latency",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 5,
            "fetch.min.bytes": 1_000_000,
            "auto.offset.reset": "earliest",
        }
    )
    topics = (system.commands_topic, system.events_topic)
    consumer.assign([TopicPartition(topic, number, 0) for topic in topics for number in range(PARTITIONS)])
    sent: dict[bytes, int] = {}
    arrived: dict[bytes, int] = {}
    commands_ms: list[float] = []
    warm_s: float | None = None
    while warm_s is None or time.monotonic() < warm_s + WARM_UP_S + seconds:
        messages = consumer.consume(1, 0.1) + consumer.consume(1000, 0)
        now_us = time.time_ns() // 1000
        counted = warm_s is not None and time.monotonic() > warm_s + WARM_UP_S
        for message in messages:
            value, key = message.value(), message.key()
            if message.error() is not None or value is None or key is None or key.startswith(b"\0"):
                continue
            command_id = value[10:26]
            if message.topic() == system.commands_topic:
                meta = command_meta_alone(value)
                if meta is None:
                    raise RuntimeError("a command without meta")
                sent[command_id] = meta.time
                if counted:
                    commands_ms.append((now_us - meta.time) / 1000)
            else:
                warm_s = warm_s or time.monotonic()
                if counted:
                    arrived[command_id] = now_us
    consumer.close()
    return commands_ms, [(at - sent[each]) / 1000 for each, at in arrived.items() if each in sent]


def _sends(system: LedgerSystem) -> list[float]:
    """By a client in a process of its own: a pipeline's name is fixed when its module is imported."""
    command = [sys.executable, "-m", "benchmarks.sending", str(SENDS)]
    environment = {**os.environ, **system.environment()}
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return [float(line) for line in said.stdout.split()]


def _measured(case: str, milliseconds: Sequence[float]) -> Measured:
    cuts = statistics.quantiles(milliseconds, n=1000, method="inclusive")
    return Measured(case, len(milliseconds), cuts[499], cuts[989], cuts[998], max(milliseconds))


if __name__ == "__main__":
    raise SystemExit(main())

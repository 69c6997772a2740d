"""What deciding one command costs, by the size of its aggregate's state, and by how many commands it remembers:
`python -m benchmarks.deciding [--rounds R] [--json]`.

The engine alone, without Kafka: commands of aggregates whose state is a dict of so many entries, twenty for each, read,
handled, applied and written into a batch. Processor time of this process per command, over all rounds but the first; so much
time goes by between two rounds that as much is forgotten as they add.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from confluent_kafka import murmur2

from benchmarks import results
from benchmarks.machine import SYSTEM_CORE, load_average, pin
from eventsrc import Pipeline, apply, handle
from eventsrc.clock import HybridClock
from eventsrc.codec.catalog import Catalog
from eventsrc.engine.batch import Batch, BatchKind
from eventsrc.engine.compiled import CompiledAggregate
from eventsrc.engine.decide import Limits, SectionDecider, Surroundings
from eventsrc.engine.memory import LIMIT, WINDOW_US, remember
from eventsrc.engine.partition import Partition, PartitionKey
from eventsrc.engine.states import States
from eventsrc.model.identity import random_command_id
from eventsrc.model.position import Offset, Position
from eventsrc.testing.memory.log import MemoryRecord

CASES = ((1, 0), (10, 0), (100, 0), (1_000, 0), (10_000, 0), (1, 100), (1, 500), (1, 1_000))
"""Entries of a state; commands that it remembers (about: 20 come and go with each round)."""
COMMANDS_EACH = 20
NOW_US = 1_700_000_000_000_000

pipeline = Pipeline("deciding")


@pipeline.command
class Add:
    sku: str
    quantity: int


@pipeline.event
class Added:
    sku: str
    quantity: int


@pipeline.aggregate
class Cart:
    lines: dict[str, int] = field(default_factory=dict)

    @handle
    def add(self, command: Add) -> Added:
        return Added(command.sku, command.quantity)

    @apply
    def added(self, event: Added) -> None:
        self.lines[event.sku] = self.lines.get(event.sku, 0) + event.quantity


@dataclass(frozen=True, slots=True)
class Measured:
    """`state_bytes`: of the encoded state; `cpu_us`: per command."""

    entries: int
    remembered: int
    state_bytes: int
    cpu_us: float


def measure(entries: int, remembered: int, rounds: int) -> Measured:
    """Every round is one batch: its commands change entries that are there."""
    catalog = Catalog(pipeline, None)
    aggregate = pipeline.aggregates["cart"]
    compiled = CompiledAggregate(aggregate, catalog)
    partition = Partition(
        PartitionKey(aggregate.name, 0), compiled, 1, States(aggregate, catalog), Position(0), 0, HybridClock()
    )
    keys = [b"cart-%d" % number for number in range(max(1, min(100, 10_000 // entries)))]
    for key in keys:
        cart = partition.live[key] = aggregate.new(key)
        cart.lines = {f"sku-{number:06d}": number for number in range(entries)}
        cart._eventsrc_memory = _memory(remembered)
    write = catalog.command_writer(aggregate, Add)
    taken, now_us = [], NOW_US
    for _ in range(rounds):
        records = []
        for number in range(COMMANDS_EACH * len(keys)):
            command = write(random_command_id(), None, None, NOW_US, None, Add(f"sku-{number % entries:06d}", 1))
            at = Offset(partition.position + number)
            key = keys[number % len(keys)]
            records.append(MemoryRecord("deciding.cart.commands", 0, at, key, command, NOW_US // 1000))
        now_us += WINDOW_US * COMMANDS_EACH // max(COMMANDS_EACH, remembered)
        decider = SectionDecider(
            partition, Batch(BatchKind.COMMANDS, None), Limits(), Surroundings(str, murmur2), now_us
        )
        began = time.process_time()
        decided = decider.run(records, time.monotonic, time.monotonic() + 600)
        taken.append((time.process_time() - began) / len(records))
        assert decided == len(records)
    state_bytes = len(catalog.snapshot_writer(aggregate)(partition.live[keys[0]]))
    return Measured(entries, remembered, state_bytes, statistics.mean(taken[1:]) * 1e6)


def _memory(commands: int) -> bytes:
    memory = b""
    for number in range(commands):
        time_us = NOW_US - WINDOW_US + WINDOW_US * number // commands
        memory = remember(memory, LIMIT, random_command_id(), time_us, 1, b"8 bytes.")
    return memory


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    results.add_arguments(parser)
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        parser.error("--rounds: at least 2, since the first is not counted")
    pin(SYSTEM_CORE)
    rows = [measure(*case, options.rounds) for case in CASES]

    def table() -> None:
        print(f"{'entries':>8}{'bytes':>10}{'remembered':>12}{'CPU us per command':>20}")
        for row in rows:
            print(f"{row.entries:>8,}{row.state_bytes:>10,}{row.remembered:>12,}{row.cpu_us:>20,.1f}")

    results.tell(options, {"rows": [asdict(row) for row in rows], "load": load_average()}, table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

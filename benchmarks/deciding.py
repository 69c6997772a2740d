"""What deciding one command costs, by the size of its aggregate's state: `python -m benchmarks.deciding [--rounds R] [--json]`.

The engine alone, without Kafka: commands of one aggregate, whose state is a dict of so many entries, read, handled, applied
and written into a batch. Processor time of this process per command, the best of several rounds.
"""

from __future__ import annotations

import argparse
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
from eventsrc.engine.partition import Partition, PartitionKey
from eventsrc.engine.states import States
from eventsrc.model.identity import random_command_id
from eventsrc.model.position import Offset, Position
from eventsrc.testing.memory.log import MemoryRecord

SIZES = (1, 10, 100, 1_000, 10_000)
KEY = b"cart-1"
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
    state_bytes: int
    cpu_us: float


def measure(entries: int, rounds: int) -> Measured:
    """Every round is one batch: its commands change entries that are there."""
    catalog = Catalog(pipeline, None)
    aggregate = pipeline.aggregates["cart"]
    compiled = CompiledAggregate(aggregate, catalog)
    partition = Partition(
        PartitionKey(aggregate.name, 0), compiled, 1, States(aggregate, catalog), Position(0), 0, HybridClock()
    )
    cart = partition.live[KEY] = aggregate.new(KEY)
    cart.lines = {f"sku-{number:06d}": number for number in range(entries)}
    write = catalog.command_writer(aggregate, Add)
    count = max(20, min(2_000, 200_000 // entries))
    taken = []
    for _ in range(rounds):
        records = []
        for number in range(count):
            command = write(random_command_id(), None, None, NOW_US, None, Add(f"sku-{number % entries:06d}", 1))
            at = Offset(partition.position + number)
            records.append(MemoryRecord("deciding.cart.commands", 0, at, KEY, command, NOW_US // 1000))
        decider = SectionDecider(
            partition, Batch(BatchKind.COMMANDS, None), Limits(), Surroundings(str, murmur2), NOW_US
        )
        began = time.process_time()
        decided = decider.run(records, time.monotonic, time.monotonic() + 600)
        taken.append((time.process_time() - began) / count)
        assert decided == count
    return Measured(entries, len(catalog.snapshot_writer(aggregate)(cart)), min(taken) * 1e6)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    results.add_arguments(parser)
    options = parser.parse_args(arguments)
    pin(SYSTEM_CORE)
    rows = [measure(entries, options.rounds) for entries in SIZES]

    def table() -> None:
        print(f"{'entries':>8}{'bytes':>10}{'CPU us per command':>20}")
        for row in rows:
            print(f"{row.entries:>8,}{row.state_bytes:>10,}{row.cpu_us:>20,.1f}")

    results.tell(options, {"rows": [asdict(row) for row in rows], "load": load_average()}, table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

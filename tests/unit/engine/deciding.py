"""One open partition and one batch, for tests of deciding: commands in, what the transaction would carry out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import murmur2

from eventsrc.clock import HybridClock
from eventsrc.engine.batch import Answer, Batch, BatchKind, DeadLetter, Section
from eventsrc.engine.compiled import CompiledAggregate
from eventsrc.engine.decide import Limits, SectionDecider, Surroundings
from eventsrc.engine.partition import Partition, PartitionKey
from eventsrc.engine.states import States
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.position import Position
from tests.unit.engine.shop import ACCOUNT, Record, catalog, command_value, commands_topic_of, key_on

NOW_US = 1_700_000_000_000_000
TERM = 7
KEY = key_on(0)


@dataclass
class Desk:
    """`decide` takes commands (or raw values) for one key, at consecutive offsets."""

    aggregate: AggregateType = ACCOUNT
    limits: Limits = field(default_factory=Limits)
    surroundings: Surroundings = field(default_factory=lambda: Surroundings(commands_topic_of, murmur2))
    partition: Partition = field(init=False)
    batch: Batch = field(default_factory=lambda: Batch(BatchKind.COMMANDS, b"metadata"))
    clock_s: float = 0.0
    now_us: int = NOW_US

    def __post_init__(self) -> None:
        compiled = CompiledAggregate(self.aggregate, catalog)
        key = PartitionKey(self.aggregate.name, 0)
        self.partition = Partition(
            key, compiled, 2, States(compiled.type, compiled.catalog), Position(0), TERM, HybridClock()
        )

    def decide(self, *commands: Any, key: bytes | None = KEY, names: Sequence[str] | None = None) -> int:
        first = self.partition.position
        named = names or [f"c{first + number}" for number in range(len(commands))]
        records = [
            Record(first + number, key, self._value(command, name))
            for number, (command, name) in enumerate(zip(commands, named, strict=True))
        ]
        return self.run(records)

    def run(self, records: Sequence[Record], deadline_s: float = 1.0) -> int:
        decider = SectionDecider(self.partition, self.batch, self.limits, self.surroundings, self.now_us)
        return decider.run(records, lambda: self.clock_s, deadline_s)

    def next_batch(self) -> Batch:
        """The one so far; the following commands go into another."""
        done, self.batch = self.batch, Batch(BatchKind.COMMANDS, b"metadata")
        return done

    def _value(self, command: Any, name: str) -> bytes | None:
        raw = command is None or isinstance(command, bytes)
        return command if raw else command_value(command, name, of=self.aggregate)

    @property
    def section(self) -> Section:
        return self.batch.sections[self.partition.key]

    @property
    def dead(self) -> list[DeadLetter]:
        return self.section.dead_letters

    @property
    def reasons(self) -> list[str]:
        return [header(letter, "eventsrc.reason") for letter in self.dead]

    @property
    def answers(self) -> list[Answer]:
        return self.batch.answers

    @property
    def statuses(self) -> list[tuple[str, int]]:
        return [(answer.status, answer.sequence) for answer in self.answers]

    @property
    def event_keys(self) -> list[bytes]:
        return [record[0] for record in self.section.records]

    @property
    def events(self) -> list[Any]:
        """As a reader of the log sees them."""
        return [catalog.event_reader(self.aggregate, each[1][:10])(each[1])[1] for each in self.section.records]

    def live(self, key: bytes = KEY) -> Any:
        return self.partition.live[key]


def header(letter: DeadLetter, name: str) -> str:
    return next((value or b"").decode() for known, value in letter.headers if known == name)

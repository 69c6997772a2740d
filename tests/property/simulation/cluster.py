"""Kafka's semantics that exactly-once rests on, in memory: logs with transactions, offsets, producer epochs.

Markers reach each partition on their own, after the end of a transaction was accepted; a committed reader sees nothing
at or above the first record that is undecided in its partition; a stable offset fetch answers only when nothing is
pending. What is in the network (late requests) is held here too, and may arrive at any time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from eventsrc.engine.partition import PartitionKey
from tests.property.simulation.group import Group, Proof
from tests.unit.engine.shop import Record

OFFSETS = "offsets"
DEAD = "dead-letters"
Place = PartitionKey | str


class FencedProducerError(Exception):
    """Another producer holds the transactional id; `expired`: the transaction was aborted by its timeout."""

    def __init__(self, *, expired: bool) -> None:
        super().__init__(expired)
        self.expired = expired


class NotReadyError(Exception):
    """The transaction before is not complete: repeat the identical call."""


class CommittedOffset(NamedTuple):
    position: int
    note: str


@dataclass(eq=False)
class Transaction:
    """`unmarked`: where its marker has still to be written; empty while it is open."""

    places: dict[Place, None] = field(default_factory=dict)
    offsets: dict[PartitionKey, CommittedOffset] = field(default_factory=dict)
    commit: bool | None = None
    unmarked: list[Place] = field(default_factory=list)


@dataclass(eq=False)
class Entry:
    record: Record
    transaction: Transaction


class Log:
    """One partition; a marker takes an offset too."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.end = 0
        self._ended: set[Transaction] = set()

    def append(self, transaction: Transaction, key: bytes | None, value: bytes | None, time_ms: int) -> int:
        offset, self.end = self.end, self.end + 1
        self.entries.append(Entry(Record(offset, key, value, time_ms=time_ms), transaction))
        return offset

    def mark(self, transaction: Transaction) -> None:
        self.end += 1
        self._ended.add(transaction)

    @property
    def last_stable(self) -> int:
        return next((each.record.at for each in self.entries if each.transaction not in self._ended), self.end)

    def committed(self, position: int = 0) -> list[Record]:
        stable = self.last_stable
        return [
            each.record
            for each in self.entries
            if position <= each.record.at < stable and each.transaction.commit is True
        ]


@dataclass
class Producer:
    epoch: int = 0
    transaction: Transaction | None = None
    expired: set[int] = field(default_factory=set)


@dataclass
class Cluster:
    """`network`: requests that were sent and have not arrived."""

    rng: random.Random
    keys: tuple[PartitionKey, ...]
    group: Group = field(init=False)
    commands: dict[PartitionKey, list[Record]] = field(init=False)
    logs: dict[Place, Log] = field(init=False)
    producers: dict[str, Producer] = field(default_factory=dict)
    offsets: dict[PartitionKey, CommittedOffset] = field(default_factory=dict)
    network: list[Callable[[], None]] = field(default_factory=list)
    undecided: list[Transaction] = field(default_factory=list)
    committed_values: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.group = Group(self.rng, self.keys)
        self.commands = {key: [] for key in self.keys}
        self.logs = {key: Log() for key in self.keys} | {DEAD: Log(), OFFSETS: Log()}

    # ---- commands

    def send_command(self, key: PartitionKey, of_key: bytes | None, value: bytes | None) -> Record:
        """A gap before it now and then: a client's own transaction left a marker there."""
        log = self.commands[key]
        offset = (log[-1].at + 1 if log else 0) + (self.rng.random() < 0.1)
        log.append(Record(offset, of_key, value, key.number, 1_000 + offset))
        return log[-1]

    def commands_end(self, key: PartitionKey) -> int:
        return self.commands[key][-1].at + 1 if self.commands[key] else 0

    # ---- producers

    def init(self, transactional_id: str) -> int:
        """The epoch. Raises NotReadyError until what the predecessor left is complete."""
        producer = self.producers.setdefault(transactional_id, Producer())
        if producer.transaction is not None:
            if producer.transaction.commit is None:
                producer.epoch += 1
                self._decide(producer.transaction, commit=False)
            raise NotReadyError
        producer.epoch += 1
        return producer.epoch

    def expire(self, transactional_id: str) -> bool:
        """The coordinator aborts an open transaction that is older than its timeout."""
        producer = self.producers.get(transactional_id)
        if producer is None or producer.transaction is None or producer.transaction.commit is not None:
            return False
        producer.expired.add(producer.epoch)
        producer.epoch += 1
        self._decide(producer.transaction, commit=False)
        return True

    def _open(self, transactional_id: str, epoch: int) -> Transaction:
        producer = self.producers[transactional_id]
        if producer.epoch != epoch:
            raise FencedProducerError(expired=epoch in producer.expired)
        if producer.transaction is None:
            producer.transaction = Transaction()
        if producer.transaction.commit is not None:
            raise NotReadyError
        return producer.transaction

    def produce(
        self, transactional_id: str, epoch: int, place: Place, key: bytes | None, value: bytes | None, time_ms: int
    ) -> int:
        transaction = self._open(transactional_id, epoch)
        transaction.places[place] = None
        return self.logs[place].append(transaction, key, value, time_ms)

    def send_offsets(
        self, transactional_id: str, epoch: int, offsets: Sequence[tuple[PartitionKey, CommittedOffset]], proof: Proof
    ) -> None:
        """Raises StaleMemberError: the fence."""
        transaction = self._open(transactional_id, epoch)
        self.group.check(proof)
        transaction.places[OFFSETS] = None
        transaction.offsets.update(offsets)

    def end(self, transactional_id: str, epoch: int, *, commit: bool) -> None:
        """Accepted, the outcome is decided; readers see it when the markers are written."""
        producer = self.producers[transactional_id]
        if producer.epoch != epoch:
            raise FencedProducerError(expired=epoch in producer.expired)
        if producer.transaction is not None and producer.transaction.commit is None:
            self._decide(producer.transaction, commit=commit)

    def _decide(self, transaction: Transaction, *, commit: bool) -> None:
        transaction.commit = commit
        transaction.unmarked = list(transaction.places)
        self.undecided.append(transaction)
        if commit:
            self.committed_values.update(
                each.record.of_value or b""
                for place in transaction.places
                for each in self.logs[place].entries
                if each.transaction is transaction
            )
        if not transaction.places:
            self._complete(transaction)

    # ---- what happens by itself

    def write_marker(self) -> None:
        """One marker of one ended transaction reaches its partition."""
        if not self.undecided:
            return
        transaction = self.rng.choice(self.undecided)
        place = transaction.unmarked.pop(self.rng.randrange(len(transaction.unmarked)))
        self.logs[place].mark(transaction)
        if place == OFFSETS and transaction.commit:
            self.offsets.update(transaction.offsets)
        if not transaction.unmarked:
            self._complete(transaction)

    def _complete(self, transaction: Transaction) -> None:
        self.undecided.remove(transaction)
        for producer in self.producers.values():
            if producer.transaction is transaction:
                producer.transaction = None

    def deliver(self) -> None:
        """One late request arrives."""
        if self.network:
            self.network.pop(self.rng.randrange(len(self.network)))()

    # ---- questions

    def is_pending(self, key: PartitionKey) -> bool:
        """Offsets for it were accepted from a transaction whose end has not reached the group."""
        return any(
            each.transaction is not None
            and key in each.transaction.offsets
            and (each.transaction.commit is None or OFFSETS in each.transaction.unmarked)
            for each in self.producers.values()
        )

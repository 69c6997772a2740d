"""What a suite needs of a cluster: adapters of each port on it, and a look from outside. In memory, or a real one.

A world has a pipeline of its own, `account` with two partitions. Every statement is tested through this alone, so
that the suites are written once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from eventsrc import Pipeline, apply, handle
from eventsrc.engine.batch import Batch, BatchKind, DeadLetter, OutputRecord, Section
from eventsrc.engine.effects import StableOffsetFetched
from eventsrc.engine.notes import Owner
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.records import ConsumedRecord
from eventsrc.model.position import Position
from eventsrc.ports import EventsLog, Membership, Polled, Replies, StableOffsets, Transactions
from eventsrc.runtime.connection import Connection
from tests.harness.collect import wait_until
from tests.harness.evidence import CommittedOffset, LogRecord

FIRST = PartitionKey("account", 0)
SECOND = PartitionKey("account", 1)
PARTITIONS = 2
TIMEOUT_S = 40.0
SESSION_S = 60.0
"""A member that does not poll for so long is expelled: no test is to meet that by a stall of its machine."""
WALL_MS = 1_700_000_000_000
REPLY_BYTES = 20_000

_numbers = itertools.count(1)


class World(Protocol):
    """Adapters are closed with it."""

    name: str

    def transactions(self, owner: Owner, timeout_s: float = 30.0) -> Transactions: ...

    def membership(self, instance: str, listener: Listener, session_s: float = SESSION_S) -> Membership: ...

    def leave(self, membership: Membership) -> None:
        """Closes it, before the world does."""

    def events_log(self, listener: Listener) -> EventsLog: ...

    def replies(self) -> Replies:
        """The topic takes records of about `REPLY_BYTES`."""

    def stable_offsets(self, answered: Callable[[StableOffsetFetched], None]) -> StableOffsets: ...

    def connection(self) -> Connection:
        """A client's; what it opens is the test's to close."""

    def send_commands(self, key: PartitionKey, *values: bytes) -> None:
        """As a plain client; stored when this returns."""

    def leave_open(self, owner: Owner, metadata: bytes, key: PartitionKey, position: int) -> Callable[[], None]:
        """A transaction of that owner with an event and an offset that the group has accepted. Calling what is returned
        commits it; raises where it was aborted meanwhile."""

    def lapse(self, instance: str) -> None:
        """Returns when its session has ended, because it did not poll."""

    def silence(self) -> AbstractContextManager[None]:
        """The broker answers nobody until the block ends."""

    def committed_records(self, topic: str) -> Sequence[LogRecord]:
        """What a plain reader of committed records sees, in offset order of each partition."""

    def has_open_transaction(self, topic: str) -> bool: ...

    def was_written(self, topic: str) -> bool:
        """Whether it holds anything, whatever became of it."""

    def committed_offset(self, key: PartitionKey) -> CommittedOffset | None:
        """Without waiting for what is undecided."""

    def close(self) -> None: ...


def pipeline_of(name: str) -> Pipeline:
    pipeline = Pipeline(name, partitions=PARTITIONS)

    @pipeline.command
    class Deposit:
        amount: int

    @pipeline.event
    class Deposited:
        amount: int

    @pipeline.aggregate
    class Account:
        balance: int = 0

        @handle
        def deposit(self, command: Deposit) -> Deposited:
            return Deposited(command.amount)

        @apply
        def deposited(self, event: Deposited) -> None:
            self.balance += event.amount

    return pipeline


@dataclass
class Listener:
    """What a member was told, in order; `on_revoked` and `on_assigned` may do more."""

    told: list[tuple[str, tuple[PartitionKey, ...]]] = field(default_factory=list)
    errors: dict[PartitionKey, str] = field(default_factory=dict)
    assigned: set[PartitionKey] = field(default_factory=set)
    when_revoked: Callable[[tuple[PartitionKey, ...]], None] | None = None

    def on_assigned(self, partitions: tuple[PartitionKey, ...]) -> None:
        self.assigned.update(partitions)
        if partitions:
            self.told.append(("assigned", partitions))

    def on_revoked(self, partitions: tuple[PartitionKey, ...]) -> None:
        self.assigned.difference_update(partitions)
        self.told.append(("revoked", partitions))
        if self.when_revoked is not None:
            self.when_revoked(partitions)

    def on_lost(self, partitions: tuple[PartitionKey, ...]) -> None:
        self.assigned.difference_update(partitions)
        self.told.append(("lost", partitions))

    def on_partition_error(self, partition: PartitionKey, reason: str) -> None:
        self.errors[partition] = reason


@dataclass
class Member:
    """A membership with its listener, polled until something is so."""

    port: Membership
    listener: Listener

    def poll_until(self, condition: Callable[[], object], what: str, *others: Member) -> None:
        """What the polls bring is dropped. Others are polled too, as their processes would."""

        def polled() -> bool:
            for each in (self, *others):
                each.port.poll(100, 0.01)
            return bool(condition())

        wait_until(polled, TIMEOUT_S, what)

    def read(self, count: int, key: PartitionKey = FIRST, limit: int = 100) -> list[ConsumedRecord]:
        """At least so many records of a partition, as several polls bring them."""
        return read(lambda: self.port.poll(limit, 0.05), count, key)


def joined(world: World, instance: str, *others: Member, session_s: float = SESSION_S) -> Member:
    """A member that has its share: everything, or one partition each beside another."""
    listener = Listener()
    member = Member(world.membership(instance, listener, session_s), listener)
    share = PARTITIONS // (1 + len(others))
    everyone = (member, *others)
    member.poll_until(lambda: all(len(each.listener.assigned) == share for each in everyone), "shares", *others)
    return member


def read(poll: Callable[[], Polled], count: int, key: PartitionKey) -> list[ConsumedRecord]:
    """At least so many records of one partition, as several polls bring them."""
    found: list[ConsumedRecord] = []

    def enough() -> bool:
        found.extend(poll().get(key, ()))
        return len(found) >= count

    wait_until(enough, TIMEOUT_S, f"{count} records of {key}, not {len(found)}")
    return found


def values(records: Sequence[ConsumedRecord] | Sequence[LogRecord]) -> list[bytes]:
    return [each.value if isinstance(each, LogRecord) else each.value() for each in records]  # type: ignore[misc]  # all have one


def offsets(records: Sequence[ConsumedRecord]) -> list[int]:
    return [each.offset() or 0 for each in records]


def owner(instance: str = "one") -> Owner:
    """A transactional id of its own; `instance` is whom it names as its member."""
    return Owner(instance, f"conformance-{instance}-{next(_numbers)}", "")


def records_of(*values: bytes) -> list[OutputRecord]:
    return [(b"key-" + value, value, WALL_MS + number) for number, value in enumerate(values)]


def batch(
    metadata: bytes,
    events: Mapping[PartitionKey, Sequence[bytes]],
    position: int = 1,
    *,
    kind: BatchKind = BatchKind.COMMANDS,
    dead_letters: Sequence[DeadLetter] = (),
) -> Batch:
    """Each partition's records and its position; the dead letters are of the first."""
    sections = {
        key: Section(key, Position(0), Position(position), records=records_of(*each), note=f"note of {key}")
        for key, each in events.items()
    }
    if dead_letters:
        next(iter(sections.values())).dead_letters.extend(dead_letters)
    return Batch(kind, metadata, sections)

"""The world of `eventsrc.testing.memory`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from eventsrc.engine.effects import StableOffsetFetched
from eventsrc.engine.notes import Owner
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.names import commands_topic
from eventsrc.model.position import Position
from eventsrc.ports import EventsLog, Membership, Replies, StableOffsets, Transactions
from eventsrc.runtime.connection import Connection
from eventsrc.testing.memory.broker import NoAnswer
from eventsrc.testing.memory.connection import MemoryConnection
from eventsrc.testing.memory.log import CommittedOffset as MemoryOffset
from eventsrc.testing.memory.membership import MemoryMembership
from eventsrc.testing.memory.offsets import MemoryStableOffsets
from eventsrc.testing.memory.process import MemoryProcess
from eventsrc.testing.memory.reading import MemoryEventsLog
from eventsrc.testing.memory.replies import MemoryReplies
from eventsrc.testing.memory.transactions import MemoryTransactions
from eventsrc.testing.memory.worker import memory_broker
from tests.conformance.world import REPLY_BYTES, SESSION_S, Listener, pipeline_of
from tests.harness.evidence import CommittedOffset, LogRecord


class MemoryWorld:
    def __init__(self, name: str) -> None:
        self.name = name
        self.broker = memory_broker(pipeline_of(name))
        self._close: list[Callable[[], None]] = []

    def transactions(self, owner: Owner, timeout_s: float = 30.0) -> Transactions:
        return MemoryTransactions(self._process(owner.instance), owner, timeout_s)

    def membership(self, instance: str, listener: Listener, session_s: float = SESSION_S) -> Membership:
        return MemoryMembership(self._process(instance), listener, listener.on_partition_error)

    def leave(self, membership: Membership) -> None:
        membership.close()

    def events_log(self, listener: Listener) -> EventsLog:
        return MemoryEventsLog(self._process(), listener.on_partition_error)

    def replies(self) -> Replies:
        return MemoryReplies(self._process(), REPLY_BYTES)

    def stable_offsets(self, answered: Callable[[StableOffsetFetched], None]) -> StableOffsets:
        made = MemoryStableOffsets(self._process(), "our-own", answered)
        self._close.append(made.close)
        return made

    def connection(self) -> Connection:
        return MemoryConnection(self.broker)

    def send_commands(self, key: PartitionKey, *values: bytes) -> None:
        for value in values:
            self.broker.append(commands_topic(self.name, key.aggregate), key.number, b"key", value)

    def leave_open(self, owner: Owner, metadata: bytes, key: PartitionKey, position: int) -> Callable[[], None]:
        broker = self.broker
        with broker.request("offsets", owner.instance):
            epoch = broker.take_id(owner.transactional_id)
            transaction = broker.begin(owner.transactional_id, epoch, 60.0)
            broker.events(key).append(b"key", b"event", broker.wall_ms(), writer=transaction)
            broker.group.check(metadata)
            transaction.offsets[key] = MemoryOffset(Position(position), "open")

        def commit() -> None:
            with broker.request("commit", owner.instance):
                broker.end(owner.transactional_id, epoch, committed=True)

        return commit

    def lapse(self, instance: str) -> None:
        self.broker.end_session(instance)

    @contextmanager
    def silence(self) -> Iterator[None]:
        def keep_silent(what: str, whose: str) -> None:
            raise NoAnswer

        self.broker.on_request = keep_silent
        try:
            yield
        finally:
            self.broker.on_request = None

    def committed_records(self, topic: str) -> Sequence[LogRecord]:
        return [
            LogRecord(
                each.of_topic, each.of_partition, each.at, each.of_key, each.of_value, each.of_headers, each.time_ms
            )
            for each in self.broker.read(topic)
        ]

    def has_open_transaction(self, topic: str) -> bool:
        self.broker.read(topic)
        logs = [self.broker.log(topic, number) for number in range(self.broker.partitions)]
        return any(log.last_stable < log.end for log in logs)

    def was_written(self, topic: str) -> bool:
        return any(self.broker.log(topic, number).end for number in range(self.broker.partitions))

    def committed_offset(self, key: PartitionKey) -> CommittedOffset | None:
        found = self.broker.committed(key)
        topic = commands_topic(self.name, key.aggregate)
        return None if found is None else CommittedOffset(topic, key.number, found.position, found.note)

    def close(self) -> None:
        for close in self._close:
            close()

    def _process(self, instance: str = "one") -> MemoryProcess:
        return MemoryProcess(self.broker, instance)

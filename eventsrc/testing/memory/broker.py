"""One Kafka cluster in memory, with the topics of one pipeline and its group: what its adapters share.

From any thread. Time is the clock's that is passed in, and passes for transactions alone: sessions end when they are
said to. `on_request` sees every request before it takes effect, and may raise what a client would meet.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from eventsrc.engine.partition import PartitionKey
from eventsrc.model.names import commands_topic, dead_letter_topic, events_topic, replies_topic
from eventsrc.model.position import Offset, Position
from eventsrc.testing.memory.group import MemoryGroup
from eventsrc.testing.memory.log import CommittedOffset, Headers, MemoryLog, MemoryRecord, Transaction

_LOOK_AGAIN_S = 0.02

Request = Literal["init", "produce", "offsets", "commit", "abort", "poll", "read", "stable", "reply"]


class FencedProducer(Exception):  # noqa: N818 - what the coordinator answers
    """Another producer holds the transactional id; `outlived`: the broker has aborted the transaction for its length."""

    def __init__(self, *, outlived: bool) -> None:
        super().__init__(outlived)
        self.outlived = outlived


class NoAnswer(Exception):  # noqa: N818 - what a client meets
    """The request was lost, or its answer: repeat it."""


@dataclass(slots=True)
class _Producer:
    """Of one transactional id. `last`: how the last transaction ended, for a request that is repeated."""

    epoch: int = 0
    outlived: int | None = None
    current: Transaction | None = None
    last: bool | None = None


@dataclass(slots=True)
class MemoryBroker:
    pipeline: str
    aggregates: tuple[str, ...]
    partitions: int
    clock_s: Callable[[], float] = time.monotonic
    wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    on_request: Callable[[Request, str], None] | None = None
    group: MemoryGroup = field(init=False)
    changed: threading.Condition = field(default_factory=threading.Condition)
    _topics: Mapping[str, list[MemoryLog]] = field(init=False)
    _producers: dict[str, _Producer] = field(default_factory=dict)
    _offsets: dict[PartitionKey, CommittedOffset] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = range(self.partitions)
        self.group = MemoryGroup([PartitionKey(name, number) for name in self.aggregates for number in numbers])
        of_aggregates = [
            make(self.pipeline, name) for name in self.aggregates for make in (commands_topic, events_topic)
        ]
        topics = [*of_aggregates, replies_topic(self.pipeline), dead_letter_topic(self.pipeline)]
        self._topics = {topic: [MemoryLog(topic, number) for number in numbers] for topic in topics}

    @contextmanager
    def request(self, what: Request, whose: str) -> Iterator[None]:
        """Around everything that an adapter asks: one at a time. Others that wait look again afterwards."""
        if self.on_request is not None:
            self.on_request(what, whose)
        with self.changed:
            self._abort_outlived()
            yield
            self.changed.notify_all()

    def wait(self, until: Callable[[], bool], timeout_s: float) -> bool:
        """Until something is so; whether it is."""
        deadline_s = time.monotonic() + timeout_s
        with self.changed:
            while not until():
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return False
                self.changed.wait(min(left_s, _LOOK_AGAIN_S))
                self._abort_outlived()
            return True

    # ---- logs

    def log(self, topic: str, number: int) -> MemoryLog:
        return self._topics[topic][number]

    def commands(self, key: PartitionKey) -> MemoryLog:
        return self.log(commands_topic(self.pipeline, key.aggregate), key.number)

    def events(self, key: PartitionKey) -> MemoryLog:
        return self.log(events_topic(self.pipeline, key.aggregate), key.number)

    def append(self, topic: str, number: int, key: bytes | None, value: bytes | None, headers: Headers = ()) -> Offset:
        """As a plain producer; stamped with the broker's time."""
        with self.changed:
            offset = self.log(topic, number).append(key, value, self.wall_ms(), headers)
            self.changed.notify_all()
            return offset

    def read(self, topic: str) -> list[MemoryRecord]:
        """Every record of a topic that a reader of committed records sees, by partition."""
        with self.changed:
            self._abort_outlived()
            return [record for log in self._topics[topic] for record in log.committed(Position(0), log.end)]

    # ---- transactions; inside `request`

    def take_id(self, transactional_id: str) -> int:
        """The epoch. Whatever an earlier holder has open is aborted, and every later request of his refused."""
        producer = self._producers.setdefault(transactional_id, _Producer())
        if producer.current is not None:
            self._end(producer, committed=False)
        producer.epoch += 1
        return producer.epoch

    def begin(self, transactional_id: str, epoch: int, timeout_s: float) -> Transaction:
        producer = self._held(transactional_id, epoch)
        if producer.current is not None:
            raise AssertionError("a transaction was begun before the one before had ended")
        producer.current, producer.last = Transaction(self.clock_s() + timeout_s), None
        return producer.current

    def open_transaction(self, transactional_id: str, epoch: int) -> Transaction:
        """Raises FencedProducer."""
        producer = self._held(transactional_id, epoch)
        if producer.current is None:
            raise AssertionError("no transaction was begun")
        return producer.current

    def end(self, transactional_id: str, epoch: int, *, committed: bool) -> None:
        """Repeated, it has no further effect. Raises FencedProducer."""
        producer = self._held(transactional_id, epoch)
        if producer.current is not None:
            self._end(producer, committed=committed)
        elif producer.last is not committed:
            raise AssertionError("the transaction had ended the other way")

    def _held(self, transactional_id: str, epoch: int) -> _Producer:
        producer = self._producers[transactional_id]
        if producer.epoch != epoch:
            raise FencedProducer(outlived=producer.outlived == epoch)
        return producer

    def _end(self, producer: _Producer, *, committed: bool) -> None:
        transaction, producer.current, producer.last = producer.current, None, committed
        if transaction is None:
            raise AssertionError("no transaction is open")
        transaction.decide(committed=committed)
        if committed:
            self._offsets.update(transaction.offsets)

    def _abort_outlived(self) -> None:
        for producer in self._producers.values():
            if producer.current is not None and self.clock_s() >= producer.current.until_s:
                producer.outlived = producer.epoch
                producer.epoch += 1
                self._end(producer, committed=False)

    # ---- the group's offsets

    def committed(self, key: PartitionKey) -> CommittedOffset | None:
        return self._offsets.get(key)

    def is_pending(self, key: PartitionKey) -> bool:
        """An offset of it was accepted from a transaction that is open."""
        open_ones = (producer.current for producer in self._producers.values())
        return any(each is not None and key in each.offsets for each in open_ones)

    def end_session(self, instance: str) -> None:
        """The member is expelled: its process has ended, or was silent for too long."""
        with self.changed:
            self.group.expel(instance)
            self.changed.notify_all()

"""Evidence gathered from a real Kafka with plain consumers: no group, no product code, CRCs checked.

Reads every topic of a pipeline from its beginning up to the last stable offset, at both isolation levels, and the
group's commits from `__consumer_offsets`, so that each transaction's counts can be checked and not only the last one's.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # public by its documentation, but not exported

from tests.harness.evidence import CommittedOffset, Evidence, LogRecord
from tests.harness.wire import Schemas

LATEST: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the class has no annotations
_OFFSETS_TOPIC = "__consumer_offsets"


class Incomplete(Exception):  # noqa: N818 - a verdict about the reading, not about the pipeline
    """A topic could not be read to its last stable offset in time: a transaction hangs, or the broker is away."""


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Polls. Raises `TimeoutError` naming what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        time.sleep(0.02)


class Reader:
    """Plain readers of one cluster. Keep it for several readings: it holds one admin client."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._servers = bootstrap_servers
        self.admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        self._askers: dict[str, Consumer] = {}

    def partitions(self, topic: str) -> list[int]:
        found = self.admin.list_topics(topic, timeout=30).topics[topic]
        return sorted(found.partitions) if found.error is None else []

    def ends(self, topic: str, isolation: IsolationLevel) -> dict[int, int]:
        """Last stable offsets (READ_COMMITTED) or high watermarks."""
        wanted = {TopicPartition(topic, p): LATEST for p in self.partitions(topic)}
        if not wanted:
            return {}
        found = self.admin.list_offsets(wanted, isolation_level=isolation, request_timeout=30)
        return {place.partition: future.result().offset for place, future in found.items()}

    def read(self, topic: str, isolation: str = "read_committed", timeout_s: float = 60.0) -> list[LogRecord]:
        """Every record below the last stable offset. Raises `Incomplete`."""
        ends = {p: end for p, end in self.ends(topic, IsolationLevel.READ_COMMITTED).items() if end > 0}
        if not ends:
            return []
        consumer = self._consumer(isolation)
        try:
            consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
            records = list(_until_ends(consumer, ends, time.monotonic() + timeout_s))
        finally:
            consumer.close()
        return sorted((_plain(message) for message in records), key=lambda record: (record.partition, record.offset))

    def committed(self, group: str, topics: Collection[str]) -> list[CommittedOffset]:
        """What the group has committed, with metadata; undecided transactions are not waited for.

        Asked by a consumer that never joins. The admin client would do, but librdkafka 2.16 takes the process down
        (SIGSEGV in `rd_kafka_cgrp_op`) where its OffsetFetch is answered by a coordinator that is still loading.
        """
        return self.asked_committed(group, topics) or []

    def asked_committed(self, group: str, topics: Collection[str]) -> list[CommittedOffset] | None:
        """As `committed`; None where there was no answer: the coordinator is loading or moving, or is slow."""
        consumer = self._askers.get(group)
        if consumer is None:
            consumer = self._askers[group] = self._consumer("read_uncommitted", group)
        places = [TopicPartition(topic, partition) for topic in topics for partition in self.partitions(topic)]
        try:
            found = consumer.committed(places, 20)
        except KafkaException:
            return None
        if any(place.error is not None for place in found):
            return None
        return [
            CommittedOffset(place.topic, place.partition, place.offset, place.metadata or "")
            for place in found
            if place.offset >= 0
        ]

    def close(self) -> None:
        while self._askers:
            self._askers.popitem()[1].close()

    def journal(self, group: str, topics: Collection[str]) -> list[CommittedOffset]:
        """Every committed commit of the group, in log order. Waits until no transaction hides some: another group's may."""
        self.wait_stable(_OFFSETS_TOPIC)
        entries: list[CommittedOffset] = []
        for record in self.read(_OFFSETS_TOPIC):
            entry = _parse_commit(record, group)
            if entry is not None and entry.topic in topics:
                entries.append(entry)
        return entries

    def evidence(self, pipeline: str, aggregates: list[str], schemas: Schemas, group: str | None = None) -> Evidence:
        """Everything but the clients' histories. Waits until no transaction is open in the events topics."""
        evidence = Evidence(pipeline, schemas, aggregates)
        topics = [evidence.commands_topic(name) for name in aggregates]
        for aggregate in aggregates:
            events, commands = evidence.events_topic(aggregate), evidence.commands_topic(aggregate)
            self.wait_stable(events)
            evidence.committed_view += self.read(events)
            evidence.uncommitted_view += self.read(events, "read_uncommitted")
            evidence.commands += self.read(commands)
            for partition, end in self.ends(commands, IsolationLevel.READ_COMMITTED).items():
                evidence.commands_end[(commands, partition)] = end
        self.wait_stable(f"{pipeline}.dead-letter")  # its markers need not come with those of the events
        evidence.dead_letters = self.read(f"{pipeline}.dead-letter")
        evidence.replies = self.read(f"{pipeline}.replies")
        evidence.committed = self.committed(group or pipeline, topics)
        evidence.commit_journal = self.journal(group or pipeline, topics)
        return evidence

    def wait_stable(self, topic: str, timeout_s: float = 30.0) -> None:
        def stable() -> bool:
            return self.ends(topic, IsolationLevel.READ_COMMITTED) == self.ends(topic, IsolationLevel.READ_UNCOMMITTED)

        with contextlib.suppress(TimeoutError):  # undecided records are judged by what is below them
            wait_until(stable, timeout_s, f"no open transaction in {topic}")

    def wait_at_rest(self, pipeline: str, aggregates: list[str], timeout_s: float, group: str | None = None) -> None:
        """Until the group has committed the end of every commands partition that holds a record."""
        topics = [f"{pipeline}.{aggregate}.commands" for aggregate in aggregates]

        def at_rest() -> bool:
            done = {(e.topic, e.partition): e.offset for e in self.committed(group or pipeline, topics)}
            ends = [(t, p, end) for t in topics for p, end in self.ends(t, IsolationLevel.READ_COMMITTED).items()]
            return all(done.get((topic, partition), 0) >= end for topic, partition, end in ends)

        wait_until(at_rest, timeout_s, f"{pipeline} has processed every command")

    def _consumer(self, isolation: str, group: str = "an-outside-reader") -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self._servers,
                "group.id": group,
                "isolation.level": isolation,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "check.crcs": True,
                "fetch.wait.max.ms": 10,
                "fetch.error.backoff.ms": 20,
                "log_level": 0,
            }
        )


def _until_ends(consumer: Consumer, ends: dict[int, int], deadline: float) -> Iterator[Message]:
    """EOF at or past the wanted end closes a partition: the last records before it may be markers, never delivered."""
    open_partitions = dict(ends)
    while open_partitions:
        if time.monotonic() > deadline:
            raise Incomplete(f"partitions {sorted(open_partitions)} were not read to their ends")
        message = consumer.poll(0.2)
        if message is None:
            continue
        error, partition, offset = message.error(), message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if offset >= ends[partition]:
                open_partitions.pop(partition, None)
        elif offset < ends[partition]:
            yield message
        else:
            open_partitions.pop(partition, None)


def _plain(message: Message) -> LogRecord:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    headers: Any = message.headers() or ()
    return LogRecord(
        topic, partition, offset, _bytes(message.key()), _bytes(message.value()), tuple(headers), message.timestamp()[1]
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


class _Cursor:
    """Kafka's own primitive types, big-endian."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def integer(self, form: str) -> int:
        (value,) = struct.unpack_from(">" + form, self._content, self._at)
        self._at += struct.calcsize(">" + form)
        return int(value)

    def text(self, compact: bool = False) -> str:
        length = self._varint() - 1 if compact else self.integer("h")
        self._at += length
        return self._content[self._at - length : self._at].decode()

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.integer("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value


def _parse_commit(record: LogRecord, group: str) -> CommittedOffset | None:
    """An OffsetCommitKey (versions 0-1) with its OffsetCommitValue (0-4), if it is the group's; else None."""
    if record.key is None or record.value is None:
        return None
    key = _Cursor(record.key)
    if key.integer("h") > 1 or key.text() != group:
        return None
    topic, partition = key.text(), key.integer("i")
    value = _Cursor(record.value)
    version = value.integer("h")
    offset = value.integer("q")
    if version >= 3:
        value.integer("i")  # leader epoch
    # confluent-kafka counts C's terminating NUL into the metadata that it sends.
    return CommittedOffset(topic, partition, offset, value.text(compact=version >= 4).removesuffix("\0"))

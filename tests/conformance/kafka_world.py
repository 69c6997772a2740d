"""The world of a real Kafka: the adapters that `eventsrc run` has, and plain clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import IsolationLevel, Producer, TopicPartition

from eventsrc.adapters.kafka.config import Config, client_config
from eventsrc.adapters.kafka.events_reader import EventsReader, events_reader_config
from eventsrc.adapters.kafka.group_queries import GroupQueries
from eventsrc.adapters.kafka.membership import GroupMembership, membership_config
from eventsrc.adapters.kafka.producer import TopicNames, TransactionalProducer
from eventsrc.adapters.kafka.producer_start import initialised_producer, producer_config
from eventsrc.adapters.kafka.replies import ReplyProducer
from eventsrc.adapters.kafka.takeover_queries import TakeoverQueries
from eventsrc.adapters.kafka.topics import create_topics
from eventsrc.engine.effects import StableOffsetFetched, TakeoverRefused
from eventsrc.engine.notes import Owner
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.names import commands_topic, dead_letter_topic, events_topic, replies_topic
from eventsrc.ports import EventsLog, Membership, Replies, StableOffsets, Transactions
from eventsrc.runtime.connection import Connection, KafkaConnection
from tests.conformance.world import PARTITIONS, REPLY_BYTES, SESSION_S, TIMEOUT_S, Listener, pipeline_of
from tests.harness.brokers import wait_led
from tests.harness.collect import Reader, wait_until
from tests.harness.evidence import CommittedOffset, LogRecord
from tests.harness.members import transactional
from tests.harness.proxy import Proxy

_AGGREGATE = "account"
_MESSAGE_BYTES = 1_000_000


class KafkaWorld:
    """`proxy`, where there is one, stands between the adapters and the broker; the look from outside bypasses it."""

    def __init__(self, name: str, direct: str, reader: Reader, proxy: Proxy | None = None) -> None:
        self.name = name
        self._direct = direct
        self._proxy = proxy
        self._reader = reader
        self._common: Config = client_config(proxy.bootstrap_servers if proxy is not None else direct)
        self._commands = {_AGGREGATE: commands_topic(name, _AGGREGATE)}
        self._events = {_AGGREGATE: events_topic(name, _AGGREGATE)}
        self._close: list[Callable[[], None]] = []
        wait_led(direct, create_topics(pipeline_of(name), direct).created)

    def transactions(self, owner: Owner, timeout_s: float = 30.0) -> Transactions:
        config = producer_config(self._common, owner.transactional_id, timeout_s, _MESSAGE_BYTES)
        producer, watch = initialised_producer(config, lambda: False)
        names = TopicNames(self._commands, self._events, dead_letter_topic(self.name), PARTITIONS)
        return TransactionalProducer(producer, watch, names, owner, timeout_s)

    def membership(self, instance: str, listener: Listener, session_s: float = SESSION_S) -> Membership:
        config = {
            **membership_config(self._common, self.name, instance, session_s, session_s),
            "heartbeat.interval.ms": 100,  # how soon a rebalance is heard of
        }
        made = GroupMembership(config, self._commands, listener, listener.on_partition_error)
        self._close.append(made.close)
        return made

    def leave(self, membership: Membership) -> None:
        self._close.remove(membership.close)
        membership.close()

    def events_log(self, listener: Listener) -> EventsLog:
        made = EventsReader(events_reader_config(self._common, self.name), self._events, listener.on_partition_error)
        self._close.append(made.close)
        return made

    def replies(self) -> Replies:
        return ReplyProducer(self._common, replies_topic(self.name), REPLY_BYTES)

    def stable_offsets(self, answered: Callable[[StableOffsetFetched], None]) -> StableOffsets:
        def on_answer(answer: StableOffsetFetched | TakeoverRefused | Exception) -> None:
            assert isinstance(answer, StableOffsetFetched)
            answered(answer)

        made = TakeoverQueries(self._common, self.name, self._commands, self._events, "our-own", on_answer)
        self._close.append(made.close)
        return made

    def connection(self) -> Connection:
        return KafkaConnection(self._direct)

    def send_commands(self, key: PartitionKey, *values: bytes) -> None:
        producer = Producer({"bootstrap.servers": self._direct, "linger.ms": 0, "log_level": 0})
        for value in values:
            producer.produce(self._commands[key.aggregate], value, b"key", key.number)
        assert producer.flush(TIMEOUT_S) == 0

    def leave_open(self, owner: Owner, metadata: bytes, key: PartitionKey, position: int) -> Callable[[], None]:
        producer = transactional(self._direct, owner.transactional_id)
        producer.begin_transaction()
        producer.produce(self._events[key.aggregate], b"event", b"key", key.number)
        place = TopicPartition(self._commands[key.aggregate], key.number, position, "open")
        producer.send_offsets_to_transaction([place], metadata, TIMEOUT_S)
        return lambda: producer.commit_transaction(TIMEOUT_S)

    def lapse(self, instance: str) -> None:
        group = GroupQueries(self._common, self.name)
        wait_until(lambda: instance not in group.members(), TIMEOUT_S, f"the session of {instance} ends")

    @contextmanager
    def silence(self) -> Iterator[None]:
        assert self._proxy is not None, "a broker can only be made silent behind a proxy"
        with self._proxy.away():
            yield

    def committed_records(self, topic: str) -> Sequence[LogRecord]:
        return self._reader.read(topic)

    def has_open_transaction(self, topic: str) -> bool:
        ends = (
            self._reader.ends(topic, level)
            for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
        )
        return next(ends) != next(ends)

    def was_written(self, topic: str) -> bool:
        return any(self._reader.ends(topic, IsolationLevel.READ_UNCOMMITTED).values())

    def committed_offset(self, key: PartitionKey) -> CommittedOffset | None:
        found = self._reader.committed(self.name, [self._commands[key.aggregate]])
        offset = next((each for each in found if each.partition == key.number), None)
        return offset and CommittedOffset(offset.topic, offset.partition, offset.offset, offset.metadata.rstrip("\0"))

    def close(self) -> None:
        for close in self._close:
            close()

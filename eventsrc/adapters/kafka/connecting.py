"""What every client of the library's own side shares: quiet logs, one sentence when nobody answers.

Workers have stricter needs (fencing, late answers) and their own table of errors; this is for readers and callers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from eventsrc.adapters.kafka.errors import is_refused, refused
from eventsrc.adapters.kafka.handshakes import why_no_answer
from eventsrc.adapters.kafka.rights import Right
from eventsrc.errors import NotAuthorized, TopicsInvalid, Unreachable

if TYPE_CHECKING:
    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # a public name, re-exported without saying so
        ClusterMetadata,
    )

CONNECT_TIMEOUT_S = 5.0
NO_ANSWER = frozenset({KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE})

# A leader moves, or a new topic is not known everywhere yet: ask again.
_UNSETTLED = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.OFFSET_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)  # fmt: skip
_ASK_AGAIN_S = 0.05

kafka_log = logging.getLogger("eventsrc.kafka")


class _AsksMetadata(Protocol):
    def list_topics(self, topic: str = ..., timeout: float = ...) -> ClusterMetadata: ...


def partition_count(
    client: _AsksMetadata, topic: str, bootstrap_servers: str, kafka: Mapping[str, str] | None = None
) -> int:
    """How many partitions the topic has. Raises `Unreachable`; `NotAuthorized`; `TopicsInvalid` where it does not exist."""
    try:
        found = client.list_topics(topic, timeout=CONNECT_TIMEOUT_S).topics[topic]
    except KafkaException as error:
        raise unreachable(error, bootstrap_servers, kafka) from error
    if found.error is not None and is_refused(found.error):
        raise refused(found.error, f"looking at {topic}", kafka, [Right("Describe", "topic", topic)])
    if found.error is not None or not found.partitions:
        reason = found.error.str() if found.error is not None else "it has no partitions"
        raise TopicsInvalid(
            f"topic {topic} cannot be used: {reason}", [f"{topic}: {reason}; create it with `eventsrc topics create`"]
        )
    return len(found.partitions)


def watermarks(
    consumer: Consumer, topic: str, partition: int, bootstrap_servers: str, kafka: Mapping[str, str] | None = None
) -> tuple[int, int]:
    """The first position still there, and the end: for a read_committed consumer the last stable offset.

    Asks again while leadership settles. Raises `Unreachable`; `NotAuthorized` or `TopicsInvalid` where the partition
    cannot be read.
    """
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while True:
        try:
            start, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=CONNECT_TIMEOUT_S)
            return int(start), int(end)
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() in NO_ANSWER:
                raise unreachable(error, bootstrap_servers, kafka) from error
            if reason.code() not in _UNSETTLED or time.monotonic() > deadline:
                raise unreadable(topic, partition, reason, kafka) from error
            time.sleep(_ASK_AGAIN_S)


def unreadable(
    topic: str, partition: int, reason: KafkaError, kafka: Mapping[str, str] | None = None
) -> TopicsInvalid | NotAuthorized:
    if is_refused(reason):
        return refused(reason, f"reading {topic}/{partition}", kafka, [Right("Read", "topic", topic)])
    return TopicsInvalid(f"{topic}/{partition} cannot be read: {reason.str()}", [f"{topic}: {reason.str()}"])


def unreachable(error: KafkaException, bootstrap_servers: str, kafka: Mapping[str, str] | None = None) -> Unreachable:
    """With `kafka`, the client's settings: asks once more, only to hear why nobody answers."""
    reason: KafkaError = error.args[0]
    heard = None if kafka is None else why_no_answer(bootstrap_servers, kafka)
    if heard is not None:
        return Unreachable(f"Kafka at {bootstrap_servers} {heard}")
    return Unreachable(
        f"Kafka at {bootstrap_servers} does not answer ({reason.str()}): check the address, or `eventsrc doctor`"
    )

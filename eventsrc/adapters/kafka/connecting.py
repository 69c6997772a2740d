"""What every client of the library's own side shares: quiet logs, one sentence when nobody answers.

Workers have stricter needs (fencing, late answers) and their own table of errors; this is for readers and callers.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from confluent_kafka import KafkaError, KafkaException

from eventsrc.errors import TopicsInvalid, Unreachable

if TYPE_CHECKING:
    from confluent_kafka.admin import ClusterMetadata

CONNECT_TIMEOUT_S = 5.0
NO_ANSWER = frozenset({KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE})

kafka_log = logging.getLogger("eventsrc.kafka")


class _AsksMetadata(Protocol):
    def list_topics(self, topic: str = ..., timeout: float = ...) -> ClusterMetadata: ...


def partition_count(client: _AsksMetadata, topic: str, bootstrap_servers: str) -> int:
    """How many partitions the topic has. Raises `Unreachable`; `TopicsInvalid` where it does not exist."""
    try:
        found = client.list_topics(topic, timeout=CONNECT_TIMEOUT_S).topics[topic]
    except KafkaException as error:
        raise unreachable(error, bootstrap_servers) from error
    if found.error is not None or not found.partitions:
        reason = found.error.str() if found.error is not None else "it has no partitions"
        raise TopicsInvalid(
            f"topic {topic} cannot be used: {reason}", [f"{topic}: {reason}; create it with `eventsrc topics create`"]
        )
    return len(found.partitions)


def unreachable(error: KafkaException, bootstrap_servers: str) -> Unreachable:
    reason: KafkaError = error.args[0]
    return Unreachable(
        f"Kafka at {bootstrap_servers} does not answer ({reason.str()}): check the address, or `eventsrc doctor`"
    )

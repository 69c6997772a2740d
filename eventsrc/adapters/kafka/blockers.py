"""Names the record whose open transaction holds back the last stable offset: a reader of committed records waits there."""

from __future__ import annotations

import logging
from datetime import datetime

from confluent_kafka import KafkaException, Message, TopicPartition

from eventsrc.adapters.kafka.asking import asking_consumer
from eventsrc.adapters.kafka.config import Config

logger = logging.getLogger("eventsrc.kafka")

TIMEOUT_S = 5.0


def describe_blocker(common: Config, group_id: str, topic: str, number: int) -> str | None:
    """What a reader of this partition waits for; None where no open transaction holds it back, or Kafka does not
    answer: then there is nothing to do but to wait."""
    try:
        record = _record_at_last_stable_offset(common, group_id, topic, number)
    except KafkaException as exception:
        logger.warning("asking what holds back %s/%d failed: %s", topic, number, exception.args[0].str())
        return None
    if record is None:
        return None
    when = datetime.fromtimestamp(record.timestamp()[1] / 1000).astimezone().isoformat(timespec="seconds")
    return (
        f"because an open transaction holds the last stable offset of {topic} at {record.offset()} (partition {number}; the "
        f"record there, of {when}, has the key {record.key()!r}). Find its producer with `kafka-transactions.sh "
        f"find-hanging`, end or abort it, and restart this worker"
    )


def _record_at_last_stable_offset(common: Config, group_id: str, topic: str, number: int) -> Message | None:
    place = TopicPartition(topic, number)
    last_stable = _high(common, group_id, place, "read_committed")
    if last_stable >= _high(common, group_id, place, "read_uncommitted"):
        return None
    reader = asking_consumer(common, group_id, "read_uncommitted")
    try:
        reader.assign([TopicPartition(topic, number, last_stable)])
        record = reader.poll(TIMEOUT_S)
        return record if record is not None and record.error() is None else None
    finally:
        reader.close()


def _high(common: Config, group_id: str, place: TopicPartition, isolation: str) -> int:
    """For a reader of committed records, the last stable offset; for the other, the log's end."""
    consumer = asking_consumer(common, group_id, isolation)
    try:
        high: int = consumer.get_watermark_offsets(place, TIMEOUT_S)[1]
        return high
    finally:
        consumer.close()

"""Follows several partitions at once, committed records only: for eyes, not for folding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from eventsrc.adapters.kafka.config import client_config
from eventsrc.adapters.kafka.connecting import (
    CONNECT_TIMEOUT_S,
    NO_ANSWER,
    kafka_log,
    partition_count,
    unreachable,
    unreadable,
    watermarks,
)
from eventsrc.adapters.kafka.errors import is_about_unused_group

_POLL_S = 0.2
_BATCH = 1000


class TailedRecord(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int


class TopicTail:
    """Reads every partition of some topics. Raises `Unreachable`, `NotAuthorized`, `TopicsInvalid` when constructed."""

    def __init__(
        self,
        topics: Sequence[str],
        bootstrap_servers: str,
        kafka: Mapping[str, str] | None = None,
        *,
        since_ms: int | None,
        from_beginning: bool,
    ) -> None:
        self._kafka = dict(kafka or {})
        self._consumer = Consumer(
            {
                **client_config(bootstrap_servers, kafka),
                "group.id": "eventsrc-tail",  # a name is wanted; no group is joined, nothing is committed
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
            },
            logger=kafka_log,
        )
        try:
            places = [
                TopicPartition(topic, number)
                for topic in topics
                for number in range(partition_count(self._consumer, topic, bootstrap_servers, self._kafka))
            ]
            self._ends = {
                (each.topic, each.partition): watermarks(
                    self._consumer, each.topic, each.partition, bootstrap_servers, self._kafka
                )[1]
                for each in places
            }
            self._consumer.assign([self._start(each, since_ms, from_beginning) for each in places])
        except KafkaException as error:
            self.close()
            raise unreachable(error, bootstrap_servers, self._kafka) from error
        except BaseException:
            self.close()
            raise

    def records(self, *, follow: bool, stopped: Callable[[], bool] = lambda: False) -> Iterator[TailedRecord]:
        """In order within a partition. Without `follow`, up to the last stable offsets of the construction. Ends within a
        moment once `stopped` is true, also where no record comes."""
        unread = set() if follow else set(self._ends)
        while (follow or unread) and not stopped():
            for message in self._consumer.consume(1, _POLL_S) + self._consumer.consume(_BATCH, 0):
                error = message.error()
                place = (str(message.topic()), message.partition() or 0)
                offset = message.offset() or 0
                if error is None:
                    if follow or offset < self._ends[place]:
                        yield TailedRecord(*place, offset, message.key(), message.value(), message.timestamp()[1])
                    offset += 1
                elif error.code() != KafkaError._PARTITION_EOF:
                    if error.code() in NO_ANSWER or is_about_unused_group(error, message.topic()):
                        continue
                    raise unreadable(*place, error, self._kafka)
                if offset >= self._ends[place]:
                    unread.discard(place)

    def close(self) -> None:
        self._consumer.close()

    def _start(self, place: TopicPartition, since_ms: int | None, from_beginning: bool) -> TopicPartition:
        if since_ms is not None:
            asked = TopicPartition(place.topic, place.partition, since_ms)
            found = int(self._consumer.offsets_for_times([asked], timeout=CONNECT_TIMEOUT_S)[0].offset)
            start = found if found >= 0 else self._ends[place.topic, place.partition]
        else:
            start = OFFSET_BEGINNING if from_beginning else self._ends[place.topic, place.partition]
        return TopicPartition(place.topic, place.partition, start)

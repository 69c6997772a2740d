"""Where a group stands, as an outsider sees it: committed positions with their notes, the ends of the logs, the members.

For `status` and the like: asks a few questions at once and changes nothing. Never waits for what is undecided.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from eventsrc.adapters.kafka.config import client_config
from eventsrc.adapters.kafka.connecting import CONNECT_TIMEOUT_S, kafka_log, partition_count, unreachable
from eventsrc.adapters.kafka.errors import is_refused, refused
from eventsrc.adapters.kafka.rights import Right
from eventsrc.engine.notes import Note, read_note
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import TopicsInvalid, Unreachable
from eventsrc.model.names import commands_topic, events_topic

_GRACE_S = 2.0
_PAUSE_S = 0.1
_COORDINATOR_MOVES = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
"""Said at once, while a broker starts or goes: another has the group, or this one soon does."""
_SPECS: tuple[OffsetSpec, OffsetSpec] = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]  # they are not typed


class PartitionOffsets(NamedTuple):
    """`committed`: the next command to process, None where the group never committed any. Starts are the first offsets
    still there, ends those that the next record gets."""

    committed: int | None
    note: Note | None
    commands_start: int
    commands_end: int
    events_start: int
    events_end: int

    @property
    def lag(self) -> int:
        """Commands that wait."""
        return self.commands_end - (self.commands_start if self.committed is None else self.committed)


class GroupOffsets(NamedTuple):
    """`members`: the instance ids in the group; None where Kafka did not say."""

    partitions: Mapping[PartitionKey, PartitionOffsets]
    members: frozenset[str] | None


class GroupOffsetsReader:
    """One connection for several looks. Close it."""

    def __init__(
        self,
        pipeline: str,
        aggregates: Collection[str],
        group_id: str,
        bootstrap_servers: str,
        kafka: Mapping[str, str],
    ) -> None:
        self._pipeline = pipeline
        self._aggregates = list(aggregates)
        self._group_id = group_id
        self._bootstrap_servers, self._kafka = bootstrap_servers, dict(kafka)
        self._config = client_config(bootstrap_servers, kafka)
        self._consumer: Consumer | None = None
        self._admin: AdminClient | None = None

    def read(self) -> GroupOffsets:
        """Raises Unreachable; NotAuthorized; TopicsInvalid where a topic does not exist."""
        if self._consumer is None:
            self._consumer = Consumer(
                {
                    **self._config,
                    "group.id": self._group_id,
                    "isolation.level": "read_uncommitted",
                    "enable.auto.commit": False,
                },
                logger=kafka_log,
            )
        keys = [
            PartitionKey(name, number)
            for name in self._aggregates
            for number in range(
                partition_count(
                    self._consumer, commands_topic(self._pipeline, name), self._bootstrap_servers, self._kafka
                )
            )
        ]
        try:
            return self._read(self._consumer, keys)
        except KafkaException as error:
            reason = self._group_refused(self._consumer) or error.args[0]
            if is_refused(reason):
                raise refused(reason, "looking at the group", self._kafka, self._needed) from error
            raise unreachable(error, self._bootstrap_servers, self._kafka) from error

    @property
    def _needed(self) -> list[Right]:
        topics = [
            name_of(self._pipeline, each) for each in self._aggregates for name_of in (commands_topic, events_topic)
        ]
        return [Right("Describe", "topic", topic) for topic in topics] + [Right("Describe", "group", self._group_id)]

    @staticmethod
    def _group_refused(consumer: Consumer) -> KafkaError | None:
        """Where the coordinator may not be asked, the question times out, and the reason comes as a record."""
        message = consumer.poll(0)
        error = None if message is None else message.error()
        return error if error is not None and is_refused(error) else None

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()

    def _read(self, consumer: Consumer, keys: list[PartitionKey]) -> GroupOffsets:
        commands = {key: TopicPartition(commands_topic(self._pipeline, key.aggregate), key.number) for key in keys}
        events = {key: TopicPartition(events_topic(self._pipeline, key.aggregate), key.number) for key in keys}
        if self._admin is None:  # made after the consumer's answer: towards a dead address its questions never end
            self._admin = AdminClient(dict(self._config), logger=kafka_log)
        places = [*commands.values(), *events.values()]
        starts, ends = (self._offsets(places, spec) for spec in _SPECS)
        stood = {_place(each): each for each in _committed(consumer, list(commands.values()))}
        found = {}
        for key in keys:
            of_commands, of_events = _place(commands[key]), _place(events[key])
            at = stood[of_commands]
            found[key] = PartitionOffsets(
                at.offset if at.offset >= 0 else None,
                read_note(at.metadata),
                starts[of_commands],
                ends[of_commands],
                starts[of_events],
                ends[of_events],
            )
        return GroupOffsets(found, self._members())

    def _offsets(self, places: list[TopicPartition], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        assert self._admin is not None
        asked = self._admin.list_offsets(dict.fromkeys(places, spec), request_timeout=CONNECT_TIMEOUT_S)
        found = {}
        for place, answer in asked.items():
            try:
                found[_place(place)] = answer.result(CONNECT_TIMEOUT_S + _GRACE_S).offset
            except TimeoutError as error:
                raise Unreachable(f"Kafka at {self._bootstrap_servers} does not say where its logs end") from error
            except KafkaException as error:
                if error.args[0].code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION):
                    raise TopicsInvalid(
                        f"topic {place.topic} has no partition {place.partition}",
                        [f"{place.topic}: compare with `eventsrc topics verify`"],
                    ) from error
                raise
        return found

    def _members(self) -> frozenset[str] | None:
        assert self._admin is not None
        with contextlib.suppress(KafkaException, TimeoutError):
            asked = self._admin.describe_consumer_groups([self._group_id], request_timeout=CONNECT_TIMEOUT_S)
            group = asked[self._group_id].result(CONNECT_TIMEOUT_S + _GRACE_S)
            return frozenset(member.group_instance_id or member.member_id for member in group.members)
        return None


def _committed(consumer: Consumer, places: list[TopicPartition]) -> list[TopicPartition]:
    """Their committed offsets. Raises KafkaException."""
    give_up_s = time.monotonic() + CONNECT_TIMEOUT_S
    while True:
        left_s = give_up_s - time.monotonic()
        try:
            found = consumer.committed(places, max(left_s, _PAUSE_S))
            for each in found:
                if each.error is not None:
                    raise KafkaException(each.error)
        except KafkaException as error:
            if error.args[0].code() not in _COORDINATOR_MOVES or left_s < _PAUSE_S:
                raise
        else:
            return found
        time.sleep(_PAUSE_S)


def _place(place: TopicPartition) -> tuple[str, int]:
    return place.topic, place.partition

"""Where logs end now, and the wait until every transaction below that is decided.

A reader of committed records stops at the first record that is not decided yet. Who must have seen all that was written
before a moment, whoever holds a transaction open beside it, asks here first. Joins no group, changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from eventsrc.adapters.kafka.config import client_config
from eventsrc.adapters.kafka.connecting import CONNECT_TIMEOUT_S, NO_ANSWER, kafka_log, unreachable, unreadable
from eventsrc.adapters.kafka.log_reader import TopicPlace
from eventsrc.errors import Unreachable
from eventsrc.model.position import Position

WAIT_S = 15.0
"""Longer than the brokers keep a worker's transaction open."""
_ASK_AGAIN_S = 0.05
_GRACE_S = 2.0
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # it is not typed


class DecidedEnds(NamedTuple):
    """`ends`: everything below is decided, and was written before the question. `undecided`: where a transaction has been
    open for all of the wait; the last stable offset."""

    ends: Mapping[TopicPlace, Position]
    undecided: Mapping[TopicPlace, Position]


def decided_ends(
    places: Iterable[TopicPlace], bootstrap_servers: str, kafka: Mapping[str, str] | None, wait_s: float = WAIT_S
) -> DecidedEnds:
    """Raises `Unreachable`; `TopicsInvalid` where a partition does not exist."""
    admin = AdminClient(client_config(bootstrap_servers, kafka), logger=kafka_log)
    try:
        admin.list_topics(timeout=CONNECT_TIMEOUT_S)  # towards a dead address its other questions never end
    except KafkaException as error:
        raise unreachable(error, bootstrap_servers) from error
    wanted = list(places)
    ends = _ends(admin, wanted, IsolationLevel.READ_UNCOMMITTED, bootstrap_servers)
    deadline = time.monotonic() + wait_s
    waiting = [place for place in wanted if ends[place] > 0]
    while waiting:
        stable = _ends(admin, waiting, IsolationLevel.READ_COMMITTED, bootstrap_servers)
        waiting = [place for place in waiting if stable[place] < ends[place]]
        if waiting and time.monotonic() > deadline:
            return DecidedEnds(
                {place: end for place, end in ends.items() if place not in waiting},
                {place: stable[place] for place in waiting},
            )
        if waiting:
            time.sleep(_ASK_AGAIN_S)
    return DecidedEnds(ends, {})


def require_decided(
    places: Iterable[TopicPlace], bootstrap_servers: str, kafka: Mapping[str, str] | None
) -> Mapping[TopicPlace, Position]:
    """Raises `Unreachable` too where a transaction stays open."""
    found = decided_ends(places, bootstrap_servers, kafka)
    for (topic, partition), stable in found.undecided.items():
        raise Unreachable(
            f"a transaction in {topic}/{partition} has been open for {WAIT_S:g} s, from offset {stable} on: what is behind it "
            "cannot be seen, so nothing was done. Find its producer with kafka-transactions.sh find-hanging, end it, try again"
        )
    return found.ends


def _ends(
    admin: AdminClient, places: list[TopicPlace], isolation: IsolationLevel, bootstrap_servers: str
) -> dict[TopicPlace, Position]:
    if not places:
        return {}
    asked = admin.list_offsets(
        {TopicPartition(*place): _LATEST for place in places},
        isolation_level=isolation,
        request_timeout=CONNECT_TIMEOUT_S,
    )
    found = {}
    for place, answer in asked.items():
        try:
            found[TopicPlace(place.topic, place.partition)] = Position(
                answer.result(CONNECT_TIMEOUT_S + _GRACE_S).offset
            )
        except TimeoutError as error:
            raise Unreachable(f"Kafka at {bootstrap_servers} does not say where its logs end") from error
        except KafkaException as error:
            if error.args[0].code() in NO_ANSWER:
                raise unreachable(error, bootstrap_servers) from error
            raise unreadable(place.topic, place.partition, error.args[0]) from error
    return found

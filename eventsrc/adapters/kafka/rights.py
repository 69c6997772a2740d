"""What each role may do in Kafka: the one table by which rights are granted, checked at a start, and named when they lack.

Only what Kafka does not imply by itself stands here: Read and Write imply Describe, Write to any topic an idempotent
producer. Must not know who asks: principals are words.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from eventsrc.errors import NotAuthorized
from eventsrc.model.names import commands_topic, dead_letter_topic, events_topic, replies_topic

if TYPE_CHECKING:
    from eventsrc.model.pipeline import Pipeline

Operation = Literal["Read", "Write", "Create", "Delete", "Describe", "DescribeConfigs"]
Kind = Literal["topic", "group", "transactional-id", "cluster"]
Role = Literal["worker", "client", "operator", "reader", "doctor"]

ROLES: tuple[Role, ...] = ("worker", "client", "operator", "reader", "doctor")
DOCTOR_PREFIX = "eventsrc-doctor-"
"""Of the topic that `doctor` tries a broker with, and its transactional ids."""


@dataclass(frozen=True, slots=True)
class Right:
    """One operation on one resource. `purpose`: what does not work without it. `optional`: everything else does."""

    operation: Operation
    kind: Kind
    name: str
    purpose: str = ""
    prefixed: bool = False
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.operation} on {self.kind} {self.name}{'*' if self.prefixed else ''}"


def rights_of(pipeline: Pipeline, role: Role) -> tuple[Right, ...]:
    """The least that the role needs for this pipeline."""
    return _OF_ROLE[role](pipeline)


def _worker(pipeline: Pipeline) -> tuple[Right, ...]:
    rights: list[Right] = []
    for name in pipeline.aggregates:
        commands, events = commands_topic(pipeline.name, name), events_topic(pipeline.name, name)
        rights += [
            Right("Read", "topic", commands, "commands are read, and their offsets committed"),
            Right("Read", "topic", events, "a takeover reads the log"),
            Right("Write", "topic", events, "events and barriers are written"),
        ]
    group = pipeline.settings.group_id
    return (
        *rights,
        Right("Write", "topic", dead_letter_topic(pipeline.name), "dead letters are written"),
        Right("Write", "topic", replies_topic(pipeline.name), "callers are answered"),
        Right("Read", "group", group, "workers share the partitions, and commit offsets"),
        Right("Write", "transactional-id", f"{group}-", "transactions; a killed worker's are ended", prefixed=True),
        *_configurations(pipeline),
    )


def _client(pipeline: Pipeline) -> tuple[Right, ...]:
    rights: list[Right] = []
    for name in pipeline.aggregates:
        rights += [
            Right("Write", "topic", commands_topic(pipeline.name, name), "commands are sent"),
            Right("Read", "topic", events_topic(pipeline.name, name), "`get`, `history`, the events of a duplicate"),
        ]
    return (*rights, Right("Read", "topic", replies_topic(pipeline.name), "answers are read"))


def _reader(pipeline: Pipeline) -> tuple[Right, ...]:
    rights: list[Right] = []
    for name in pipeline.aggregates:
        rights += [
            Right("Read", "topic", events_topic(pipeline.name, name), "`show`, `log`, `replay`, `tail`"),
            Right("Read", "topic", commands_topic(pipeline.name, name), "`status`, `tail --commands`"),
        ]
    return (
        *rights,
        Right("Read", "topic", dead_letter_topic(pipeline.name), "dead letters are shown"),
        Right("Describe", "topic", replies_topic(pipeline.name), "`topics verify`"),
        Right("Describe", "group", pipeline.settings.group_id, "`status`: committed positions and members"),
        *_configurations(pipeline),
    )


def _operator(pipeline: Pipeline) -> tuple[Right, ...]:
    replies = replies_topic(pipeline.name)
    return (
        *(Right("Create", "topic", name, "`topics create`") for name in _topics(pipeline)),
        *(
            Right("Write", "topic", commands_topic(pipeline.name, name), "commands are sent, dead letters sent again")
            for name in pipeline.aggregates
        ),
        Right("Write", "topic", dead_letter_topic(pipeline.name), "what was done stands beside the dead letter"),
        Right(
            "Write", "transactional-id", f"{pipeline.settings.group_id}.dlq", "dead letters are handled in transactions"
        ),
        Right("Read", "topic", replies, "answers to commands are read"),
        *(right for right in _reader(pipeline) if (right.operation, right.name) != ("Describe", replies)),
    )


def _doctor(_: Pipeline) -> tuple[Right, ...]:
    operations: tuple[Operation, ...] = ("Create", "Write", "Read", "Delete")
    purpose = "a topic of its own is tried"
    topics = (Right(operation, "topic", DOCTOR_PREFIX, purpose, prefixed=True) for operation in operations)
    return (*topics, Right("Write", "transactional-id", DOCTOR_PREFIX, "transactions are tried", prefixed=True))


def _configurations(pipeline: Pipeline) -> tuple[Right, ...]:
    return tuple(
        Right("DescribeConfigs", "topic", name, "how the topic is configured is verified", optional=True)
        for name in _topics(pipeline)
    )


def _topics(pipeline: Pipeline) -> tuple[str, ...]:
    of_aggregates = [
        topic
        for name in pipeline.aggregates
        for topic in (commands_topic(pipeline.name, name), events_topic(pipeline.name, name))
    ]
    return (*of_aggregates, replies_topic(pipeline.name), dead_letter_topic(pipeline.name))


_OF_ROLE = {
    "worker": _worker, "client": _client, "operator": _operator, "reader": _reader, "doctor": _doctor,
}  # fmt: skip


def not_authorized(kafka: Mapping[str, object] | None, rights: Iterable[Right], said: str = "") -> NotAuthorized:
    """The error for rights that are missing. `kafka`: the client's settings, which may name its user; `said`: Kafka's
    own words, where the rights were concluded from them."""
    principal = principal_of(kafka)
    who = principal or "this client's user"
    listed = list(rights)
    words = "; ".join(map(str, listed)) or "a right that is not known here"
    problems = [f"{right}: {right.purpose or 'needed here'}. Grant it: {grant(right, principal)}" for right in listed]
    return NotAuthorized(
        f"Kafka refuses {who} what it needs: {words}{f' ({said})' if said else ''}. `eventsrc topics acls` prints every "
        "right of a role",
        problems,
    )


def principal_of(kafka: Mapping[str, object] | None) -> str | None:
    """The user that these settings name. Of a client certificate, only the broker knows how it is mapped."""
    name = (kafka or {}).get("sasl.username") or (kafka or {}).get("sasl.user")
    return f"User:{name}" if name else None


def grant(right: Right, principal: str | None, bootstrap_servers: str = "HOST:PORT") -> str:
    """The line of Kafka's own tool that grants it."""
    pattern = " --resource-pattern-type prefixed" if right.prefixed else ""
    resource = "--cluster" if right.kind == "cluster" else f"--{right.kind} {shlex.quote(right.name)}"
    who = shlex.quote(principal or "User:NAME")
    return (
        f"kafka-acls.sh --bootstrap-server {bootstrap_servers} --add --allow-principal {who} "
        f"--operation {right.operation} {resource}{pattern}"
    )

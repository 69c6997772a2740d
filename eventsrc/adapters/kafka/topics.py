"""The topics of a pipeline: how they are created, and what of them the guarantees rest on.

`planned_topics` states it; creation and verification follow that one statement. Nothing here reads or writes records.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names, re-exported without saying so
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicDescription,
    TopicMetadata,
)

from eventsrc.adapters.kafka.config import client_config
from eventsrc.adapters.kafka.connecting import CONNECT_TIMEOUT_S, NO_ANSWER, kafka_log, unreachable
from eventsrc.adapters.kafka.errors import is_refused
from eventsrc.adapters.kafka.rights import Right, not_authorized
from eventsrc.errors import TopicsInvalid, Unreachable
from eventsrc.model.names import commands_topic, dead_letter_topic, events_topic, replies_topic

if TYPE_CHECKING:
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.model.settings import PipelineSettings

Role = Literal["commands", "events", "replies", "dead-letter"]

_KAFKA_DEFAULT_MESSAGE_BYTES = 1_048_588
_FRAMING_BYTES = 65_536  # meta, framing and batch overhead around a command; also what dead-letter headers may add
_NO_LIMIT = 9_223_372_036_854_775_807
_REQUEST_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class PlannedTopic:
    """One topic: `config` is what it is created with."""

    name: str
    role: Role
    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CreatedTopics:
    """What `create_topics` did: names, in the order of the plan."""

    created: tuple[str, ...]
    existing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ObservedTopic:
    """One topic as the brokers describe it. A topic that was deleted and created again has another id.

    `config` is None where this user may not see it; `allowed` are the operations that it may do, None where the brokers
    do not say."""

    topic_id: str
    partitions: int
    replicas: int
    config: Mapping[str, str] | None
    allowed: frozenset[str] | None = None


def planned_topics(pipeline: Pipeline) -> tuple[PlannedTopic, ...]:
    """Every topic of the pipeline: two of each aggregate, then replies and dead letters.

    Replies and dead letters have as many partitions as the commands: a client's reply partition and a dead letter's
    partition (its source's, modulo this count) then spread alike.
    """
    settings = pipeline.settings
    commands, events = _commands(settings), _events(settings)
    planned: list[PlannedTopic] = []
    for aggregate in pipeline.aggregates:
        planned += [
            PlannedTopic(commands_topic(pipeline.name, aggregate), "commands", settings.partitions, commands),
            PlannedTopic(events_topic(pipeline.name, aggregate), "events", settings.partitions, events),
        ]
    return (
        *planned,
        PlannedTopic(replies_topic(pipeline.name), "replies", settings.partitions, _replies(settings)),
        PlannedTopic(dead_letter_topic(pipeline.name), "dead-letter", settings.partitions, _dead_letters(settings)),
    )


def commands_message_bytes(settings: PipelineSettings) -> int:
    """`max.message.bytes` of commands topics: what is oversize must arrive, to be dead-lettered with that reason."""
    return max(_KAFKA_DEFAULT_MESSAGE_BYTES, settings.max_command_bytes + _FRAMING_BYTES)


def dead_letter_message_bytes(settings: PipelineSettings) -> int:
    """`max.message.bytes` of the dead-letter topic: the largest command with its headers."""
    return commands_message_bytes(settings) + _FRAMING_BYTES


def replies_message_bytes(settings: PipelineSettings) -> int:
    """`max.message.bytes` of the replies topic: at least one event of the largest size, and the rest of an answer."""
    return dead_letter_message_bytes(settings)


def _commands(settings: PipelineSettings) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": _milliseconds(settings.commands_retention),
        "retention.bytes": "-1",
        "message.timestamp.type": "LogAppendTime",  # `context.now` is the broker's clock, no client's
        "max.message.bytes": str(commands_message_bytes(settings)),
    }


def _events(settings: PipelineSettings) -> dict[str, str]:
    return {
        "cleanup.policy": "compact",
        "message.timestamp.type": "CreateTime",  # the record's timestamp is the event's hybrid time
        "message.timestamp.after.max.ms": str(_NO_LIMIT),  # hybrid time stays ahead after a clock was set back
        "max.message.bytes": str(commands_message_bytes(settings)),
        # Keys are always new: a pass of the cleaner costs much and frees little.
        "min.cleanable.dirty.ratio": str(settings.min_cleanable_dirty_ratio),
        "min.compaction.lag.ms": _milliseconds(settings.min_compaction_lag),
        "max.compaction.lag.ms": _milliseconds(settings.max_compaction_lag),
    }


def _replies(settings: PipelineSettings) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": _milliseconds(settings.replies_retention),
        "max.message.bytes": str(replies_message_bytes(settings)),
    }


def _dead_letters(settings: PipelineSettings) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": _milliseconds(settings.dead_letter_retention),
        "message.timestamp.after.max.ms": str(_NO_LIMIT),
        "max.message.bytes": str(dead_letter_message_bytes(settings)),
    }


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


def create_topics(
    pipeline: Pipeline,
    bootstrap_servers: str,
    kafka: Mapping[str, str] | None = None,
) -> CreatedTopics:
    """Creates what is missing of the pipeline's topics and leaves what exists as it is: safe to repeat.

    Raises `Unreachable`; `NotAuthorized`; `TopicsInvalid` where the brokers refuse for another reason.
    """
    replication_factor = pipeline.settings.replication_factor
    kafka = kafka or {}
    admin = _admin(bootstrap_servers, kafka)
    wanted = planned_topics(pipeline)
    durable = {"min.insync.replicas": "2"} if replication_factor is not None and replication_factor >= 3 else {}
    futures: dict[str, Future[None]] = admin.create_topics(
        [
            NewTopic(each.name, each.partitions, replication_factor or -1, config={**each.config, **durable})
            for each in wanted
        ],
        request_timeout=_REQUEST_TIMEOUT_S,
    )
    created, existing, problems, refused = [], [], [], []
    for each in wanted:
        try:
            futures[each.name].result()
            created.append(each.name)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                existing.append(each.name)
            elif is_refused(error.args[0]):
                refused.append(Right("Create", "topic", each.name, "`topics create`"))
            else:
                problems.append(f"{each.name}: {_refusal(error, bootstrap_servers, kafka)}")
    if refused:
        raise not_authorized(kafka, refused)
    if problems:
        raise TopicsInvalid("the brokers refused to create topics", problems)
    _await_leaders(admin, created, bootstrap_servers)
    return CreatedTopics(tuple(created), tuple(existing))


def _await_leaders(admin: AdminClient, names: Collection[str], bootstrap_servers: str) -> None:
    """Until every partition has a leader, so that whoever comes next can use the topics at once."""
    deadline = time.monotonic() + _REQUEST_TIMEOUT_S
    while True:
        try:
            known = admin.list_topics(timeout=CONNECT_TIMEOUT_S).topics
        except KafkaException as error:
            raise unreachable(error, bootstrap_servers) from error
        missing = [name for name in names if name not in known or not _has_leaders(known[name])]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise Unreachable(
                f"topics were created, but have no leaders yet: {', '.join(missing)}; look at the brokers"
            )
        time.sleep(0.05)


def _has_leaders(topic: TopicMetadata) -> bool:
    return bool(topic.partitions) and all(each.leader >= 0 for each in topic.partitions.values())


def verify_topics(
    pipeline: Pipeline,
    bootstrap_servers: str,
    kafka: Mapping[str, str] | None = None,
    *,
    needed: Collection[Right] = (),
) -> dict[str, ObservedTopic]:
    """Compares the pipeline's topics with what its guarantees need; returns each by its name. Raises `TopicsInvalid` with
    every problem found; `NotAuthorized` with every right `needed` on a topic that this user lacks; `Unreachable`.

    Where the user may not see a topic's configuration, that is not compared."""
    wanted = planned_topics(pipeline)
    observed = observe_topics([each.name for each in wanted], bootstrap_servers, kafka, needed)
    problems = [problem for each in wanted for problem in topic_problems(each, observed.get(each.name))]
    if problems:
        raise TopicsInvalid(f"topics of pipeline {pipeline.name} are missing or wrong", problems)
    return {each.name: observed[each.name] for each in wanted}


def observe_topics(
    names: Iterable[str],
    bootstrap_servers: str,
    kafka: Mapping[str, str] | None = None,
    needed: Collection[Right] = (),
) -> dict[str, ObservedTopic]:
    """What exists of these topics. Raises `Unreachable`; `NotAuthorized` where one of the rights `needed` on them, or that
    to describe them, is missing; `TopicsInvalid` where one cannot be described for another reason."""
    kafka = kafka or {}
    admin = _admin(bootstrap_servers, kafka)
    described = admin.describe_topics(
        TopicCollection(list(names)), request_timeout=_REQUEST_TIMEOUT_S, include_authorized_operations=True
    )
    topics: dict[str, Any] = {}
    hidden = []
    for name, future in described.items():
        try:
            topics[name] = future.result()
        except KafkaException as error:
            if is_refused(error.args[0]):
                hidden.append(name)
            elif error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise TopicsInvalid(
                    f"topic {name} cannot be described", [f"{name}: {_refusal(error, bootstrap_servers, kafka)}"]
                ) from error
    allowed = {name: _allowed(topic) for name, topic in topics.items()}
    if missing := [*_lacking(needed, hidden, allowed)]:
        raise not_authorized(kafka, missing)
    configs = _observe_configs(admin, list(topics), bootstrap_servers, kafka)
    return {
        name: ObservedTopic(
            topic_id=str(topic.topic_id),
            partitions=len(topic.partitions),
            replicas=min((len(each.replicas) for each in topic.partitions), default=0),
            config=configs.get(name),
            allowed=allowed[name],
        )
        for name, topic in topics.items()
    }


def _allowed(topic: TopicDescription) -> frozenset[str] | None:
    operations = topic.authorized_operations
    return frozenset(each.name.replace("_", "").lower() for each in operations) if operations else None


def _lacking(
    needed: Collection[Right], hidden: Collection[str], allowed: Mapping[str, frozenset[str] | None]
) -> Iterator[Right]:
    """Of a topic that may not even be looked at, whatever is needed is missing."""
    for name in hidden:
        of_topic = [right for right in needed if (right.kind, right.name) == ("topic", name) and not right.optional]
        yield from of_topic or [Right("Describe", "topic", name, "the topic is looked at")]
    for right in needed:
        operations = allowed.get(right.name) if right.kind == "topic" else None
        if operations is not None and not right.optional and right.operation.lower() not in operations:
            yield right


def _observe_configs(
    admin: AdminClient, names: list[str], bootstrap_servers: str, kafka: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Without those that this user may not see."""
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    for resource, future in admin.describe_configs(resources, request_timeout=_REQUEST_TIMEOUT_S).items():
        try:
            configs[resource.name] = {name: entry.value for name, entry in future.result().items()}
        except KafkaException as error:
            if not is_refused(error.args[0]):
                raise TopicsInvalid(
                    "the configuration of a topic cannot be read",
                    [f"{resource.name}: {_refusal(error, bootstrap_servers, kafka)}"],
                ) from error
    return configs


def topic_problems(wanted: PlannedTopic, observed: ObservedTopic | None) -> list[str]:
    """What of an observed topic breaks a guarantee: one line each, with its mend. Empty if nothing does."""
    if observed is None:
        return [f"{wanted.name} does not exist: eventsrc topics create"]
    problems = _partition_problems(wanted, observed)
    if observed.config is not None:
        problems += _durability_problems(observed.replicas, observed.config)
        problems += _ROLE_CHECKS[wanted.role](wanted.config, observed.config)
    return [f"{wanted.name}: {problem}" for problem in problems]


def _partition_problems(wanted: PlannedTopic, observed: ObservedTopic) -> list[str]:
    if wanted.role in ("replies", "dead-letter") or observed.partitions == wanted.partitions:
        return []
    return [
        f"has {observed.partitions} partitions, the pipeline has {wanted.partitions}: ids would move between "
        f"partitions and histories would split. If the pipeline was changed, declare partitions={observed.partitions} "
        f"again; if partitions were added to the topic, which cannot be undone, move to new topics: another pipeline name"
    ]


def _durability_problems(replicas: int, config: Mapping[str, str]) -> list[str]:
    problems = []
    if replicas >= 3 and _number(config, "min.insync.replicas", 1) < 2:
        problems.append(
            f"min.insync.replicas is 1 with {replicas} replicas: one broker's loss could take acknowledged "
            "commands with it; set it to 2"
        )
    if config.get("unclean.leader.election.enable") == "true":
        problems.append("unclean.leader.election.enable is true: committed records could be lost; set it to false")
    return problems


def _command_problems(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    return [
        *_exactly(wanted, found, "cleanup.policy", "a command would replace another of its aggregate"),
        *_exactly(wanted, found, "message.timestamp.type", "a client's clock would decide `context.now`"),
        *_at_least(wanted, found, "retention.ms", "commands would be deleted before a stopped worker is back"),
        *_exactly(wanted, found, "retention.bytes", "commands could be deleted before they are processed"),
        *_at_least(wanted, found, "max.message.bytes", "commands would not fit"),
    ]


def _event_problems(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    return [
        *_exactly(wanted, found, "cleanup.policy", "history would be deleted, or compaction never erase"),
        *_exactly(wanted, found, "message.timestamp.type", "an event's timestamp is its hybrid time"),
        *_at_least(wanted, found, "min.compaction.lag.ms", "copies that prove a fault would vanish unread"),
        *_at_least(wanted, found, "max.message.bytes", "events would not fit"),
    ]


def _reply_problems(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    return [
        *_exactly(wanted, found, "cleanup.policy", "answers would be kept forever"),
        *_at_least(wanted, found, "retention.ms", "answers would be deleted before a slow caller reads them"),
        *_at_least(
            wanted, found, "max.message.bytes", "large answers would not fit, and their callers never be answered"
        ),
    ]


def _dead_letter_problems(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    return [
        *_exactly(wanted, found, "cleanup.policy", "a dead letter would replace another of its aggregate"),
        *_at_least(wanted, found, "retention.ms", "dead letters would be deleted before a person reads them"),
        *_at_least(wanted, found, "max.message.bytes", "a command near the limit could not be dead-lettered"),
    ]


_ROLE_CHECKS = {
    "commands": _command_problems,
    "events": _event_problems,
    "replies": _reply_problems,
    "dead-letter": _dead_letter_problems,
}


def _exactly(wanted: Mapping[str, str], found: Mapping[str, str], name: str, harm: str) -> list[str]:
    if found.get(name) == wanted[name]:
        return []
    return [f"{name} is {found.get(name)}, must be {wanted[name]}: {harm}"]


def _at_least(wanted: Mapping[str, str], found: Mapping[str, str], name: str, harm: str) -> list[str]:
    value, minimum = _number(found, name, 0), int(wanted[name])
    if value >= minimum or (name == "retention.ms" and value == -1):
        return []
    return [f"{name} is {value:,}, must be at least {minimum:,}: {harm}"]


def _number(config: Mapping[str, str], name: str, default: int) -> int:
    return int(config.get(name, default))


def _admin(bootstrap_servers: str, kafka: Mapping[str, str]) -> AdminClient:
    """An admin client whose brokers have answered once. Raises `Unreachable`."""
    admin = AdminClient(client_config(bootstrap_servers, kafka), logger=kafka_log)
    try:
        admin.list_topics(timeout=CONNECT_TIMEOUT_S)
    except KafkaException as error:
        raise unreachable(error, bootstrap_servers, kafka) from error
    return admin


def _refusal(error: KafkaException, bootstrap_servers: str, kafka: Mapping[str, str]) -> str:
    reason: KafkaError = error.args[0]
    if reason.code() in NO_ANSWER:
        raise unreachable(error, bootstrap_servers, kafka) from error
    return str(reason.str())

"""The topics of a pipeline: how they are created, and what of them the guarantees rest on.

`planned_topics` states it; creation and verification follow that one statement. Nothing here reads or writes records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from eventsrc.adapters.kafka.config import client_config
from eventsrc.errors import TopicsInvalid, Unreachable
from eventsrc.model.names import commands_topic, dead_letter_topic, events_topic, replies_topic

if TYPE_CHECKING:
    from eventsrc.model.pipeline import Pipeline

TopicIds = dict[str, str]
"""Topic name -> Kafka's id of it, as text. A topic that was deleted and created again has another one."""

Role = Literal["commands", "events", "replies", "dead-letter"]

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
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
    """One topic as the brokers describe it."""

    topic_id: str
    partitions: int
    replicas: int
    config: Mapping[str, str]


def planned_topics(pipeline: Pipeline) -> tuple[PlannedTopic, ...]:
    """Every topic of the pipeline: two of each aggregate, then replies and dead letters.

    Replies and dead letters have as many partitions as the commands: a client's reply partition and a dead letter's
    partition (its source's, modulo this count) then spread alike.
    """
    partitions = pipeline.settings.partitions
    command_bytes = max(_KAFKA_DEFAULT_MESSAGE_BYTES, pipeline.settings.max_command_bytes + _FRAMING_BYTES)
    planned: list[PlannedTopic] = []
    for aggregate in pipeline.aggregates:
        planned += [
            PlannedTopic(commands_topic(pipeline.name, aggregate), "commands", partitions, _commands(command_bytes)),
            PlannedTopic(events_topic(pipeline.name, aggregate), "events", partitions, _events(command_bytes)),
        ]
    dead_letter_bytes = command_bytes + _FRAMING_BYTES
    return (
        *planned,
        PlannedTopic(replies_topic(pipeline.name), "replies", partitions, _replies(dead_letter_bytes)),
        PlannedTopic(dead_letter_topic(pipeline.name), "dead-letter", partitions, _dead_letters(dead_letter_bytes)),
    )


def _commands(max_bytes: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(7 * _DAY_MS),
        "message.timestamp.type": "LogAppendTime",  # `context.now` is the broker's clock, no client's
        "max.message.bytes": str(max_bytes),
    }


def _events(max_bytes: int) -> dict[str, str]:
    return {
        "cleanup.policy": "compact",
        "message.timestamp.type": "CreateTime",  # the record's timestamp is the event's hybrid time
        "message.timestamp.after.max.ms": str(_NO_LIMIT),  # hybrid time stays ahead after a clock was set back
        "max.message.bytes": str(max_bytes),
        # Keys are always new: a pass of the cleaner costs much and frees little.
        "min.cleanable.dirty.ratio": "0.85",
        "min.compaction.lag.ms": str(3 * _DAY_MS),
        "max.compaction.lag.ms": str(30 * _DAY_MS),  # an erased event is gone after this
    }


def _replies(max_bytes: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(_HOUR_MS),
        "max.message.bytes": str(max_bytes),
    }


def _dead_letters(max_bytes: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(30 * _DAY_MS),
        "message.timestamp.after.max.ms": str(_NO_LIMIT),
        "max.message.bytes": str(max_bytes),
    }


def create_topics(
    pipeline: Pipeline,
    bootstrap_servers: str,
    kafka: Mapping[str, str] | None = None,
    *,
    replication_factor: int | None = None,
) -> CreatedTopics:
    """Creates what is missing of the pipeline's topics and leaves what exists as it is: safe to repeat.

    `replication_factor` None is the broker's default. Raises `Unreachable`; `TopicsInvalid` where the brokers refuse.
    """
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
    created, existing, problems = [], [], []
    for each in wanted:
        try:
            futures[each.name].result()
            created.append(each.name)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                existing.append(each.name)
            else:
                problems.append(f"{each.name}: {_refusal(error, bootstrap_servers)}")
    if problems:
        raise TopicsInvalid("the brokers refused to create topics", problems)
    return CreatedTopics(tuple(created), tuple(existing))


def verify_topics(pipeline: Pipeline, bootstrap_servers: str, kafka: Mapping[str, str] | None = None) -> TopicIds:
    """Compares the pipeline's topics with what its guarantees need. Raises `TopicsInvalid` with every problem found,
    or `Unreachable`."""
    wanted = planned_topics(pipeline)
    observed = observe_topics([each.name for each in wanted], bootstrap_servers, kafka)
    problems = [problem for each in wanted for problem in topic_problems(each, observed.get(each.name))]
    if problems:
        raise TopicsInvalid(f"topics of pipeline {pipeline.name} are missing or wrong", problems)
    return {each.name: observed[each.name].topic_id for each in wanted}


def observe_topics(
    names: Iterable[str], bootstrap_servers: str, kafka: Mapping[str, str] | None = None
) -> dict[str, ObservedTopic]:
    """What exists of these topics. Raises `Unreachable`, or `TopicsInvalid` where describing is not allowed."""
    admin = _admin(bootstrap_servers, kafka)
    described = admin.describe_topics(TopicCollection(list(names)), request_timeout=_REQUEST_TIMEOUT_S)
    topics: dict[str, Any] = {}
    for name, future in described.items():
        try:
            topics[name] = future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise TopicsInvalid(
                    f"topic {name} cannot be described", [f"{name}: {_refusal(error, bootstrap_servers)}"]
                ) from error
    configs = _observe_configs(admin, list(topics), bootstrap_servers)
    return {
        name: ObservedTopic(
            topic_id=str(topic.topic_id),
            partitions=len(topic.partitions),
            replicas=min((len(each.replicas) for each in topic.partitions), default=0),
            config=configs[name],
        )
        for name, topic in topics.items()
    }


def _observe_configs(admin: AdminClient, names: list[str], bootstrap_servers: str) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    for resource, future in admin.describe_configs(resources, request_timeout=_REQUEST_TIMEOUT_S).items():
        try:
            configs[resource.name] = {name: entry.value for name, entry in future.result().items()}
        except KafkaException as error:
            raise TopicsInvalid(
                "the configuration of a topic cannot be read",
                [f"{resource.name}: {_refusal(error, bootstrap_servers)}; allow DescribeConfigs on the topic"],
            ) from error
    return configs


def topic_problems(wanted: PlannedTopic, observed: ObservedTopic | None) -> list[str]:
    """What of an observed topic breaks a guarantee: one line each, with its mend. Empty if nothing does."""
    if observed is None:
        return [f"{wanted.name} does not exist: eventsrc topics create"]
    problems = [*_partition_problems(wanted, observed), *_durability_problems(observed)]
    problems += _ROLE_CHECKS[wanted.role](wanted, observed.config)
    return [f"{wanted.name}: {problem}" for problem in problems]


def _partition_problems(wanted: PlannedTopic, observed: ObservedTopic) -> list[str]:
    if wanted.role in ("replies", "dead-letter") or observed.partitions == wanted.partitions:
        return []
    return [
        f"has {observed.partitions} partitions, the pipeline has {wanted.partitions}: ids would move between "
        f"partitions and histories would split. A pipeline's partitions never change: declare "
        f"partitions={observed.partitions}, or move to new topics"
    ]


def _durability_problems(observed: ObservedTopic) -> list[str]:
    problems = []
    if observed.replicas >= 3 and _number(observed.config, "min.insync.replicas", 1) < 2:
        problems.append(
            f"min.insync.replicas is 1 with {observed.replicas} replicas: one broker's loss could take acknowledged "
            "commands with it; set it to 2"
        )
    if observed.config.get("unclean.leader.election.enable") == "true":
        problems.append("unclean.leader.election.enable is true: committed records could be lost; set it to false")
    return problems


def _command_problems(wanted: PlannedTopic, config: Mapping[str, str]) -> list[str]:
    return [
        *_policy(config, "delete"),
        *_exactly(config, "message.timestamp.type", "LogAppendTime", "a client's clock would decide `context.now`"),
        *_at_least(config, "retention.ms", _DAY_MS, "commands would be deleted before a stopped worker is back"),
        *_exactly(config, "retention.bytes", "-1", "commands could be deleted before they are processed"),
        *_at_least(config, "max.message.bytes", int(wanted.config["max.message.bytes"]), "commands would not fit"),
    ]


def _event_problems(wanted: PlannedTopic, config: Mapping[str, str]) -> list[str]:
    return [
        *_policy(config, "compact"),
        *_exactly(config, "message.timestamp.type", "CreateTime", "an event's timestamp is its hybrid time"),
        *_at_least(config, "min.compaction.lag.ms", _HOUR_MS, "copies that prove a fault would vanish before a reader"),
        *_at_least(config, "max.message.bytes", int(wanted.config["max.message.bytes"]), "events would not fit"),
    ]


def _reply_problems(_: PlannedTopic, config: Mapping[str, str]) -> list[str]:
    return [
        *_policy(config, "delete"),
        *_at_least(config, "retention.ms", _HOUR_MS, "answers would be deleted before a slow caller reads them"),
    ]


def _dead_letter_problems(wanted: PlannedTopic, config: Mapping[str, str]) -> list[str]:
    needed = int(wanted.config["max.message.bytes"])
    return [
        *_policy(config, "delete"),
        *_at_least(config, "retention.ms", _DAY_MS, "dead letters would be deleted before a person reads them"),
        *_at_least(config, "max.message.bytes", needed, "a command near the limit could not be dead-lettered"),
    ]


_ROLE_CHECKS = {
    "commands": _command_problems,
    "events": _event_problems,
    "replies": _reply_problems,
    "dead-letter": _dead_letter_problems,
}


def _policy(config: Mapping[str, str], wanted: str) -> list[str]:
    harm = "history would be deleted" if wanted == "compact" else "records with one key would replace one another"
    return _exactly(config, "cleanup.policy", wanted, harm)


def _exactly(config: Mapping[str, str], name: str, wanted: str, harm: str) -> list[str]:
    found = config.get(name)
    return [] if found == wanted else [f"{name} is {found}, must be {wanted}: {harm}"]


def _at_least(config: Mapping[str, str], name: str, minimum: int, harm: str) -> list[str]:
    found = _number(config, name, 0)
    if found >= minimum or (name == "retention.ms" and found == -1):
        return []
    return [f"{name} is {found:,}, must be at least {minimum:,}: {harm}"]


def _number(config: Mapping[str, str], name: str, default: int) -> int:
    return int(config.get(name, default))


def _admin(bootstrap_servers: str, kafka: Mapping[str, str] | None) -> AdminClient:
    """An admin client whose brokers have answered once. Raises `Unreachable`."""
    import logging

    admin = AdminClient(client_config(bootstrap_servers, kafka), logger=logging.getLogger("eventsrc.kafka"))
    try:
        admin.list_topics(timeout=_REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise Unreachable(f"Kafka at {bootstrap_servers} does not answer: {error.args[0].str()}") from error
    return admin


def _refusal(error: KafkaException, bootstrap_servers: str) -> str:
    reason: KafkaError = error.args[0]
    if reason.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN):
        raise Unreachable(f"Kafka at {bootstrap_servers} does not answer: {reason.str()}") from error
    return str(reason.str())

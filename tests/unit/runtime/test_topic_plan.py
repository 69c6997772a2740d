"""The plan of a pipeline's topics, and which deviations from it are problems."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eventsrc import Pipeline, apply, handle
from eventsrc.adapters.kafka.topics import ObservedTopic, PlannedTopic, planned_topics, topic_problems


@pytest.fixture(scope="module")
def plan() -> dict[str, PlannedTopic]:
    pipeline = Pipeline("shop", partitions=4, commands_retention="2d", max_command_bytes=2_000_000)

    @pipeline.command
    class Place:
        pass

    @pipeline.event
    class Placed:
        pass

    @pipeline.aggregate
    class StockItem:
        count: int = 0

        @handle
        def place(self, command: Place) -> Placed:
            return Placed()

        @apply
        def placed(self, event: Placed) -> None:
            self.count += 1

    return {each.role: each for each in planned_topics(pipeline)}


def as_created(planned: PlannedTopic) -> ObservedTopic:
    return ObservedTopic("id", planned.partitions, 1, dict(planned.config))


@pytest.mark.parametrize("role", ["commands", "events", "replies", "dead-letter"])
def test_a_topic_that_takes_no_large_record_is_a_problem(plan: dict[str, PlannedTopic], role: str) -> None:
    observed = as_created(plan[role])
    assert topic_problems(plan[role], observed) == []
    small = replace(observed, config={**(observed.config or {}), "max.message.bytes": "1048588"})
    assert any("max.message.bytes" in each for each in topic_problems(plan[role], small))


def test_names_and_partitions_follow_the_pipeline(plan: dict[str, PlannedTopic]) -> None:
    names = ["shop.stock-item.commands", "shop.stock-item.events", "shop.replies", "shop.dead-letter"]
    assert [each.name for each in plan.values()] == names
    assert {each.partitions for each in plan.values()} == {4}


def test_what_the_guarantees_need_is_in_the_plan(plan: dict[str, PlannedTopic]) -> None:
    commands, events = plan["commands"].config, plan["events"].config
    assert commands["message.timestamp.type"] == "LogAppendTime"
    assert commands["retention.ms"] == str(2 * 86_400_000)
    assert events["cleanup.policy"] == "compact"
    assert events["message.timestamp.type"] == "CreateTime"
    assert plan["replies"].config["retention.ms"] == "3600000"
    assert int(commands["max.message.bytes"]) > 2_000_000
    assert int(plan["dead-letter"].config["max.message.bytes"]) == int(commands["max.message.bytes"]) + 65_536


def test_a_topic_as_planned_has_no_problem(plan: dict[str, PlannedTopic]) -> None:
    for each in plan.values():
        assert topic_problems(each, as_created(each)) == []


@pytest.mark.parametrize(
    ("role", "name", "value"),
    [
        ("commands", "cleanup.policy", "compact"),
        ("commands", "message.timestamp.type", "CreateTime"),
        ("commands", "retention.ms", "60000"),
        ("commands", "retention.bytes", "1000000"),
        ("commands", "max.message.bytes", "1048588"),
        ("events", "cleanup.policy", "delete"),
        ("events", "cleanup.policy", "compact,delete"),
        ("events", "message.timestamp.type", "LogAppendTime"),
        ("events", "min.compaction.lag.ms", "0"),
        ("events", "unclean.leader.election.enable", "true"),
        ("replies", "cleanup.policy", "compact"),
        ("replies", "retention.ms", "1000"),
        ("dead-letter", "max.message.bytes", "1048588"),
        ("dead-letter", "retention.ms", "1000"),
    ],
)
def test_each_deviation_that_matters_is_named(plan: dict[str, PlannedTopic], role: str, name: str, value: str) -> None:
    observed = as_created(plan[role])
    (problem,) = topic_problems(plan[role], replace(observed, config={**(observed.config or {}), name: value}))
    assert problem.startswith(f"{plan[role].name}: {name} is ")


@pytest.mark.parametrize(
    ("role", "name", "value"),
    [("commands", "retention.ms", "-1"), ("commands", "segment.bytes", "1"), ("events", "max.compaction.lag.ms", "1")],
)
def test_what_does_not_matter_is_no_problem(plan: dict[str, PlannedTopic], role: str, name: str, value: str) -> None:
    observed = as_created(plan[role])
    assert topic_problems(plan[role], replace(observed, config={**(observed.config or {}), name: value})) == []


def test_partitions_must_be_equal_where_ids_are_spread(plan: dict[str, PlannedTopic]) -> None:
    for role, count in (("commands", 1), ("events", 1), ("replies", 0), ("dead-letter", 0)):
        assert len(topic_problems(plan[role], replace(as_created(plan[role]), partitions=5))) == count


def test_replicas_without_a_quorum_are_a_problem(plan: dict[str, PlannedTopic]) -> None:
    observed = replace(as_created(plan["events"]), replicas=3)
    assert "min.insync.replicas" in topic_problems(plan["events"], observed)[0]
    durable = replace(observed, config={**(observed.config or {}), "min.insync.replicas": "2"})
    assert topic_problems(plan["events"], durable) == []


def test_a_missing_topic_names_the_mend(plan: dict[str, PlannedTopic]) -> None:
    assert topic_problems(plan["events"], None) == ["shop.stock-item.events does not exist: eventsrc topics create"]


def test_added_partitions_are_not_to_be_declared(plan: dict[str, PlannedTopic]) -> None:
    [problem] = topic_problems(plan["events"], replace(as_created(plan["events"]), partitions=5))
    assert "If the pipeline was changed, declare partitions=5 again" in problem
    assert "if partitions were added to the topic, which cannot be undone, move to new topics" in problem

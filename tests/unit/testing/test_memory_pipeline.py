"""A pipeline in memory: the client's contract, and what a test may do to its workers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventsrc import (
    CommandFailed,
    EventsrcError,
    IdempotencyConflict,
    InvalidCommand,
    OutcomeUnknown,
    Pipeline,
    Rejected,
)
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.position import Position
from eventsrc.testing import MemoryPipeline, scenario
from eventsrc.testing.memory.reading import MemoryEventsLog
from tests.harness.collect import wait_until
from tests.unit.testing.desk import Case, Close, Misbehave, Open, Tag, Tagged, pipeline


@pytest.fixture
def memory() -> Iterator[MemoryPipeline]:
    with MemoryPipeline(pipeline) as made:
        yield made


def test_outcomes_state_and_history(memory: MemoryPipeline) -> None:
    outcome = memory.send(Case, "a", Open("lamp"))
    assert (outcome.sequence, outcome.duplicate, outcome.events[0].title) == (1, False, "lamp")
    assert memory.send(Case, "a", Tag(["x"])).events == (Tagged(["x"]),)
    assert memory.send("case", "a", Tag([])).sequence == 2
    case = memory.get(Case, "a")
    assert case is not None
    assert (case.id, case.sequence, case.tags) == ("a", 2, ["x", "!"])
    assert [each.event for each in memory.history(Case, "a")][1:] == [Tagged(["x"])]  # whatever its @apply method did
    assert memory.get(Case, "b") is None
    first = memory.get(Case, "a", at="#1")
    assert first is not None
    assert first.tags == []


def test_refusals_are_those_of_a_client(memory: MemoryPipeline) -> None:
    memory.send(Case, "a", Open("lamp"))
    with pytest.raises(Rejected, match="already open") as refused:
        memory.send(Case, "a", Open("chair"))
    assert refused.value.details["title"] == "lamp"
    with pytest.raises(InvalidCommand, match=r"Open\.title"):
        memory.send(Case, "a", Open(""))
    with pytest.raises(CommandFailed, match="a bug") as failed:
        memory.send(Case, "a", Misbehave("raises"))
    assert failed.value.reason == "handler-failed"
    with pytest.raises(CommandFailed, match="changed the aggregate's state"):
        memory.send(Case, "a", Misbehave("impure"))
    assert len(memory.history(Case, "a")) == 1


def test_idempotency_keys(memory: MemoryPipeline) -> None:
    first = memory.send(Case, "a", Tag(["x"]), idempotency_key="k")
    again = memory.send(Case, "a", Tag(["x"]), idempotency_key="k")
    assert again == first._replace(duplicate=True)
    with pytest.raises(IdempotencyConflict):
        memory.send(Case, "a", Tag(["y"]), idempotency_key="k")
    assert len(memory.history(Case, "a")) == 1


def test_dead_letters_tell_what_was_wrong(memory: MemoryPipeline) -> None:
    with pytest.raises(CommandFailed):
        memory.send(Case, "a", Misbehave("raises"))
    memory.produce(Case, "a", b"garbage")
    memory.produce(Case, None, b"garbage")
    memory.produce(Case, b"\xff", b"garbage")
    memory.produce(Case, "a", b"garbage", partition=(memory.partition_of("a") + 1) % 4)
    memory.settle()
    letters = {letter.reason: letter for letter in memory.dead_letters()}
    assert letters.keys() == {"handler-failed", "undecodable", "null-key", "bad-id", "wrong-partition"}
    failed = letters["handler-failed"]
    assert (failed.aggregate, failed.id, failed.command) == ("case", "a", Misbehave("raises"))
    assert "ValueError: a bug" in (failed.traceback or "")
    assert (letters["bad-id"].id, letters["null-key"].id, letters["undecodable"].command) == (None, None, None)
    assert letters["undecodable"].partition == memory.partition_of("a")
    with pytest.raises(EventsrcError, match="partition 4 does not exist: desk has 4"):
        memory.produce(Case, "a", b"", partition=4)


def test_many_ids_over_all_partitions(memory: MemoryPipeline) -> None:
    ids = [f"case-{number}" for number in range(40)]
    futures = [memory.submit(Case, each, Tag([each])) for each in ids for _ in range(3)]
    assert sorted(future.result(10).sequence for future in futures) == sorted([1, 2, 3] * 40)
    assert {memory.partition_of(each) for each in ids} == {0, 1, 2, 3}


def test_a_scenario_decides_as_a_worker_does(memory: MemoryPipeline) -> None:
    commands = [Tag(["x"]), Close(), Tag([]), Tag(["y", "z"]), Misbehave("fine")]
    step: Any = scenario(Case).with_id("a")
    for command in commands:
        step = step.when(command)
        assert memory.send(Case, "a", command).events == step.events
    case = memory.get(Case, "a")
    assert case is not None
    assert (case.tags, case.sequence) == (step.aggregate.tags, step.aggregate.sequence)


def read_from(monkeypatch: pytest.MonkeyPatch) -> dict[PartitionKey, Position]:
    """Where a recovery begins to read, by partition."""
    found: dict[PartitionKey, Position] = {}
    start = MemoryEventsLog.start

    def noting(log: MemoryEventsLog, key: PartitionKey, position: Position) -> None:
        found[key] = position
        start(log, key, position)

    monkeypatch.setattr(MemoryEventsLog, "start", noting)
    return found


@pytest.mark.parametrize("from_checkpoint", [True, False])
def test_a_new_life_knows_what_the_one_before_did(
    memory: MemoryPipeline, monkeypatch: pytest.MonkeyPatch, from_checkpoint: bool
) -> None:
    memory.send(Case, "a", Tag(["x"]), idempotency_key="k")
    if from_checkpoint:
        memory.checkpoint()
    positions = read_from(monkeypatch)
    memory.restart()
    assert memory.send(Case, "a", Tag(["x"]), idempotency_key="k").duplicate
    assert memory.send(Case, "a", Tag(["y"])).sequence == 2
    assert (positions[PartitionKey("case", memory.partition_of("a"))] > 0) == from_checkpoint


def test_time_goes_on_over_owners_whose_clocks_are_behind(memory: MemoryPipeline) -> None:
    began = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    memory.at(began + timedelta(seconds=100))
    memory.send(Case, "a", Tag(["x"]))
    memory.at(began)
    memory.restart()
    memory.checkpoint()  # its last record is a barrier, with the time of a clock that is behind
    memory.restart()
    memory.at(began + timedelta(seconds=1))
    memory.send(Case, "a", Tag(["y"]))
    one, other = (each.time for each in memory.history(Case, "a"))
    assert one < other


def test_a_killed_pipeline_answers_nobody_until_it_is_started(memory: MemoryPipeline) -> None:
    memory.send(Case, "a", Tag(["x"]))
    memory.kill()
    with pytest.raises(OutcomeUnknown):
        memory.send(Case, "a", Tag(["y"]), idempotency_key="k", timeout=0.05)
    with pytest.raises(TimeoutError, match=r"commands wait in case/\d \(1\); no worker runs"):
        memory.settle(0.01)
    memory.start()
    assert memory.send(Case, "a", Tag(["y"]), idempotency_key="k").sequence == 2
    assert len(memory.history(Case, "a")) == 2


def test_time_is_the_tests_own(memory: MemoryPipeline) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    memory.at(noon)
    opened = memory.send(Case, "a", Open("lamp")).events[0]
    assert opened.at == noon
    memory.at(noon + timedelta(days=1))
    memory.send(Case, "a", Tag(["x"]))
    first, second = (each.time for each in memory.history(Case, "a"))
    assert first - noon < timedelta(milliseconds=1)
    assert second - first > timedelta(hours=23)
    morning = memory.get(Case, "a", at=noon + timedelta(hours=1))
    assert morning is not None
    assert morning.sequence == 1
    with pytest.raises(EventsrcError, match="no aware datetime"):
        memory.at(datetime(2026, 3, 1))


def test_several_workers_share_the_partitions() -> None:
    with MemoryPipeline(pipeline, workers=3) as memory:
        for number in range(12):
            memory.send(Case, f"case-{number}", Open("lamp"))
        memory.checkpoint()
        memory.restart()
        for number in range(12):
            memory.send(Case, f"case-{number}", Close())
        assert all(not case.open for number in range(12) if (case := memory.get(Case, f"case-{number}")) is not None)


def test_clients_for_code_that_is_given_one(memory: MemoryPipeline) -> None:
    async def use() -> int:
        async with memory.async_client as client:
            outcome = await client.send(Case, "a", Open("lamp"))
            assert [each.event async for each in client.history(Case, "a")] == list(outcome.events)
            case = await client.get(Case, "a")
            return case.sequence if case is not None else 0

    assert memory.client.get(Case, "a") is None
    assert asyncio.run(use()) == 1
    memory.client.close()
    assert memory.get(Case, "a") is not None  # closing those ends nothing else


def test_nothing_is_left_of_it() -> None:
    before = set(threading.enumerate())
    with MemoryPipeline(pipeline, workers=2) as memory:
        memory.send(Case, "a", Tag(["x"]), idempotency_key="k")
        memory.send(Case, "a", Tag(["x"]), idempotency_key="k")
        memory.restart()
    # a thread that another test has left may end meanwhile
    wait_until(lambda: not set(threading.enumerate()) - before, 30, "its threads have ended")
    with pytest.raises(EventsrcError, match="closed"):
        memory.send(Case, "a", Open("lamp"))


def test_one_that_is_not_entered_or_was_left() -> None:
    memory = MemoryPipeline(pipeline)
    for use in (lambda: memory.send(Case, "a", Close()), lambda: memory.submit(Case, "a", Close()), memory.settle):
        with pytest.raises(EventsrcError, match="nothing runs yet: write `with MemoryPipeline"):
            use()
    with memory:
        memory.send(Case, "a", Close())
    with pytest.raises(EventsrcError, match="is closed, and what it held is gone"), memory:
        pass


def test_what_it_cannot_run() -> None:
    with pytest.raises(EventsrcError, match="has no aggregate"):
        MemoryPipeline(Pipeline("empty"))
    with pytest.raises(EventsrcError, match="at least one"):
        MemoryPipeline(pipeline, workers=0)

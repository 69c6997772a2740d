"""Replays from checkpoints are those from the log, also where clocks, causes and open transactions are awkward."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from eventsrc import Pipeline, apply, handle
from eventsrc.codec.catalog import Catalog
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.identity import event_id, event_id_text
from eventsrc.model.moments import END, parse_moment
from eventsrc.runtime import causes
from eventsrc.testing.memory.pipeline import MemoryPipeline
from tests.harness.memory_replay import compare_in_memory, replay_in_memory

BEGAN = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)

pipeline = Pipeline("woods", partitions=1)


@pipeline.command
class Grow:
    by: int


@pipeline.event
class Grown:
    by: int


@pipeline.aggregate
class Tree:
    size: int = 0

    @handle
    def grow(self, command: Grow) -> Grown:
        return Grown(command.by)

    @apply
    def grown(self, event: Grown) -> None:
        self.size += event.by


@pipeline.aggregate
class Nest:
    size: int = 0

    @handle
    def grow(self, command: Grow) -> Grown:
        return Grown(command.by)

    @apply
    def grown(self, event: Grown) -> None:
        self.size += event.by


@pytest.fixture
def memory() -> Iterator[MemoryPipeline]:
    with MemoryPipeline(pipeline) as running:
        running.at(BEGAN)
        yield running


def both_ways(memory: MemoryPipeline, text: str) -> dict[str, int]:
    """The cut, which is the same from the log and from checkpoints, as the states are."""
    until = parse_moment(text, BEGAN)
    log, checkpoints = (replay_in_memory(memory, pipeline, until, from_log=each) for each in (True, False))
    assert (log.cut, log.events, log.digest()) == (checkpoints.cut, checkpoints.events, checkpoints.digest())
    return log.cut


def test_a_checkpoint_by_an_owner_whose_clock_is_behind_is_of_no_moment_before_its_events(
    memory: MemoryPipeline,
) -> None:
    memory.at(BEGAN + timedelta(seconds=3))
    memory.send(Tree, "oak", Grow(1))
    memory.at(BEGAN)
    memory.restart()
    memory.checkpoint()  # its last record is a barrier, of three seconds before the event
    before, after = (both_ways(memory, f"2026-11-22T10:00:0{second}Z") for second in (1, 4))
    assert before["tree/0"] < after["tree/0"]


@pytest.mark.parametrize(("asked", "held"), [("@tree/0:0", True), ("@tree/0:0,nest/0:0", False)])
def test_a_named_beginning_is_moved_to_hold_a_cause(
    memory: MemoryPipeline, monkeypatch: pytest.MonkeyPatch, asked: str, held: bool
) -> None:
    monkeypatch.setattr(causes, "_AT_LEAST", 0)
    memory.send(Tree, "oak", Grow(1))
    cause = event_id(event_id_text("tree", "oak", 1))
    write = Catalog(pipeline, None).command_writer(pipeline.aggregates["nest"], Grow)
    memory.produce(Nest, "owl", write(b"c" * 16, None, cause, 1, None, Grow(1)))
    memory.settle()
    memory.at(BEGAN + timedelta(hours=1))
    memory.send(Nest, "owl", Grow(1))
    memory.checkpoint()
    assert (both_ways(memory, asked)["tree/0"] > 0) == held


def test_a_checkpoint_that_has_seen_what_nobody_can_read_yet_is_passed_over(memory: MemoryPipeline) -> None:
    memory.send(Tree, "oak", Grow(1))
    memory.checkpoint()
    key, broker = PartitionKey("tree", 0), memory._broker
    with broker.changed:
        foreign = broker.begin("foreign", broker.take_id("foreign"), 3600.0)
        broker.events(key).append(b"x", b"y", 0, writer=foreign)
    memory.send(Tree, "oak", Grow(2))
    memory.checkpoint()
    compared = compare_in_memory(memory, pipeline, key)
    assert (compared.first, compared.checkpoints) == (None, 1)
    (skipped,) = compared.skipped
    assert "an open transaction lets nobody read them from offset 4 on" in skipped
    assert replay_in_memory(memory, pipeline, END, from_log=False).events == 1

"""`runtime.connection.Connection`: what a client sends, hears and reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from eventsrc.adapters.kafka.history import StoredRecord
from eventsrc.engine.batch import Answer
from eventsrc.errors import Unreachable
from eventsrc.model.names import commands_topic, events_topic, replies_topic
from eventsrc.model.position import Position
from eventsrc.runtime.connection import Answers, History
from tests.conformance.world import FIRST, PARTITIONS, SECOND, TIMEOUT_S, WALL_MS, World, batch, joined, owner
from tests.harness.collect import wait_until


@pytest.fixture
def history(world: World) -> Iterator[History]:
    opened = world.connection().history()
    yield opened
    opened.close()


def never(failure: object) -> None:
    raise AssertionError(failure)


def answer(world: World, number: int, partition: int) -> None:
    replies = world.replies()
    replies.send([Answer(partition, b"%016d" % number, "ok", number, (), None, {})])
    replies.flush(TIMEOUT_S)


def heard(answers: Answers, count: int) -> list[bytes]:
    found: list[bytes] = []

    def enough() -> bool:
        found.extend(answers.poll(0.05))
        return len(found) >= count

    wait_until(enough, TIMEOUT_S, f"{count} answers")
    return found


def commit(world: World, proof: bytes, *values: bytes) -> None:
    transactions = world.transactions(owner())
    made = batch(proof, {FIRST: list(values)})
    transactions.send(made)
    transactions.finish(made)


def read(history: History, world: World, start: int | None = None) -> list[StoredRecord]:
    position = None if start is None else Position(start)
    return list(history.read(events_topic(world.name, FIRST.aggregate), FIRST.number, position))


def test_commands_are_in_their_partition_in_order(world: World) -> None:
    topic = commands_topic(world.name, FIRST.aggregate)
    commands = world.connection().commands(never)
    assert commands.partition_count(topic) == PARTITIONS
    for number in range(20):
        commands.produce(topic, number % 2, b"key", b"%d" % number)

    def arrived() -> bool:
        commands.poll()
        return len(world.committed_records(topic)) == 20

    wait_until(arrived, TIMEOUT_S, "the commands arrive")
    commands.close()
    found = world.committed_records(topic)
    for partition in (FIRST.number, SECOND.number):
        there = [each.value for each in found if each.partition == partition]
        assert there == [b"%d" % number for number in range(partition, 20, 2)]


def test_answers_are_heard_from_when_the_reader_was_opened(world: World) -> None:
    answer(world, 1, partition=1)
    answers = world.connection().answers(replies_topic(world.name), choice=PARTITIONS + 1)
    assert answers.partition == 1
    assert answers.poll(0.0) == []
    answer(world, 2, partition=0)
    answer(world, 3, partition=1)
    answer(world, 4, partition=1)
    found = heard(answers, 2)
    answers.close()
    assert [b"%016d" % number in value for number, value in zip((3, 4), found, strict=True)] == [True, True]


def test_history_has_what_is_committed(world: World, history: History) -> None:
    topic = events_topic(world.name, FIRST.aggregate)
    assert history.partition_count(topic) == PARTITIONS
    assert read(history, world) == []
    proof = joined(world, "one").port.metadata()
    commit(world, proof, b"one", b"two")
    wait_until(lambda: len(read(history, world)) == 2, TIMEOUT_S, "both are readable")
    first, second = read(history, world)
    assert (first.key, first.value, first.timestamp_ms) == (b"key-one", b"one", WALL_MS)
    assert read(history, world, second.offset) == [second]
    bounds = history.bounds(topic, FIRST.number)
    assert bounds.start == 0
    assert bounds.stable_end > second.offset


def test_history_ends_below_what_is_undecided(world: World, history: History) -> None:
    member = joined(world, "one")
    commit(world, member.port.metadata(), b"one")
    wait_until(lambda: len(read(history, world)) == 1, TIMEOUT_S, "it is readable")
    end = world.leave_open(owner(), member.port.metadata(), FIRST, 1)
    assert [each.value for each in read(history, world)] == [b"one"]
    end()
    wait_until(lambda: len(read(history, world)) == 2, TIMEOUT_S, "it is decided")


def test_a_reader_waits_until_it_is_satisfied(world: World, history: History) -> None:
    member = joined(world, "one")
    commit(world, member.port.metadata(), b"one")
    found: list[StoredRecord] = []

    def reading(satisfied: Callable[[], bool], wait_s: float) -> Iterator[StoredRecord]:
        topic = events_topic(world.name, FIRST.aggregate)
        return history.read(topic, FIRST.number, satisfied=satisfied, wait_s=wait_s)

    for record in reading(lambda: len(found) == 2, TIMEOUT_S):
        found.append(record)
        if len(found) == 1:
            commit(world, member.port.metadata(), b"two")
    assert [each.value for each in found] == [b"one", b"two"]
    with pytest.raises(Unreachable, match=r"a committed event was not readable within 0\.2 s"):
        list(reading(lambda: False, 0.2))

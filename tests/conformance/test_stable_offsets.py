"""`ports.StableOffsets`."""

from __future__ import annotations

import queue

import pytest
from confluent_kafka import KafkaException

from eventsrc.engine.batch import BatchKind
from eventsrc.engine.effects import StableOffsetFetched
from eventsrc.engine.notes import Owner, read_note
from eventsrc.engine.partition import PartitionKey
from eventsrc.ports import StableOffsets
from eventsrc.testing.memory.broker import FencedProducer
from tests.conformance.world import FIRST, SECOND, TIMEOUT_S, Member, World, batch, joined, owner

SILENT_FOR_S = 0.4


class Answers:
    """What was answered, in order."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[StableOffsetFetched] = queue.SimpleQueue()

    def put(self, answer: StableOffsetFetched) -> None:
        self._queue.put(answer)

    def next(self, timeout_s: float = TIMEOUT_S) -> StableOffsetFetched | None:
        """None where none comes in time."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def questions(world: World, answers: Answers) -> StableOffsets:
    return world.stable_offsets(answers.put)


@pytest.fixture
def member(world: World) -> Member:
    return joined(world, "one")


def commit(world: World, member: Member, holder: Owner, position: int) -> int:
    """As a takeover does, so that the note names the owner; returns its term."""
    transactions = world.transactions(holder)
    sent = batch(member.port.metadata(), {FIRST: [b"barrier"]}, position, kind=BatchKind.BARRIERS)
    transactions.send(sent)
    return transactions.finish(sent)[FIRST]


def told(answer: StableOffsetFetched | None) -> tuple[PartitionKey, int, object, int | None]:
    assert answer is not None
    return answer.partition, answer.attempt, answer.metadata, answer.committed


def test_a_partition_that_was_never_committed_is_answered_with_none(
    world: World, questions: StableOffsets, answers: Answers
) -> None:
    world.send_commands(FIRST, b"a", b"b", b"c")
    questions.ask(FIRST, 3, b"proof")
    answer = answers.next()
    assert told(answer) == (FIRST, 3, b"proof", None)
    assert answer is not None
    assert read_note(answer.note) is None
    assert (answer.log_start, answer.log_end, answer.events_start, answer.events_end) == (0, 3, 0, 0)


def test_the_committed_offset_comes_with_its_note_and_where_the_logs_begin_and_end(
    world: World, member: Member, questions: StableOffsets, answers: Answers
) -> None:
    world.send_commands(FIRST, b"a", b"b")
    holder = owner()
    term = commit(world, member, holder, 2)
    questions.ask(FIRST, 1, b"proof")
    answer = answers.next()
    assert told(answer) == (FIRST, 1, b"proof", 2)
    assert answer is not None
    note = read_note(answer.note)
    assert note is not None
    assert (note.instance, note.transactional_id, note.term) == (holder.instance, holder.transactional_id, term)
    assert (answer.log_start, answer.log_end, answer.events_start) == (0, 2, 0)
    assert answer.events_end is not None
    assert answer.events_end > term


def test_it_is_answered_once(questions: StableOffsets, answers: Answers) -> None:
    questions.ask(FIRST, 1, b"proof")
    assert told(answers.next())[:2] == (FIRST, 1)
    assert answers.next(SILENT_FOR_S) is None


def test_the_answer_waits_for_what_an_earlier_owner_has_not_decided(
    world: World, member: Member, questions: StableOffsets, answers: Answers
) -> None:
    """Its owner is in the group, so nobody may fence it."""
    holder = owner("one")
    commit(world, member, holder, 1)
    decide = world.leave_open(holder, member.port.metadata(), FIRST, 7)
    questions.ask(FIRST, 1, b"proof")
    assert answers.next(SILENT_FOR_S) is None
    decide()
    assert told(answers.next()) == (FIRST, 1, b"proof", 7)


def test_other_partitions_do_not_wait(world: World, member: Member, questions: StableOffsets, answers: Answers) -> None:
    decide = world.leave_open(owner(), member.port.metadata(), FIRST, 7)
    questions.ask(FIRST, 1, b"proof")
    questions.ask(SECOND, 2, b"proof")
    assert told(answers.next()) == (SECOND, 2, b"proof", None)
    decide()
    assert told(answers.next()) == (FIRST, 1, b"proof", 7)


def test_an_owner_that_has_left_the_group_is_fenced(
    world: World, member: Member, questions: StableOffsets, answers: Answers
) -> None:
    """Its transaction would hold the answer back for a minute."""
    gone = owner("gone")
    commit(world, member, gone, 1)
    decide = world.leave_open(gone, member.port.metadata(), FIRST, 7)
    questions.ask(FIRST, 1, b"proof")
    assert told(answers.next()) == (FIRST, 1, b"proof", 1)
    with pytest.raises((KafkaException, FencedProducer)):
        decide()


def test_a_cancelled_question_is_not_answered(
    world: World, member: Member, questions: StableOffsets, answers: Answers
) -> None:
    decide = world.leave_open(owner(), member.port.metadata(), FIRST, 7)
    questions.ask(FIRST, 1, b"proof")
    questions.cancel(FIRST)
    decide()
    questions.ask(SECOND, 2, b"proof")
    assert told(answers.next())[:2] == (SECOND, 2)
    assert answers.next(SILENT_FOR_S) is None


def test_a_new_question_replaces_an_earlier_one_of_the_same_partition(
    world: World, member: Member, questions: StableOffsets, answers: Answers
) -> None:
    decide = world.leave_open(owner(), member.port.metadata(), FIRST, 7)
    questions.ask(FIRST, 1, b"earlier")
    questions.ask(FIRST, 2, b"later")
    decide()
    assert told(answers.next()) == (FIRST, 2, b"later", 7)
    assert answers.next(SILENT_FOR_S) is None


def test_nothing_is_answered_after_it_was_closed(
    world: World, member: Member, questions: StableOffsets, answers: Answers
) -> None:
    decide = world.leave_open(owner(), member.port.metadata(), FIRST, 7)
    questions.ask(FIRST, 1, b"proof")
    questions.close()
    decide()
    assert answers.next(SILENT_FOR_S) is None

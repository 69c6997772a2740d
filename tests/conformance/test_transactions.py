"""`ports.Transactions`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from eventsrc.engine.batch import Batch, BatchKind, DeadLetter
from eventsrc.engine.notes import Owner, TopicIds, read_note
from eventsrc.errors import AbortRequired, OutcomeInDoubt, TransactionOutlived
from eventsrc.model.names import dead_letter_topic, events_topic
from eventsrc.ports import Transactions
from tests.conformance.world import (
    FIRST,
    PARTITIONS,
    SECOND,
    TIMEOUT_S,
    WALL_MS,
    Listener,
    Member,
    World,
    batch,
    joined,
    owner,
)
from tests.harness.collect import wait_until
from tests.harness.evidence import LogRecord


@pytest.fixture
def member(world: World) -> Member:
    return joined(world, "one")


@pytest.fixture
def holder() -> Owner:
    return owner()


@pytest.fixture
def transactions(world: World, holder: Owner) -> Transactions:
    return world.transactions(holder)


@pytest.fixture
def events(world: World) -> str:
    return events_topic(world.name, FIRST.aggregate)


def commit(transactions: Transactions, sent: Batch) -> dict[Any, int]:
    transactions.send(sent)
    return dict(transactions.finish(sent))


def seen(world: World, topic: str, count: int) -> list[LogRecord]:
    """All committed records, as soon as there are so many: a commit returns before its markers are written."""
    wait_until(lambda: len(world.committed_records(topic)) >= count, TIMEOUT_S, f"{count} records in {topic}")
    return list(world.committed_records(topic))


def settled(world: World, topic: str) -> list[LogRecord]:
    """All committed records, when nothing is undecided any more."""
    wait_until(lambda: not world.has_open_transaction(topic), TIMEOUT_S, f"nothing undecided in {topic}")
    return list(world.committed_records(topic))


def told(records: list[LogRecord], number: int) -> list[tuple[bytes | None, bytes | None]]:
    return [(each.key, each.value) for each in records if each.partition == number]


# ---- send and finish


def test_all_records_of_a_committed_batch_are_readable_in_order(
    world: World, member: Member, transactions: Transactions, events: str
) -> None:
    commit(transactions, batch(member.port.metadata(), {FIRST: [b"a", b"b", b"c"], SECOND: [b"d"]}))
    records = seen(world, events, 4)
    assert told(records, 0) == [(b"key-a", b"a"), (b"key-b", b"b"), (b"key-c", b"c")]
    assert told(records, 1) == [(b"key-d", b"d")]
    assert [each.timestamp_ms for each in records if each.partition == 0] == [WALL_MS, WALL_MS + 1, WALL_MS + 2]


def test_nothing_is_readable_and_no_offset_is_committed_before_it_is_finished(
    world: World, member: Member, transactions: Transactions, events: str
) -> None:
    sent = batch(member.port.metadata(), {FIRST: [b"a"]}, 7)
    transactions.send(sent)
    wait_until(lambda: world.has_open_transaction(events), TIMEOUT_S, "it is produced")
    assert world.committed_records(events) == []
    assert world.committed_offset(FIRST) is None
    transactions.finish(sent)
    assert [each.value for each in seen(world, events, 1)] == [b"a"]


def test_the_offset_of_the_last_record_per_events_partition_is_returned(
    world: World, member: Member, transactions: Transactions, events: str
) -> None:
    proof = member.port.metadata()
    commit(transactions, batch(proof, {FIRST: [b"a", b"b"], SECOND: [b"c"]}))
    returned = commit(transactions, batch(proof, {FIRST: [b"d", b"e"], SECOND: []}, 2))
    last = [each for each in seen(world, events, 5) if each.partition == 0][-1]
    assert (last.value, returned) == (b"e", {FIRST: last.offset})


def test_every_section_commits_its_position_with_its_note(
    world: World, member: Member, transactions: Transactions
) -> None:
    commit(transactions, batch(member.port.metadata(), {FIRST: [b"a"], SECOND: []}, 5))
    for key in (FIRST, SECOND):
        wait_until(lambda key=key: world.committed_offset(key), TIMEOUT_S, f"an offset of {key}")  # type: ignore[misc]  # bound in the loop
        found = world.committed_offset(key)
        assert found is not None
        assert (found.offset, found.metadata) == (5, f"note of {key}")


def test_dead_letters_go_down_the_same_way_to_their_partition_modulo_the_topics_count(
    world: World, member: Member, transactions: Transactions
) -> None:
    headers = (("eventsrc.reason", b"null-key"), ("their-own", None))
    letters = [
        DeadLetter(0, None, b"without a key", headers),
        DeadLetter(PARTITIONS + 1, b"key", None, ()),
    ]
    topic = dead_letter_topic(world.name)
    sent = batch(member.port.metadata(), {FIRST: [b"a"]}, dead_letters=letters)
    transactions.send(sent)
    wait_until(lambda: world.has_open_transaction(topic), TIMEOUT_S, "they are produced")
    assert world.committed_records(topic) == []
    transactions.finish(sent)
    found = seen(world, topic, 2)
    assert [(each.partition, each.key, each.value, each.headers) for each in found] == [
        (0, None, b"without a key", headers),
        (1, b"key", None, ()),
    ]


def test_a_barriers_note_names_its_offset_as_the_term(
    world: World, member: Member, transactions: Transactions, holder: Owner, events: str
) -> None:
    commit(transactions, batch(member.port.metadata(), {FIRST: [b"earlier"]}))
    sent = batch(member.port.metadata(), {FIRST: [b"barrier"], SECOND: [b"barrier"]}, kind=BatchKind.BARRIERS)
    for section in sent.sections.values():
        section.topics = TopicIds("commands-1", "events-1")
    terms = commit(transactions, sent)
    barriers = [each for each in seen(world, events, 3) if each.value == b"barrier"]
    assert terms == {FIRST: barriers[0].offset, SECOND: barriers[1].offset}
    for key, term in terms.items():
        text = sent.sections[key].note
        wait_until(lambda key=key, text=text: _note(world, key) == text, TIMEOUT_S, "its note")  # type: ignore[misc]  # bound in the loop
        note = read_note(text)
        assert note is not None
        assert (note.instance, note.transactional_id, note.term) == (holder.instance, holder.transactional_id, term)
        assert note.topics == TopicIds("commands-1", "events-1")


def _note(world: World, key: Any) -> str | None:
    found = world.committed_offset(key)
    return None if found is None else found.metadata


def test_many_transactions_follow_one_another(
    world: World, member: Member, transactions: Transactions, events: str
) -> None:
    proof, last = member.port.metadata(), -1
    for number in range(20):
        returned = commit(transactions, batch(proof, {FIRST: [b"%d" % number]}, number + 1))
        assert returned[FIRST] > last
        last = returned[FIRST]
    assert [each.value for each in seen(world, events, 20)] == [b"%d" % number for number in range(20)]
    assert not transactions.suspect


# ---- the fence


def test_metadata_of_no_membership_is_refused_before_anything_is_produced(
    world: World, transactions: Transactions, events: str
) -> None:
    stranger = Member(world.membership("stranger", listener := Listener()), listener)
    with pytest.raises(AbortRequired):
        transactions.send(batch(stranger.port.metadata(), {FIRST: [b"a"]}))
    assert not world.has_open_transaction(events)
    transactions.abort()
    assert world.committed_records(events) == []


def test_metadata_of_an_earlier_generation_is_refused_and_leaves_nothing(
    world: World, member: Member, transactions: Transactions, events: str
) -> None:
    earlier = member.port.metadata()
    joined(world, "two", member)
    assert member.port.metadata() != earlier
    refused = batch(earlier, {FIRST: [b"refused"]}, 9)
    transactions.send(refused)
    with pytest.raises(AbortRequired):
        transactions.finish(refused)
    transactions.abort()
    assert settled(world, events) == []
    assert world.committed_offset(FIRST) is None
    commit(transactions, batch(member.port.metadata(), {FIRST: [b"accepted"]}))
    assert [each.value for each in seen(world, events, 1)] == [b"accepted"]


def test_metadata_of_an_expelled_member_is_refused(world: World, events: str) -> None:
    member = joined(world, "one", session_s=1.0)
    proof = member.port.metadata()  # before anything that takes time: without a poll, its session ends
    transactions = world.transactions(owner())
    world.lapse("one")
    refused = batch(proof, {FIRST: [b"refused"]})
    transactions.send(refused)
    with pytest.raises(AbortRequired):
        transactions.finish(refused)
    transactions.abort()
    assert settled(world, events) == []


def test_a_batch_that_nothing_would_fence_is_a_defect(world: World, member: Member, transactions: Transactions) -> None:
    for defective in (batch(member.port.metadata(), {}), batch(member.port.metadata(), {FIRST: [b"a"]}, -1)):
        with pytest.raises(AssertionError):
            transactions.send(defective)


# ---- abort


def test_an_aborted_transaction_leaves_nothing_and_another_may_follow(
    world: World, member: Member, transactions: Transactions, events: str
) -> None:
    letter = DeadLetter(0, b"key", b"dead", ())
    transactions.send(batch(member.port.metadata(), {FIRST: [b"a", b"b"]}, 9, dead_letters=[letter]))
    transactions.abort()
    assert settled(world, events) == []
    assert settled(world, dead_letter_topic(world.name)) == []
    assert world.committed_offset(FIRST) is None
    commit(transactions, batch(member.port.metadata(), {FIRST: [b"c"]}, 2))
    assert [each.value for each in seen(world, events, 1)] == [b"c"]


def test_aborting_before_anything_was_begun_does_nothing(transactions: Transactions) -> None:
    transactions.abort()
    assert not transactions.suspect


# ---- the transactional id


def test_a_new_holder_aborts_what_the_earlier_one_left_open(
    world: World, member: Member, transactions: Transactions, holder: Owner, events: str
) -> None:
    left = batch(member.port.metadata(), {FIRST: [b"left open"]}, 9)
    transactions.send(left)
    wait_until(lambda: world.has_open_transaction(events), TIMEOUT_S, "it is produced")
    successor = world.transactions(holder)
    assert settled(world, events) == []
    with pytest.raises(OutcomeInDoubt):
        transactions.finish(left)
    commit(successor, batch(member.port.metadata(), {FIRST: [b"its own"]}, 1))
    assert [each.value for each in seen(world, events, 1)] == [b"its own"]
    assert settled(world, events)[0].value == b"its own"


def test_a_transaction_that_is_open_for_too_long_is_aborted_by_the_broker(
    world: World, member: Member, events: str
) -> None:
    transactions = world.transactions(owner(), timeout_s=1.0)
    outlived = batch(member.port.metadata(), {FIRST: [b"too slow"]}, 9)
    transactions.send(outlived)
    wait_until(lambda: world.was_written(events), TIMEOUT_S, "it is produced")  # it may not be seen while it is open
    assert settled(world, events) == []
    with pytest.raises(TransactionOutlived):
        transactions.finish(outlived)
    assert world.committed_offset(FIRST) is None


# ---- abandon, and a broker that does not answer


@pytest.mark.parametrize("kind", list(BatchKind))
def test_what_was_abandoned_is_not_committed(
    world: World, member: Member, transactions: Transactions, holder: Owner, events: str, kind: BatchKind
) -> None:
    sent = batch(member.port.metadata(), {FIRST: [b"abandoned"]}, 9, kind=kind)
    transactions.send(sent)
    transactions.abandon()
    with pytest.raises(OutcomeInDoubt):
        transactions.finish(sent)
    world.transactions(holder)
    assert settled(world, events) == []
    assert world.committed_offset(FIRST) is None


@contextmanager
def finishing(transactions: Transactions, sent: Batch) -> Iterator[Callable[[], Any]]:
    """`finish` in a thread, as on the commit thread, and not answered; calling what is yielded returns what came of it."""
    outcome: list[Any] = []

    def finish() -> None:
        try:
            outcome.append(transactions.finish(sent))
        except Exception as failure:  # noqa: BLE001 - looked at by the test
            outcome.append(failure)

    thread = threading.Thread(target=finish)

    def result() -> Any:
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()
        return outcome[0]

    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    yield result
    thread.join(TIMEOUT_S)


def test_what_is_being_repeated_ends_when_it_is_abandoned(silenceable_world: World) -> None:
    world, holder = silenceable_world, owner()
    member, transactions = joined(world, "one"), world.transactions(holder)
    sent = batch(member.port.metadata(), {FIRST: [b"a"]})
    with ExitStack() as silence:
        silence.enter_context(world.silence())
        transactions.send(sent)
        with finishing(transactions, sent) as result:
            transactions.abandon()
            silence.close()
            assert isinstance(result(), OutcomeInDoubt)
    world.transactions(holder)
    assert settled(world, events_topic(world.name, FIRST.aggregate)) == []


def test_a_commit_that_was_not_answered_is_repeated_and_makes_the_producer_suspect(silenceable_world: World) -> None:
    """It is not the producer's first: librdkafka must not forget where the group's coordinator is."""
    world = silenceable_world
    member, transactions = joined(world, "one"), world.transactions(owner())
    commit(transactions, batch(member.port.metadata(), {FIRST: [b"a"]}))
    assert not transactions.suspect
    sent = batch(member.port.metadata(), {FIRST: [b"b"]}, 2)
    transactions.send(sent)
    with ExitStack() as silence:
        silence.enter_context(world.silence())
        with finishing(transactions, sent) as result:
            silence.close()
            assert result().keys() == {FIRST}
    assert transactions.suspect
    assert [each.value for each in seen(world, events_topic(world.name, FIRST.aggregate), 2)] == [b"a", b"b"]

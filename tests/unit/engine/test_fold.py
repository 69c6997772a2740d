"""Folding a partition's events: what becomes of each record, and every verdict on a log that contradicts itself."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventsrc.codec import schema_files
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.control import Barrier, Pruned, write_barrier, write_pruned
from eventsrc.codec.framing import framing_prefix
from eventsrc.codec.keys import barrier_key, event_key, pruned_key
from eventsrc.codec.schema_files import schema_file
from eventsrc.codes import HaltCode
from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.notes import Claim, Note, TopicIds
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.recovery import resume_position
from eventsrc.engine.takeover import Ownership
from eventsrc.errors import InvalidSchema, LogInconsistent, UnknownSchema
from eventsrc.model.position import Position
from tests.harness.remembered import remembered
from tests.unit.engine.shop import (
    ACCOUNT,
    BASKET,
    Deposited,
    Placed,
    Record,
    behaviour,
    catalog,
    command_id,
    event_value,
    pipeline,
)

UNKNOWN = b"\xc3\x01" + b"\x07" * 8 + b"body"


def barrier(offset: int, time: int = 1, commands: str = "commands") -> Record:
    value = write_barrier(Barrier("host", "id", "", "events", commands, 0, time))
    return Record(offset, barrier_key(uuid.uuid4()), value)


def event(offset: int, sequence: int, *, id: str = "alice", term: int = 0, name: str = "", **meta: Any) -> Record:
    """Of a command of its own, where it is not named."""
    value = event_value(Deposited(1), name or f"{id}{sequence}", **meta)
    return Record(offset, event_key(id.encode(), sequence, term), value)


def folded(*records: Record, only: bytes | None = None) -> PartitionFold:
    fold = PartitionFold(ACCOUNT, catalog, only)
    for each in records:
        fold.feed(each.offset(), each.key(), each.value(), 0)
    return fold


def verdict(*records: Record) -> str:
    with pytest.raises(LogInconsistent) as raised:
        folded(barrier(0), *records).finish()
    return str(raised.value)


@pytest.fixture(autouse=True)
def _own_behaviour() -> Iterator[None]:
    yield
    behaviour.clear()


# ---- a log as it should be


def test_state_sequence_memory_source_and_time_come_from_the_events() -> None:
    fold = folded(
        barrier(0),
        event(2, 1, source=4, time=100),
        event(3, 1, id="bob", source=9, time=150),
        event(5, 2, source=7, time=120),
    )
    fold.finish()
    alice = fold.live[b"alice"]
    assert (alice.balance, alice.deposits, alice.sequence) == (2, 2, 2)
    assert remembered(alice) == [(command_id("alice1"), 1), (command_id("alice2"), 2)]
    assert (fold.highest_source, fold.last_time, fold.events, fold.highest_term) == (9, 150, 3, 0)


def test_a_command_of_several_events_is_remembered_once_by_its_last() -> None:
    parts = [event(1 + index, 1 + index, name="c", index=index, count=3) for index in range(3)]
    fold = folded(barrier(0), *parts)
    fold.finish()
    assert remembered(fold.live[b"alice"]) == [(command_id("c"), 3)]


def test_commands_of_several_events_on_different_ids_may_interleave() -> None:
    fold = folded(
        barrier(0),
        event(1, 1, name="c", index=0, count=2),
        event(2, 1, id="bob", name="d", index=0, count=2),
        event(3, 2, name="c", index=1, count=2),
        event(4, 2, id="bob", name="d", index=1, count=2),
    )
    fold.finish()
    assert {key: each.sequence for key, each in fold.live.items()} == {b"alice": 2, b"bob": 2}


def test_feed_gives_back_what_was_folded() -> None:
    fold = folded(barrier(0))
    record = event(1, 1)
    recorded = fold.feed(1, record.key(), record.value(), 0)
    assert recorded is not None
    assert (recorded.event, recorded.sequence, recorded.offset) == (Deposited(1), 1, 1)
    assert fold.feed(2, barrier_key(uuid.uuid4()), barrier(2).value(), 0) is None
    assert fold.feed(3, event_key(b"alice", 1, 0), None, 0) is None


def test_an_apply_method_sees_the_same_as_when_the_event_was_written() -> None:
    seen: list[Any] = []
    behaviour["apply"] = lambda account, event, recorded: seen.append((recorded.offset, recorded.sequence))
    folded(barrier(0), event(7, 1))
    assert seen == [(None, 1)]


def test_ids_are_read_from_the_right() -> None:
    fold = folded(barrier(0), event(1, 1, id="a@1#0"), event(2, 2, id="a@1#0"))
    assert fold.live[b"a@1#0"].sequence == 2


# ---- terms and barriers


def test_events_of_a_deposed_owner_are_ignored() -> None:
    """The pair of the next test: with the check they change nothing, without it the log seems to contradict itself."""
    fold = folded(barrier(0), event(1, 1), barrier(2), event(3, 2, name="zombie"), event(4, 2, term=2))
    fold.finish()
    assert (fold.ignored, fold.events, fold.live[b"alice"].sequence) == (1, 2, 2)
    assert command_id("zombie") not in fold.live[b"alice"]._eventsrc_memory


def test_without_the_check_of_terms_a_deposed_owners_event_would_be_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartitionFold, "_accepts", lambda self, term, offset, key: True)
    assert "has sequence 2 twice" in verdict(event(1, 1), barrier(2), event(3, 2, name="zombie"), event(4, 2, term=2))


def test_a_term_is_its_barriers_offset() -> None:
    fold = folded(barrier(3), event(4, 1, term=3), barrier(9), event(10, 2, term=9))
    assert (fold.highest_term, fold.barriers) == (9, {3, 9})


def test_the_topic_of_the_last_writer_is_told_not_that_of_a_later_owner_who_wrote_nothing() -> None:
    fold = folded(barrier(0), event(1, 1, term=0), barrier(2, commands="recreated"))
    assert fold.last_barrier is not None
    assert (fold.writer_commands_topic_id, fold.last_barrier.commands_topic_id) == ("commands", "recreated")


@pytest.mark.parametrize("term", [1, 7])
def test_a_term_without_a_barrier_is_nobodys(term: int) -> None:
    assert f"names term {term}, but the latest barrier before it is at offset 0" in verdict(event(1, 1, term=term))


def test_an_event_before_any_barrier_is_nobodys() -> None:
    with pytest.raises(LogInconsistent, match="the latest barrier before it is missing"):
        folded(event(0, 1))


# ---- verdicts


def test_a_gap_is_judged_when_the_log_is_read_not_before() -> None:
    fold = folded(barrier(0), event(1, 1), event(2, 3), event(3, 4), event(4, 1, id="bob"))
    assert fold.live[b"alice"].sequence == 1
    with pytest.raises(
        LogInconsistent, match='account "alice" has no event of sequence 2: sequence 3 follows at offset 2'
    ):
        fold.finish()


def test_a_first_event_that_is_not_the_first_is_a_gap() -> None:
    assert "has no event of sequence 1" in verdict(event(1, 2))


def test_an_event_erased_by_a_tombstone_leaves_a_gap() -> None:
    erased = Record(1, event_key(b"alice", 1, 0), None)
    assert "has no event of sequence 1" in verdict(erased, event(2, 2))


def test_one_key_twice_is_a_violation_even_if_the_records_are_equal() -> None:
    assert "has sequence 1 twice: once more at offset 2" in verdict(event(1, 1), event(2, 1))


def test_two_events_at_one_sequence_are_a_violation() -> None:
    assert "has sequence 1 twice" in verdict(event(1, 1), event(2, 2), event(3, 1, name="other"))


_HALF = {
    "the last is missing": [event(1, 1, name="c", index=0, count=2)],
    "the first is missing": [event(1, 1, name="c", index=1, count=2)],
    "one alone calls itself the second": [event(1, 1, name="c", index=1, count=1)],
    "one between is missing": [
        event(1, 1, name="c", index=0, count=3),
        event(2, 2, name="c", index=2, count=3),
    ],
    "one comes twice": [event(1, 1, name="c", index=0, count=3), event(2, 2, name="c", index=0, count=3)],
    "another command follows": [
        event(1, 1, name="c", index=0, count=2),
        event(2, 2, name="d", index=1, count=2),
    ],
    "a command of one event follows": [event(1, 1, name="c", index=0, count=2), event(2, 2, name="d")],
    "a barrier follows": [
        event(1, 1, name="c", index=0, count=2),
        barrier(2),
        event(3, 2, term=2, name="c", index=1, count=2),
    ],
    "they disagree on their count": [
        event(1, 1, name="c", index=0, count=3),
        event(2, 2, name="c", index=1, count=2),
    ],
    "the count is none": [event(1, 1, name="c", index=0, count=0)],
    "the index is below none": [event(1, 1, name="c", index=-1, count=2)],
}


@pytest.mark.parametrize("records", list(_HALF.values()), ids=list(_HALF))
def test_a_half_applied_command_is_named(records: list[Record]) -> None:
    said = verdict(*records)
    assert "is half applied" in said
    assert command_id("c").hex() in said


@pytest.mark.parametrize("key", [None, b"", b"alice", b"alice@0#0", b"alice@01#0", b"alice@1", b"alice@1#-1", b"@1#0"])
def test_a_key_that_is_no_events_is_another_programs(key: bytes | None) -> None:
    assert "another program wrote it" in verdict(Record(1, key, event_value(Deposited(1), "c")))


@pytest.mark.parametrize(
    "value", [b"", b"no framing", event_value(Deposited(1), "c")[:-1], event_value(Deposited(1), "c") + b"\0"]
)
def test_an_event_that_cannot_be_read_is_named(value: bytes) -> None:
    said = verdict(Record(1, event_key(b"alice", 1, 0), value))
    assert 'the event at offset 1 (account "alice" sequence 1) cannot be read' in said


def test_an_event_that_its_class_takes_no_more_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    """Who is told to restore the topic would remove a good event; who has to act is the author of the class."""
    now = next(file for file in catalog.schemas() if (file.folder, file.name) == ("shop/account", "Deposited"))
    fields = [each for each in now.schema["fields"] if each["name"] != "amount"]
    was = schema_file(now.folder, "Deposited", {**now.schema, "fields": fields})
    schema_files.export(tmp_path, [was])
    fold = PartitionFold(ACCOUNT, Catalog(pipeline, tmp_path))
    fold.feed(0, barrier(0).key(), barrier(0).value(), 0)
    value = framing_prefix(was.fingerprint) + event_value(Deposited(1), "c")[10:]
    with pytest.raises(
        LogInconsistent, match=r"sequence 1\) is sound, and its class takes it no more: .*amount"
    ) as halt:
        fold.feed(1, event_key(b"alice", 1, 0), value, 0)
    assert halt.value.code == HaltCode.EVENT_CLASS_CHANGED


def test_an_event_of_another_aggregate_cannot_be_read() -> None:
    value = event_value(Placed("pen", []), "c", of=BASKET)
    assert "cannot be read" in verdict(Record(1, event_key(b"alice", 1, 0), value))


def test_a_control_record_that_cannot_be_read_is_named() -> None:
    assert "the control record at offset 1 cannot be read" in verdict(Record(1, barrier_key(uuid.uuid4()), b"x"))
    assert "cannot be read" in verdict(Record(1, barrier_key(uuid.uuid4()), event_value(Deposited(1), "c")))


def test_a_pruning_record_is_left_to_the_version_that_wrote_it() -> None:
    value = write_pruned(Pruned("alice", 3, b"", b"\0" * 8))
    assert "is a Pruned, which this version does not fold" in verdict(Record(1, pruned_key(uuid.uuid4()), value))


def test_a_schema_not_known_here_is_no_contradiction() -> None:
    with pytest.raises(UnknownSchema):
        folded(barrier(0), Record(1, event_key(b"alice", 1, 0), UNKNOWN))


def test_an_apply_method_that_fails_names_the_event() -> None:
    def fail(account: Any, event: Any, recorded: Any) -> None:
        raise OSError("broken")

    behaviour["apply"] = fail
    said = verdict(event(1, 1))
    assert 'the event at offset 1 (account "alice" sequence 1, Deposited)' in said
    assert "OSError" in said


def test_offsets_that_go_back_are_another_log() -> None:
    assert "offset 1 was read after offset 1" in verdict(event(1, 1), event(1, 2))


# ---- one id alone


def test_one_id_alone_follows_terms_and_judges_nothing_else() -> None:
    fold = folded(
        barrier(0),
        event(1, 1),
        event(2, 5, id="bob"),
        event(3, 6, id="carol", name="c", index=0, count=9),
        barrier(4),
        event(5, 2),
        event(6, 2, term=4),
        only=b"alice",
    )
    fold.finish()
    assert set(fold.live) == {b"alice"}
    assert (fold.live[b"alice"].sequence, fold.ignored) == (2, 1)


def test_one_id_alone_still_wants_its_terms_proved() -> None:
    with pytest.raises(LogInconsistent, match="names term 9"):
        folded(barrier(0), event(1, 1, id="bob", term=9), only=b"alice")


# ---- up to a barrier


def test_reading_ends_at_our_own_barrier_and_no_earlier() -> None:
    fold = PartitionFold(ACCOUNT, catalog)
    assert not fold.feed_until([barrier(0), event(1, 1), barrier(3)], 5)
    assert fold.feed_until([barrier(5), event(6, 2, term=5)], 5)
    assert fold.last_offset == 5


def test_a_barrier_that_is_not_where_it_was_written_is_a_verdict() -> None:
    with pytest.raises(LogInconsistent, match="was not in the log when offset 7 was read"):
        PartitionFold(ACCOUNT, catalog).feed_until([barrier(0), event(7, 1)], 5)
    with pytest.raises(LogInconsistent, match="where our own barrier was written, is another"):
        PartitionFold(ACCOUNT, catalog).feed_until([barrier(0), event(5, 1)], 5)


def test_the_verdicts_that_need_the_whole_log_come_with_the_barrier() -> None:
    with pytest.raises(LogInconsistent, match="has no event of sequence 1"):
        PartitionFold(ACCOUNT, catalog).feed_until([barrier(0), event(1, 2), barrier(3)], 3)


def test_events_after_a_barrier_of_a_fast_clock_are_later_than_it() -> None:
    """A reader by time stops at the first record beyond its moment: nothing before that moment may stand behind it."""
    assert folded(barrier(0, time=500), event(1, 1, time=90), barrier(2, time=70)).last_time == 500


def test_a_damaged_schema_file_is_no_verdict_on_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*arguments: Any) -> Any:
        raise InvalidSchema("half a file")

    good = folded(barrier(0))
    monkeypatch.setattr(catalog, "event_reader", damaged)
    with pytest.raises(UnknownSchema, match="half a file"):
        good.feed(1, event_key(b"alice", 1, 0), UNKNOWN, 0)
    monkeypatch.setattr(catalog, "control_reader", damaged)
    with pytest.raises(UnknownSchema, match="half a file"):
        good.feed(1, barrier_key(uuid.uuid4()), UNKNOWN, 0)


@pytest.mark.parametrize(("claimed", "halts"), [(2, False), (3, True), (1, True)])
def test_the_log_must_hold_what_the_last_owner_claims_to_have_applied(claimed: int, halts: bool) -> None:
    """Brokers that lose records of a committed transaction are found at the next takeover."""
    fold = folded(barrier(0), event(1, 1, term=0), event(2, 2, term=0), barrier(5))
    ownership = Ownership(PartitionKey("account", 0), 0.0, term=5, log_end=Position(100))
    ownership.earlier = Note("host-9", "id", 0, None, Claim(0, claimed))
    if halts:
        with pytest.raises(LogInconsistent, match=f"{claimed} commands were applied and committed, and .* holds 2"):
            resume_position(ownership, fold, TopicIds("commands", "events"))
    else:
        assert resume_position(ownership, fold, TopicIds("commands", "events")) >= 0

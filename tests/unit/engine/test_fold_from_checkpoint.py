"""A fold that starts from a checkpoint: its anchors, states that are newer than its position, and what it must still see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.notes import Claim, Note, TopicIds
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.recovery import resume_position
from eventsrc.engine.takeover import Ownership
from eventsrc.errors import LogInconsistent
from eventsrc.model.position import Position
from eventsrc.model.snapshot import Checkpoint
from tests.unit.engine.shop import ACCOUNT, Record, behaviour, catalog
from tests.unit.engine.stored import account_entry, anchor_of, checkpoint_at, runs_of
from tests.unit.engine.test_fold import barrier, event

FIRST = event(1, 1, source=0)
"""Of alice, at offset 1: the anchor of the checkpoints here."""


@pytest.fixture(autouse=True)
def _own_behaviour() -> Iterator[None]:
    yield
    behaviour.clear()


def started(
    start: Checkpoint, states: dict[bytes, bytes] | None = None, *records: Record, **only: Any
) -> PartitionFold:
    held = {b"alice": account_entry(1, 1)} if states is None else states
    fold = PartitionFold(ACCOUNT, catalog, start=start, stored=runs_of(held), **only)
    for each in records:
        fold.feed(each.at, each.of_key, each.of_value, 0)
    return fold


def at_first(seen: Record | None = None, **said: Any) -> Checkpoint:
    return checkpoint_at(anchor_of(FIRST), None if seen is None else anchor_of(seen), **said)


def verdict(fold: PartitionFold, *records: Record) -> str:
    try:
        for each in records:
            fold.feed(each.at, each.of_key, each.of_value, 0)
        fold.finish()
    except LogInconsistent as inconsistent:
        return str(inconsistent)
    pytest.fail("the log was found whole")


# ---- anchors


def test_it_reads_from_the_anchor_on_which_is_not_folded_again() -> None:
    fold = started(at_first())
    assert fold.position == 1
    assert fold.feed(FIRST.at, FIRST.of_key, FIRST.of_value, 0) is None
    assert (fold.position, fold.live, fold.events) == (2, {}, 1)
    fold.finish()


def test_our_own_barrier_may_be_the_anchor() -> None:
    own = barrier(4)
    start = checkpoint_at(anchor_of(own), term=4, applied=0, events=7, aggregates=3, highest_source=9)
    fold = started(start, {}, own, event(5, 1, id="bob", term=4, source=11))
    fold.finish()
    assert (fold.highest_term, fold.barriers, fold.applied, fold.events, fold.aggregates) == (4, {4}, {4: 1}, 8, 4)
    assert (fold.highest_source, fold.writer_commands_topic_id) == (11, "commands")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (event(1, 1, id="bob"), "a record with the key b'bob@1#0' is there"),
        (event(1, 1, source=1), "its value is another"),
        (Record(1, FIRST.of_key, None), "its value is another"),
        (event(2, 2), "the record at offset 2 comes in its place"),
    ],
)
def test_another_record_in_the_anchors_place_is_another_log(found: Record, said: str) -> None:
    told = verdict(started(at_first()), found)
    assert said in told
    assert "knows the record with key b'alice@1#0' at offset 1" in told
    assert "eventsrc checkpoint discard" in told


def test_a_log_that_ends_below_an_anchor_was_truncated() -> None:
    assert "the log ends below it" in verdict(started(at_first()))
    later = event(5, 2)
    assert "at offset 5, and the log ends below it" in verdict(started(at_first(later), None, FIRST), event(2, 2))


@pytest.mark.parametrize("found", [event(5, 2, source=3), event(6, 2), barrier(5)])
def test_what_states_have_seen_last_is_an_anchor_too(found: Record) -> None:
    start = at_first(event(5, 2))
    assert "at offset 5" in verdict(started(start, None, FIRST), found)


def test_without_the_check_of_anchors_another_log_would_be_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reproduction: a topic that was truncated and has grown again. alice's first event is gone, and nothing says so."""
    regrown = event(1, 1, id="bob", name="other")
    assert "another one" in verdict(started(at_first()), regrown)
    monkeypatch.setattr(PartitionFold, "_is_anchor", lambda self, *record: False)
    fold = started(at_first(), None, regrown, event(2, 2, id="bob"), event(3, 2))
    assert {key: each.sequence for key, each in fold.live.items()} == {b"bob": 2, b"alice": 2}


# ---- states newer than the position


def test_events_that_a_state_has_seen_are_counted_and_not_applied() -> None:
    applied: list[int] = []
    behaviour["apply"] = lambda account, event, recorded: applied.append(recorded.sequence)
    log = [FIRST, event(2, 2, source=4, time=5), event(3, 3, source=5, time=6), event(4, 4, source=6, time=7)]
    fold = started(at_first(log[2], term=0), {b"alice": account_entry(3, 3)}, *log)
    fold.finish()
    assert (applied, fold.live[b"alice"].balance, fold.live[b"alice"].sequence) == ([4], 4, 4)
    assert (fold.events, fold.aggregates, fold.applied, fold.highest_source, fold.last_time) == (4, 1, {0: 4}, 6, 7)


def test_an_aggregate_that_appeared_after_the_position_is_counted_as_one() -> None:
    log = [FIRST, event(2, 1, id="bob"), event(3, 2, id="bob")]
    fold = started(at_first(log[1]), {b"alice": account_entry(1, 1), b"bob": account_entry(1, 1)}, *log)
    fold.finish()
    assert (fold.aggregates, fold.events, fold.live[b"bob"].balance) == (2, 3, 2)


def test_a_seen_command_of_several_events_is_remembered_as_it_was() -> None:
    parts = [event(2 + index, 2 + index, name="c", index=index, count=3) for index in range(3)]
    fold = started(at_first(parts[2]), {b"alice": account_entry(4, 4, b"as stored")}, FIRST, *parts)
    fold.finish()
    assert (fold.live[b"alice"]._eventsrc_memory, fold.applied, fold.events) == (b"as stored", {0: 2}, 4)


def test_a_seen_command_must_be_whole_as_any_other() -> None:
    parts = [event(2, 2, name="c", index=0, count=3), event(3, 3, name="c", index=2, count=3)]
    start = at_first(parts[1])
    assert "is half applied" in verdict(started(start, {b"alice": account_entry(4, 4)}, FIRST), *parts)
    unfinished = started(at_first(parts[0]), {b"alice": account_entry(2, 2)}, FIRST)
    assert "is half applied" in verdict(unfinished, parts[0])


@pytest.mark.parametrize("missing", [3, 4])
def test_each_event_that_a_state_has_seen_must_be_there(missing: int) -> None:
    """From the first that is shown on: at which sequence the aggregate stood at the position, nothing tells."""
    log = [event(number, number) for number in range(2, 5)] + [event(5, 1, id="bob")]
    states = {b"alice": account_entry(4, 4), b"bob": account_entry(1, 1)}
    fold = started(at_first(log[-1]), states, FIRST)
    told = verdict(fold, *[each for each in log if each.at != missing])
    assert "has seen all up to sequence 4" in told or f"has sequence {missing + 1} twice" in told


def test_without_skipping_what_was_seen_it_would_be_applied_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    log = [FIRST, event(2, 2)]
    start, states = at_first(log[1]), {b"alice": account_entry(2, 2)}
    assert started(start, states, *log).live[b"alice"].balance == 2
    monkeypatch.setattr(PartitionFold, "_has_seen", lambda self, *event: False)
    assert started(start, states, *log).live[b"alice"].balance == 3


# ---- duplicates and gaps


@pytest.mark.parametrize(
    "records",
    [
        [event(2, 2), event(3, 2, name="again"), event(4, 3)],
        [event(2, 2), event(3, 3), event(4, 3, name="again")],
        [event(2, 3), event(3, 2), event(4, 3, name="again")],
    ],
)
def test_a_sequence_twice_among_what_was_seen_halts(records: list[Record]) -> None:
    fold = started(at_first(records[-1]), {b"alice": account_entry(3, 3)}, FIRST)
    assert "twice" in verdict(fold, *records)


@pytest.mark.parametrize("again", [1, 2, 3])
def test_a_sequence_again_after_what_was_seen_halts(again: int) -> None:
    seen = [event(2, 2), event(3, 3)]
    fold = started(at_first(seen[1]), {b"alice": account_entry(3, 3)}, FIRST, *seen)
    told = verdict(fold, event(4, again, name="again"))
    assert f"has sequence {again} twice: once more at offset 4" in told


def test_a_sequence_again_after_the_state_has_gone_on_halts() -> None:
    seen = [event(2, 2), event(3, 1, id="bob")]
    states = {b"alice": account_entry(2, 2), b"bob": account_entry(1, 1)}
    fold = started(at_first(event(9, 2, id="bob")), states, FIRST, *seen)
    assert "twice" in verdict(fold, event(4, 3), event(5, 2, name="again"))


def test_a_gap_after_a_state_halts_at_the_end() -> None:
    assert "has no event of sequence 2: sequence 3 follows" in verdict(started(at_first(), None, FIRST), event(2, 3))
    assert "has no event of sequence 1" in verdict(started(at_first(), None, FIRST), event(2, 2, id="bob"))


# ---- terms, and one id alone


def test_terms_are_followed_from_the_checkpoints_own_on() -> None:
    fold = started(at_first(), None, FIRST, barrier(2), event(3, 2, term=0), event(4, 2, term=2))
    fold.finish()
    assert (fold.ignored, fold.live[b"alice"].sequence, fold.applied) == (1, 2, {0: 1, 2: 1})
    assert "names term 3" in verdict(started(at_first(), None, FIRST), event(2, 2, term=3))


def test_one_id_alone_is_folded_with_the_same_proof_of_the_log() -> None:
    fold = started(at_first(), None, FIRST, event(2, 1, id="bob"), event(3, 2), only=b"alice")
    fold.finish()
    assert {key: each.sequence for key, each in fold.live.items()} == {b"alice": 2}
    assert "is there" in verdict(started(at_first(), None, only=b"alice"), event(1, 1, id="bob"))


# ---- what a takeover concludes from it


def resumed(fold: PartitionFold, earlier: Note | None = None, committed: int | None = 1) -> Position:
    ownership = Ownership(PartitionKey("account", 0), 0.0, log_end=Position(50), term=9)
    ownership.committed = None if committed is None else Position(committed)
    ownership.resume_from, ownership.earlier = Position(committed or 0), earlier
    return resume_position(ownership, fold, TopicIds("commands", "events"))


def test_commands_resume_at_the_highest_of_group_events_and_checkpoint() -> None:
    assert resumed(started(at_first(commands_position=Position(7)), None, FIRST), committed=None) == 7
    assert resumed(started(at_first(commands_position=Position(7)), None, FIRST), committed=3) == 7
    assert resumed(started(at_first(commands_position=Position(7)), None, FIRST), committed=9) == 9
    assert resumed(started(at_first(), None, FIRST, event(2, 2, source=12)), committed=9) == 13
    assert resumed(started(at_first(highest_source=20), None, FIRST), committed=9) == 21


def test_an_owners_claim_is_counted_across_the_checkpoint() -> None:
    fold = started(at_first(applied=3), None, FIRST, event(2, 2))
    note = Note("host", "id", 0, None, Claim(0, 4))
    assert resumed(fold, note) == 1
    with pytest.raises(LogInconsistent, match="in term 0 5 commands were applied"):
        resumed(fold, note._replace(claim=Claim(0, 5)))


def test_an_earlier_owners_barrier_must_be_there_unless_it_is_older_than_the_checkpoint() -> None:
    start = checkpoint_at(anchor_of(event(6, 1, term=5)), term=5)
    fold = started(start, None, event(6, 1, term=5), barrier(7))
    assert [resumed(fold, Note("host", "id", term)) for term in (3, 5, 7)] == [1, 1, 1]
    with pytest.raises(LogInconsistent, match="barrier at offset 6, and it is no longer in the events topic"):
        resumed(fold, Note("host", "id", 6))


def test_a_claim_of_a_term_before_the_checkpoints_is_not_judged_again() -> None:
    fold = started(checkpoint_at(anchor_of(event(6, 1, term=5)), term=5), None, event(6, 1, term=5))
    assert resumed(fold, Note("host", "id", 5, None, Claim(2, 99))) == 1


# ---- aggregates that cool down while it folds


def test_what_cools_down_in_a_fold_is_still_touched_and_goes_on_where_it_was() -> None:
    fold = started(at_first(), None, FIRST, event(2, 2), event(3, 1, id="bob"))
    assert fold.states.cool(2, ()) == 2
    assert fold.live == {}
    third = event(4, 3)
    fold.feed(third.at, third.of_key, third.of_value, 0)
    assert {key: each.sequence for key, each in fold.live.items()} == {b"alice": 3}
    assert fold.states.touched() == {b"alice", b"bob"}
    fold.finish()


def test_an_event_that_stands_twice_is_found_though_its_aggregate_has_cooled_down() -> None:
    """Below what the states have seen: an event may only be passed over if the stored state had it."""
    later = event(6, 1, id="carol")
    fold = started(at_first(later), None, FIRST, event(2, 2), event(3, 1, id="bob"))
    fold.states.cool(2, ())
    assert 'account "bob" has sequence 1 twice' in verdict(fold, event(4, 1, id="bob"))

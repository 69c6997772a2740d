"""What a moment means for a partition: inclusive in time, exclusive in positions, commands whole, never earlier than asked."""

from __future__ import annotations

import pytest

from eventsrc import InvalidMoment
from eventsrc.engine.cut import Bound, PartitionCut, bounds_of, check_within
from eventsrc.model.moments import END, START, AtPositions, AtSequence, AtTime, Place
from eventsrc.model.position import Position
from eventsrc.model.recorded import EventMeta


def meta(time_us: int, index: int = 0, count: int = 1, cause: bytes | None = None) -> EventMeta:
    return EventMeta(bytes(16), None, cause, 0, index, count, time_us, bytes(8))


def admitted(cut: PartitionCut, events: list[tuple[bytes, EventMeta]]) -> int:
    """How many of the events, at offsets 10, 11, ... and with sequences of their own, the cut takes."""
    sequences: dict[bytes, int] = {}
    for number, (identity, each) in enumerate(events):
        sequences[identity] = sequences.get(identity, 0) + 1
        if not cut.admits(10 + number, identity, sequences[identity], each):
            return number
    return len(events)


SINGLE = [(b"a", meta(time_us)) for time_us in (100, 200, 300)]


@pytest.mark.parametrize(("until", "expected"), [(99, 0), (100, 1), (199, 1), (200, 2), (300, 3), (999, 3)])
def test_a_time_is_inclusive(until: int, expected: int) -> None:
    cut = PartitionCut(Bound(time_us=until))
    assert admitted(cut, SINGLE) == expected
    assert cut.next_time == (None if expected == 3 else (100, 200, 300)[expected])
    assert cut.last_time == (None if expected == 0 else (100, 200, 300)[expected - 1])


@pytest.mark.parametrize(("position", "expected"), [(0, 0), (10, 0), (11, 1), (12, 2), (13, 3), (99, 3)])
def test_a_position_is_exclusive(position: int, expected: int) -> None:
    assert admitted(PartitionCut(Bound(position=Position(position))), SINGLE) == expected


def test_no_bound_is_the_end() -> None:
    assert admitted(PartitionCut(Bound()), SINGLE) == 3


def test_a_sequence_is_that_of_its_own_aggregate() -> None:
    events = [(b"b", meta(1)), (b"a", meta(2)), (b"b", meta(3)), (b"a", meta(4)), (b"b", meta(5)), (b"a", meta(6))]
    assert admitted(PartitionCut(Bound(event=(b"a", 2))), events) == 4
    assert admitted(PartitionCut(Bound(event=(b"a", 9))), events) == 6


@pytest.mark.parametrize("until", [100, 101, 102])
def test_a_command_begun_is_finished(until: int) -> None:
    events = [(b"a", meta(100 + index, index, 3)) for index in range(3)] + [(b"a", meta(103))]
    cut = PartitionCut(Bound(time_us=until))
    assert admitted(cut, events) == 3
    assert cut.completed == 102 - until


def test_commands_that_interleave_are_all_finished() -> None:
    events = [
        (b"a", meta(1, 0, 2)),
        (b"b", meta(2, 0, 2)),
        (b"a", meta(3, 1, 2)),
        (b"c", meta(4, 0, 2)),
        (b"b", meta(5, 1, 2)),
        (b"c", meta(6, 1, 2)),
        (b"d", meta(7)),
    ]
    cut = PartitionCut(Bound(time_us=1))
    assert admitted(cut, events) == 6
    assert (cut.completed, cut.caused) == (5, 0)


def test_causes_are_kept_and_a_moved_cut_counts_what_it_takes_in() -> None:
    cut = PartitionCut(Bound(time_us=150))
    assert admitted(cut, [(b"a", meta(100, cause=b"x" * 16)), (b"a", meta(200))]) == 1
    assert cut.causes == {b"x" * 16}
    cut.move(Position(12))
    assert cut.admits(11, b"a", 2, meta(200, cause=b"y" * 16))
    assert not cut.admits(12, b"a", 3, meta(300))
    assert (cut.caused, cut.completed, cut.next_time) == (1, 0, 300)
    assert cut.causes == {b"x" * 16, b"y" * 16}


def test_events_that_were_folded_unseen_are_followed_alike() -> None:
    events = [meta(1, 0, 2), meta(2, 1, 2, b"x" * 16), meta(3), meta(4)]
    looked, unseen = (PartitionCut(Bound(time_us=3)) for _ in range(2))
    for number, each in enumerate(events[:3]):
        assert looked.admits(number, b"a@b", number + 1, each)
        assert unseen.takes_in(number, b"a@b@%d#0" % (number + 1), each)
    assert looked == unseen
    assert not looked.admits(3, b"a@b", 4, events[3])
    assert not unseen.takes_in(3, b"a@b@4#0", events[3])
    half = PartitionCut(Bound(time_us=9))
    half.takes_in(0, b"a@b@1#0", events[0])
    assert not half.is_passed(1, 10)


def test_a_reader_of_one_id_learns_from_others_that_the_cut_is_passed_but_not_within_its_command() -> None:
    cut = PartitionCut(Bound(time_us=150))
    assert not cut.is_passed(10, 150)
    assert cut.is_passed(10, 151)
    cut.admits(11, b"a", 1, meta(150, 0, 2))
    assert not cut.is_passed(12, 151)
    assert cut.admits(13, b"a", 2, meta(151, 1, 2))
    assert cut.is_passed(14, 151)


AGGREGATES = {"account": 2, "order": 2}
PLACES = [Place("account", 0), Place("account", 1), Place("order", 0), Place("order", 1)]


def test_what_moments_ask_of_each_partition() -> None:
    assert bounds_of(AtTime(7), AGGREGATES, None) == dict.fromkeys(PLACES, Bound(time_us=7))
    assert bounds_of(START, AGGREGATES, None) == dict.fromkeys(PLACES, Bound(position=Position(0)))
    assert bounds_of(END, AGGREGATES, None) == dict.fromkeys(PLACES, Bound())
    named = AtPositions({Place("account", 1): 5})
    assert bounds_of(named, AGGREGATES, None) == {
        **dict.fromkeys(PLACES, Bound()),
        Place("account", 1): Bound(position=Position(5)),
    }
    one = ("account", 1, b"alice")
    assert bounds_of(AtSequence(3), AGGREGATES, one) == {Place("account", 1): Bound(event=(b"alice", 3))}
    assert bounds_of(AtPositions({Place(None, 1): 5}), {"account": 2}, one) == {
        Place("account", 1): Bound(position=Position(5))
    }


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        (AtPositions({Place(None, 0): 1}), "does not say of which aggregate p0 is: write @account/0:1"),
        (AtPositions({Place("cup", 0): 1}), "names cup, which is no aggregate here: there are account, order"),
        (AtPositions({Place("order", 2): 1}), "names partition 2 of order, which has 2, from 0 on"),
        (AtSequence(3), "#3 is a sequence of one aggregate: name it"),
    ],
)
def test_moments_that_are_none_of_this_pipeline(moment: AtPositions | AtSequence, message: str) -> None:
    with pytest.raises(InvalidMoment, match=message):
        bounds_of(moment, AGGREGATES, None)


def test_positions_that_do_not_say_where_one_id_stands() -> None:
    with pytest.raises(InvalidMoment, match="does not name account/1, where account alice lies"):
        bounds_of(AtPositions({Place("account", 0): 1}), AGGREGATES, ("account", 1, b"alice"))


def test_one_partition_named_in_two_ways() -> None:
    with pytest.raises(InvalidMoment, match="names account/0 twice"):
        bounds_of(AtPositions({Place("account", 0): 1, Place(None, 0): 1}), {"account": 2}, None)


def test_positions_that_the_log_does_not_have() -> None:
    place = Place("account", 0)
    for position in (0, 5, 9):
        check_within(place, Bound(position=Position(position)), 5, 9)
    check_within(place, Bound(time_us=1), 5, 9)
    with pytest.raises(InvalidMoment, match="account/0:10 is above what is committed: account/0 ends at 9"):
        check_within(place, Bound(position=Position(10)), 5, 9)
    with pytest.raises(InvalidMoment, match="account/0:4 is below the log: account/0 begins at 5"):
        check_within(place, Bound(position=Position(4)), 5, 9)

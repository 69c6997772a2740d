"""Where commands go on: after a seek, and where the group's committed offset is lost."""

from __future__ import annotations

from typing import Any

import pytest

from eventsrc.engine.effects import StableOffsetFetched
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.recovery import first_position
from eventsrc.model.position import Position
from tests.unit.engine.deciding import Desk
from tests.unit.engine.shop import Record


def records(*offsets: int) -> list[Any]:
    return [Record(offset, b"a", b"v") for offset in offsets]


def test_a_gap_right_after_a_seek_is_looked_at_twice() -> None:
    partition = Desk().partition
    partition.position = Position(5)
    assert partition.reopened() == 5
    assert not partition.follows(records(9, 10))
    assert partition.reopened() == 5
    assert partition.follows(records(9, 10)), "the same gap again: there is nothing between"


def test_what_comes_from_before_the_seek_proves_nothing() -> None:
    partition = Desk().partition
    partition.position = Position(5)
    partition.reopened()
    assert partition.follows(records(2, 3)), "all of it is skipped by its offset"
    assert not partition.follows(records(3, 9)), "and the gap behind it is still looked at twice"


def test_within_a_stream_a_gap_is_a_marker() -> None:
    partition = Desk().partition
    partition.position = Position(5)
    assert partition.follows(records(5))
    partition.position = Position(6)
    assert partition.follows(records(8))


@pytest.mark.parametrize(
    ("committed", "events_end", "position"),
    [(7, 100, 7), (None, 0, 3), (None, None, 3), (None, 100, 0)],
)
def test_a_lost_offset_with_events_is_committed_as_zero(
    committed: int | None, events_end: int | None, position: int
) -> None:
    """It says nothing of what was processed: the events or a checkpoint do, at this start and at every later one."""
    fetched = StableOffsetFetched(
        PartitionKey("account", 0),
        1,
        "m",
        None if committed is None else Position(committed),
        None,
        Position(3),
        Position(9),
        Position(0),
        None if events_end is None else Position(events_end),
    )
    assert first_position(fetched) == position

"""Which command of a batch it was that took too long."""

from __future__ import annotations

from eventsrc.engine.batch import Batch, BatchKind, Section
from eventsrc.engine.effects import RecordOverlong
from eventsrc.engine.overlong import Overlong
from eventsrc.engine.partition import CommandPlace, PartitionKey
from eventsrc.model.position import Position


def batch_of(*sections: tuple[int, int]) -> Batch:
    """Partition numbers and the positions after their last commands, in the order in which they were decided."""
    batch = Batch(BatchKind.COMMANDS, b"")
    for number, position in sections:
        key = PartitionKey("account", number)
        batch.sections[key] = Section(key, Position(0), Position(position))
    return batch


def test_it_is_the_last_one_decided() -> None:
    isolated: dict[CommandPlace, str] = {}
    overlong = Overlong(300.0, 3, {}, isolated)
    assert overlong.decided(batch_of((3, 18), (1, 8)), 300.5) == [RecordOverlong(("account", 1, 7), 1)]
    assert isolated == {}


def test_a_batch_within_the_limit_says_nothing() -> None:
    assert Overlong(300.0, 3, {}, {}).decided(batch_of((3, 18)), 300.0) == []

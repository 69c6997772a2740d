"""What a worker says of dead letters, however many there are."""

from __future__ import annotations

import pytest

from eventsrc.engine.announcing import Announcements
from eventsrc.engine.batch import Batch, BatchKind, DeadLetter, Section
from eventsrc.engine.effects import Instant
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.position import Position

KEY = PartitionKey("account", 3)


def batch_of(*offsets: int) -> Batch:
    section = Section(
        KEY, Position(0), Position(0), first_refusal=f"handler-failed: at {offsets[0]}" if offsets else ""
    )
    for offset in offsets:
        section.dead_letters.append(DeadLetter(3, b"k", b"v", (("eventsrc.offset", b"%d" % offset),)))
    return Batch(BatchKind.COMMANDS, b"metadata", {KEY: section})


def at(monotonic_s: float) -> Instant:
    return Instant(0, monotonic_s)


def test_the_first_is_told_at_once_and_those_behind_it_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    say = Announcements()
    say.dead_letters(batch_of(7), at(10.0))
    say.dead_letters(batch_of(8, 9), at(10.2))
    say.dead_letters(batch_of(), at(10.3))
    say.dead_letters(batch_of(10), at(10.4))
    say.waiting_letters(at(10.9))
    assert [each.message for each in caplog.records] == [
        "dead letter: command of partition account/3 at offset 7: handler-failed: at 7"
    ]
    caplog.clear()
    say.waiting_letters(at(11.0))
    assert [each.message for each in caplog.records] == [
        "dead letter: command of partition account/3 at offset 8: handler-failed: at 8 (and 2 more, of this partition or others)"
    ]
    caplog.clear()
    say.waiting_letters(at(20.0))
    say.dead_letters(batch_of(11), at(20.0))
    assert len(caplog.records) == 1

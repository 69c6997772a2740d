"""An operator's look at checkpoints, on a store in memory: what came and what did not, what is damaged."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Callable

import pytest

from eventsrc.codec.blocks import build_blocks, entry
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.snapshot import DamagedCheckpoint, StoredCheckpoint
from eventsrc.runtime.checkpoint_care import Verdict, ask, kept_of, verify, wait_for
from eventsrc.testing.memory_snapshots import MemoryDatabase, MemorySnapshots
from tests.conformance.test_snapshot_store import KEY, OTHER, committed


class Clock:
    """Time passes when somebody sleeps, and then things happen."""

    def __init__(self, *then: Callable[[], object]) -> None:
        self.now = 0.0
        self.then = list(then)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.then:
            self.then.pop(0)()


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


@pytest.fixture
def store(database: MemoryDatabase) -> MemorySnapshots:
    made = MemorySnapshots(database)
    made.claim(KEY, 5, "topic-1")
    return made


def waited(
    store: MemorySnapshots, clock: Clock, hopeless: tuple[PartitionKey, ...] = ()
) -> tuple[list[PartitionKey], list[PartitionKey], str | None]:
    """Came, waiting, failure."""
    asked = ask(store, [KEY, OTHER])
    told: list[PartitionKey] = []
    wait_for(store, asked, 5.0, clock, clock.sleep, lambda key, taken: told.append(key), hopeless)
    assert told == list(asked.came)
    return told, list(asked.waiting), asked.failure


def test_only_what_is_taken_after_it_was_asked_for_counts(store: MemorySnapshots) -> None:
    before = committed(store)
    clock = Clock(lambda: None, lambda: committed(store, before, position=20))
    assert waited(store, clock) == ([KEY], [OTHER], None)
    assert clock.now >= 5.0


def test_nobody_waits_for_the_hopeless(store: MemorySnapshots) -> None:
    clock = Clock(lambda: committed(store))
    assert waited(store, clock, (OTHER,)) == ([KEY], [OTHER], None)
    assert clock.now < 1.0
    assert waited(store, Clock(), (KEY, OTHER)) == ([], [KEY, OTHER], None)


def test_a_store_that_goes_away_is_asked_again(store: MemorySnapshots, database: MemoryDatabase) -> None:
    def away() -> None:
        database.available = False

    def back() -> None:
        database.available = True
        committed(store)

    assert waited(store, Clock(away, lambda: None, back), (OTHER,))[0] == [KEY]
    came, waiting, failure = waited(store, Clock(away))
    assert (came, waiting, failure) == ([], [KEY, OTHER], "the database is away")


def verdicts(store: MemorySnapshots) -> dict[uuid.UUID, Verdict]:
    return {each.id: each for each in verify(store, [KEY, OTHER])}


def test_sound_checkpoints_are_sound(store: MemorySnapshots) -> None:
    first = committed(store)
    second = committed(store, first, position=20)
    assert [each.id for each in kept_of(store, [KEY])[0].checkpoints] == [second.id, first.id]
    found = verdicts(store)
    assert [(each.damage, each.instead) for each in found.values()] == [(None, None)] * 2
    assert [found[each.id].is_head for each in (first, second)] == [False, True]


def damage_row(database: MemoryDatabase, second: StoredCheckpoint) -> None:
    database.checkpoints[KEY][second.id] = DamagedCheckpoint(second.id, "its hash is wrong")


def delete_segment(database: MemoryDatabase, second: StoredCheckpoint) -> None:
    del database.segments[second.runs[-1][0].id]


def flip_byte(database: MemoryDatabase, second: StoredCheckpoint) -> None:
    row = database.segments[second.runs[-1][0].id]
    row.block = row.block[:-1] + bytes([row.block[-1] ^ 1])


def swap_segments(database: MemoryDatabase, second: StoredCheckpoint) -> None:
    run = second.runs[-1]
    runs = (*second.runs[:-1], (run[1], run[0], *run[2:]))
    database.checkpoints[KEY][second.id] = StoredCheckpoint(second.id, second.checkpoint, runs, second.taken_at)


def other_states(database: MemoryDatabase, second: StoredCheckpoint) -> None:
    """A sound block with a right CRC, which is not the one that the manifest describes."""
    (block,) = build_blocks([(b"x", entry(1, b"", b""))])
    segment = second.runs[-1][0]
    database.segments[segment.id].block = block

    wrong = segment._replace(size_bytes=len(block), crc=zlib.crc32(block))
    runs = (*second.runs[:-1], (wrong, *second.runs[-1][1:]))
    database.checkpoints[KEY][second.id] = StoredCheckpoint(second.id, second.checkpoint, runs, second.taken_at)


@pytest.mark.parametrize("spoil", [damage_row, delete_segment, flip_byte, swap_segments, other_states])
def test_damage_is_found_and_the_next_sound_one_named(
    spoil: Callable[[MemoryDatabase, StoredCheckpoint], None], store: MemorySnapshots, database: MemoryDatabase
) -> None:
    first = committed(store)
    second = committed(store, first, position=20)
    spoil(database, second)
    found = verdicts(store)
    assert found[first.id].damage is None
    assert found[second.id].damage
    assert found[second.id].instead == first.id
    assert found[second.id].is_head


def test_what_all_share_spoils_all_and_the_log_is_left(store: MemorySnapshots, database: MemoryDatabase) -> None:
    first = committed(store)
    second = committed(store, first, position=20)
    del database.segments[first.runs[0][0].id]
    found = verdicts(store)
    assert {each.instead for each in found.values()} == {None}
    assert all(each.damage and "missing" in each.damage for each in found.values())
    assert set(found) == {first.id, second.id}


def test_a_head_whose_row_is_gone_is_damage(store: MemorySnapshots, database: MemoryDatabase) -> None:
    first = committed(store)
    second = committed(store, first, position=20)
    del database.checkpoints[KEY][second.id]
    found = verdicts(store)
    assert found[second.id].damage == "the head names it, and its row is missing"
    assert found[second.id].instead == first.id

"""The two snapshot threads around a store: what they answer to each effect, whatever the store does."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventsrc.codec.blocks import build_blocks, entry_sequence
from eventsrc.engine.effects import (
    CheckpointFailed,
    CheckpointRequested,
    CheckpointWritten,
    Input,
    LoadSnapshot,
    SnapshotClaimRefused,
    SnapshotLoaded,
    SnapshotPartRead,
    WriteCheckpoint,
)
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import SnapshotsUnavailable, SnapshotSuperseded
from eventsrc.model.snapshot import DamagedCheckpoint, FoldedBy, Head, Listed, Run, StoredCheckpoint
from eventsrc.runtime import snapshot_threads
from eventsrc.runtime.snapshot_calls import CheckpointWriting, load, read_states
from eventsrc.runtime.snapshot_threads import SnapshotThreads
from eventsrc.testing.memory_snapshots import MemoryDatabase, MemorySnapshots
from tests.unit.engine.stored import FOLDED_BY, TOPICS, account_entry, checkpoint_at, some_anchor

KEY = PartitionKey("account", 0)
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Bench:
    """One writer, on the test's own thread, over a database in memory. `told`: its answers."""

    database: MemoryDatabase = field(init=False)
    store: MemorySnapshots = field(init=False)
    told: list[Input] = field(default_factory=list)
    now: datetime = START
    writing: CheckpointWriting = field(init=False)
    attempt: int = 0

    def __post_init__(self) -> None:
        self.database = MemoryDatabase(lambda: self.now)
        self.use(MemorySnapshots(self.database))
        self.store.claim(KEY, 0, TOPICS.events)

    def use(self, store: Any) -> None:
        self.store = store
        self.writing = CheckpointWriting(lambda: self.store, self.told.append, lambda: self.now, self._monotonic_s)

    def _monotonic_s(self) -> float:
        return (self.now - START).total_seconds()

    def asked(self, position: int, extends: StoredCheckpoint | None = None, **changed: Any) -> WriteCheckpoint:
        """Of one account, whose balance is the position."""
        self.attempt += 1
        states = changed.pop("states", {b"a": account_entry(position, position)})
        usual = {
            "head": extends.id if extends is not None else None,
            "claimed": True,
            "covers_all": False,
            "checkpoint": checkpoint_at(some_anchor(position - 1), term=changed.pop("term", 0)),
        }
        return WriteCheckpoint(
            partition=KEY,
            attempt=self.attempt,
            entries=list(states.items()),
            extends=extends,
            **{**usual, **changed},
        )

    def write(self, position: int, extends: StoredCheckpoint | None = None, **changed: Any) -> StoredCheckpoint:
        """Asserts that it was written; returns what it is now, merged or not."""
        before = len(self.told)
        self.writing.serve(self.asked(position, extends, **changed))
        answers = self.told[before:]
        assert isinstance(answers[0], CheckpointWritten), answers
        last = answers[-1]
        assert isinstance(last, CheckpointWritten)
        return last.stored

    def refused(self, asked: WriteCheckpoint) -> CheckpointFailed:
        before = len(self.told)
        self.writing.serve(asked)
        (answer,) = self.told[before:]
        assert isinstance(answer, CheckpointFailed)
        return answer

    def loaded(self, term: int = 9, folded_by: FoldedBy = FOLDED_BY) -> SnapshotLoaded:
        found = load(self.store, LoadSnapshot(KEY, 1, term, TOPICS, folded_by))
        assert isinstance(found, SnapshotLoaded)
        return found

    def states(self, stored: StoredCheckpoint) -> dict[bytes, int]:
        """Sequences by id."""
        return {key: entry_sequence(encoded) for key, encoded in read_states(self.store, stored)}

    def head(self) -> uuid.UUID | None:
        return self.store.heads([KEY])[KEY].checkpoint


@pytest.fixture
def bench() -> Bench:
    return Bench()


def accounts(count: int, sequence: int = 1) -> dict[bytes, bytes]:
    return {b"a%d" % number: account_entry(sequence, number) for number in range(count)}


# ---- loading


def test_a_partition_without_checkpoints_is_claimed_and_has_nothing(bench: Bench) -> None:
    found = bench.loaded()
    assert (found.checkpoint, found.states, found.head, found.claimed, found.refused, found.problem) == (
        None, None, None, True, (), None,
    )  # fmt: skip
    assert bench.store.heads([KEY])[KEY].term == 9


def test_the_newest_checkpoint_is_loaded_with_all_its_states(bench: Bench) -> None:
    first = bench.write(2, states=accounts(3))
    second = bench.write(3, first, states={b"a1": account_entry(2, 50)})
    found = bench.loaded()
    assert found.checkpoint is not None
    assert (found.checkpoint.id, found.head, found.refused) == (second.id, second.id, ())
    assert found.states is not None
    assert {key: entry_sequence(each) for key, each in found.states} == {b"a0": 1, b"a1": 2, b"a2": 1}


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("row", "its hash is wrong"),
        ("version", "it was folded by version 2 of the aggregate"),
        ("topic", "it is of another events topic"),
        ("segment gone", "is missing"),
        ("segment changed", "has other bytes than were written"),
    ],
)
def test_an_older_one_takes_the_place_of_one_that_cannot_be_used_and_it_is_said(
    bench: Bench, harm: str, words: str
) -> None:
    first = bench.write(2, states=accounts(50))
    second = bench.write(3, first, states={b"a1": account_entry(2, 1)})
    rows = bench.database.checkpoints[KEY]
    number = second.runs[-1][0].id
    said = second.checkpoint
    match harm:
        case "row":
            rows[second.id] = DamagedCheckpoint(second.id, "its hash is wrong")
        case "version":
            later = replace(said, folded_by=FoldedBy(2, FOLDED_BY.state_fingerprint))
            rows[second.id] = replace(second, checkpoint=later)
        case "topic":
            rows[second.id] = replace(second, checkpoint=replace(said, events_topic_id="other"))
        case "segment gone":
            del bench.database.segments[number]
        case _:
            row = bench.database.segments[number]
            row.block = row.block[:-1] + bytes([row.block[-1] ^ 1])
    found = bench.loaded()
    assert found.checkpoint is not None
    assert (found.checkpoint.id, found.head, found.claimed) == (first.id, second.id, True)
    (line,) = found.refused
    assert words in line
    assert str(second.id) in line


def test_a_later_owner_refuses_the_claim(bench: Bench) -> None:
    bench.store.claim(KEY, 12, TOPICS.events)
    found = load(bench.store, LoadSnapshot(KEY, 1, 9, TOPICS, FOLDED_BY))
    assert isinstance(found, SnapshotClaimRefused)
    assert "later term" in found.reason


def test_a_later_owner_that_came_after_our_claim_refuses_it_too(bench: Bench) -> None:
    """A worker that was stopped between the two calls must not take that owner's checkpoint for a truncated topic."""

    class StoppedAfterTheClaim(MemorySnapshots):
        def listed(self, key: PartitionKey) -> Sequence[Listed]:
            later = Bench()
            later.database, later.store = bench.database, MemorySnapshots(bench.database)
            later.store.claim(KEY, 20, TOPICS.events)
            later.write(30, term=20)
            return super().listed(key)

    found = load(StoppedAfterTheClaim(bench.database), LoadSnapshot(KEY, 1, 9, TOPICS, FOLDED_BY))
    assert isinstance(found, SnapshotClaimRefused)
    assert "20" in found.reason


# ---- writing


def test_a_full_checkpoint_and_one_that_extends_it(bench: Bench) -> None:
    first = bench.write(2, states=accounts(40))
    second = bench.write(3, first, states={b"a1": account_entry(2, 1), b"b": account_entry(1, 1)})
    assert second.runs[:1] == first.runs
    assert bench.states(second) == {**dict.fromkeys(accounts(40), 1), b"a1": 2, b"b": 1}
    assert bench.head() == second.id
    assert [type(each) for each in bench.told] == [CheckpointWritten, CheckpointWritten]


def test_one_without_a_change_names_the_same_segments(bench: Bench) -> None:
    first = bench.write(2, states=accounts(4))
    assert bench.write(3, first, states={}).runs == first.runs


def test_one_that_covers_all_leaves_the_older_runs_behind(bench: Bench) -> None:
    first = bench.write(2, states=accounts(4))
    second = bench.write(3, first, states=accounts(4, 2), covers_all=True)
    assert len(second.runs) == 1
    assert bench.states(second) == dict.fromkeys(accounts(4), 2)


def test_an_empty_partition_has_a_checkpoint_without_segments(bench: Bench) -> None:
    assert bench.write(2, states={}, covers_all=True).runs == ()
    assert bench.loaded().checkpoint is not None


def test_one_that_was_not_claimed_claims_first_and_goes_over_whatever_is_the_head(bench: Bench) -> None:
    bench.write(2)
    full = bench.write(9, term=7, claimed=False)
    assert (bench.head(), bench.store.heads([KEY])[KEY].term) == (full.id, 7)


def test_an_older_one_is_extended_over_the_newer_head(bench: Bench) -> None:
    first = bench.write(2, states=accounts(40))
    second = bench.write(3, first, states={b"a1": account_entry(2, 1)})
    third = bench.write(4, first, states={b"a2": account_entry(3, 1)}, head=second.id)
    assert bench.states(third) == {**dict.fromkeys(accounts(40), 1), b"a2": 3}


def test_a_deposed_owners_is_void(bench: Bench) -> None:
    """Row 47, prevention."""
    first = bench.write(2)
    bench.store.claim(KEY, 5, TOPICS.events)
    answer = bench.refused(bench.asked(3, first))
    assert (answer.attempt, answer.superseded) == (2, True)
    assert bench.head() == first.id
    assert bench.refused(bench.asked(3, term=0, claimed=False)).superseded


def test_reproduction_without_the_guard_of_terms_a_deposed_owner_moves_the_head(bench: Bench) -> None:
    """And the new owner's own next one is void."""

    class Unguarded(MemorySnapshots):
        def commit(self, key: PartitionKey, stored: StoredCheckpoint, base: uuid.UUID | None) -> None:
            bench.database.heads[key].term = stored.checkpoint.term
            super().commit(key, stored, base)

    first = bench.write(2)
    bench.store.claim(KEY, 5, TOPICS.events)
    bench.use(Unguarded(bench.database))
    deposed = bench.write(3, first)
    assert bench.head() == deposed.id
    assert bench.refused(bench.asked(9, first, term=5)).superseded


def test_a_database_restored_from_an_older_copy_supersedes(bench: Bench) -> None:
    first = bench.write(2)
    second = bench.write(3, first)
    bench.database.heads[KEY].checkpoint = first.id
    assert bench.refused(bench.asked(4, second)).superseded


@pytest.mark.parametrize("call", ["claim", "add_segments", "commit"])
def test_a_store_that_goes_away_in_the_middle_says_so_and_writes_later(bench: Bench, call: str) -> None:
    failing: list[str] = [call]

    class Failing(MemorySnapshots):
        def claim(self, key: PartitionKey, term: int, events_topic_id: str) -> Head:
            self.fail("claim")
            return super().claim(key, term, events_topic_id)

        def add_segments(self, key: PartitionKey, term: int, blocks: Iterable[bytes]) -> Run:
            self.fail("add_segments")
            return super().add_segments(key, term, blocks)

        def commit(self, key: PartitionKey, stored: StoredCheckpoint, base: uuid.UUID | None) -> None:
            self.fail("commit")
            super().commit(key, stored, base)

        def fail(self, name: str) -> None:
            if name in failing:
                raise SnapshotsUnavailable(f"{name} failed")

    bench.use(Failing(bench.database))
    answer = bench.refused(bench.asked(2, claimed=False))
    assert (answer.superseded, answer.reason) == (False, f"{call} failed")
    failing.clear()
    bench.write(2, claimed=False)


def test_what_nobody_thought_of_fails_that_checkpoint_alone(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemorySnapshots):
        def add_segments(self, key: PartitionKey, term: int, blocks: Iterable[bytes]) -> Run:
            raise ZeroDivisionError("a bug")

    bench.use(Broken(bench.database))
    assert bench.refused(bench.asked(2)).reason == "writing it failed: a bug"
    assert "ZeroDivisionError" in caplog.text


# ---- merging


def test_many_runs_become_one_under_another_checkpoint_of_the_same_states(bench: Bench) -> None:
    stored = bench.write(2, states=accounts(200))
    for position in range(3, 12):
        stored = bench.write(position, stored, states={b"a%d" % position: account_entry(position, 1)})
    merged = [each for each in bench.told if isinstance(each, CheckpointWritten) and each.attempt is None]
    (report,) = merged
    before = next(
        each.stored for each in bench.told if isinstance(each, CheckpointWritten) and each.stored.id == report.replaces
    )
    assert (len(before.runs), len(report.stored.runs)) == (9, 2)
    assert report.stored.checkpoint == before.checkpoint
    expected = {**dict.fromkeys(accounts(200), 1), **{b"a%d" % position: position for position in range(3, 11)}}
    assert bench.states(report.stored) == expected
    assert bench.head() == stored.id


def test_a_checkpoint_asked_for_before_the_merge_was_known_extends_the_merged_one(bench: Bench) -> None:
    first = bench.write(2, states=accounts(2))
    bench.writing.serve(bench.asked(3, first, states=accounts(9, 2)))
    written, merged = bench.told[-2:]
    assert isinstance(written, CheckpointWritten)
    assert isinstance(merged, CheckpointWritten)
    assert (merged.attempt, merged.replaces, bench.head()) == (None, written.stored.id, merged.stored.id)
    third = bench.write(4, written.stored, states={b"b": account_entry(4, 1)})
    assert third.runs[0] == merged.stored.runs[0]
    assert bench.states(third) == {**dict.fromkeys(accounts(9), 2), b"b": 4}


def test_reproduction_without_the_translation_of_heads_it_would_be_void(bench: Bench) -> None:
    first = bench.write(2, states=accounts(2))
    bench.writing.serve(bench.asked(3, first, states=accounts(9, 2)))
    written = bench.told[-2]
    assert isinstance(written, CheckpointWritten)
    bench.writing._merged.clear()
    assert bench.refused(bench.asked(4, written.stored)).superseded


def test_a_full_one_goes_over_the_merged_head_too(bench: Bench) -> None:
    first = bench.write(2, states=accounts(2))
    bench.writing.serve(bench.asked(3, first, states=accounts(9, 2)))
    written = bench.told[-2]
    assert isinstance(written, CheckpointWritten)
    full = bench.write(4, None, head=written.stored.id, states=accounts(9, 3))
    assert (len(full.runs), bench.head()) == (1, full.id)


def test_damage_found_while_merging_is_reported_and_the_next_can_be_full(bench: Bench) -> None:
    first = bench.write(2, states=accounts(2))
    del bench.database.segments[first.runs[0][0].id]
    bench.writing.serve(bench.asked(3, first, states=accounts(9, 2)))
    written, damaged = bench.told[-2:]
    assert isinstance(written, CheckpointWritten)
    assert isinstance(damaged, CheckpointFailed)
    assert damaged.attempt is None
    full = bench.write(4, None, head=written.stored.id, states=accounts(9, 3))
    assert bench.loaded().checkpoint is not None
    assert bench.head() == full.id


# ---- thinning, requests


def test_old_checkpoints_are_thinned_and_their_segments_go_with_them(bench: Bench) -> None:
    stored = bench.write(2, states=accounts(3))
    for position in range(3, 9):
        bench.now += timedelta(minutes=30)
        stored = bench.write(position, states=accounts(3, position), head=stored.id)
    kept = [each.checkpoint.position for each in bench.store.checkpoints(KEY) if isinstance(each, StoredCheckpoint)]
    assert kept[:3] == [8, 7, 6]
    assert set(kept) < set(range(2, 9))
    named = {
        each.id
        for one in bench.store.checkpoints(KEY)
        if isinstance(one, StoredCheckpoint)
        for run in one.runs
        for each in run
    }
    assert set(bench.database.segments) == named


def test_one_row_of_the_future_makes_no_other_too_old_to_keep(bench: Bench) -> None:
    now, bench.now = bench.now, bench.now + timedelta(days=5000)
    stored = bench.write(2, states=accounts(3))
    bench.now = now
    bench.use(MemorySnapshots(bench.database))
    for position in range(3, 9):
        bench.now += timedelta(minutes=2)
        stored = bench.write(position, states=accounts(3, position), head=stored.id)
    kept = [each.checkpoint.position for each in bench.store.checkpoints(KEY) if isinstance(each, StoredCheckpoint)]
    assert sorted(kept) == list(range(2, 9))


def test_thinning_waits_a_minute(bench: Bench) -> None:
    collected: list[Collection[uuid.UUID]] = []

    class Counting(MemorySnapshots):
        def collect(self, key: PartitionKey, term: int, keep: Collection[uuid.UUID]) -> int:
            collected.append(keep)
            return super().collect(key, term, keep)

    bench.use(Counting(bench.database))
    stored: StoredCheckpoint | None = None
    for position, seconds in ((2, 0), (3, 30), (4, 29), (5, 1)):
        bench.now += timedelta(seconds=seconds)
        stored = bench.write(position, states=accounts(3, position), head=stored.id if stored else None)
    assert [len(each) for each in collected] == [1, 4]


def test_what_fails_after_a_checkpoint_was_written_is_no_failure_of_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(MemorySnapshots):
        def collect(self, key: PartitionKey, term: int, keep: Collection[uuid.UUID]) -> int:
            raise failures.pop()

    failures = [ZeroDivisionError("a bug"), SnapshotsUnavailable("away"), SnapshotSuperseded("another's")]
    bench.use(Broken(bench.database))
    stored: StoredCheckpoint | None = None
    for position in (2, 3, 4):
        bench.now += timedelta(minutes=2)
        stored = bench.write(position, stored, states=accounts(9))
    assert not failures
    assert "ZeroDivisionError" in caplog.text


def test_a_request_is_told_once(bench: Bench) -> None:
    bench.writing.look_for_requests({KEY})
    bench.now += timedelta(seconds=1)
    bench.store.request(KEY)
    bench.writing.look_for_requests({PartitionKey("account", 1)})
    bench.writing.look_for_requests(())
    assert bench.told == []
    for _ in range(3):
        bench.writing.look_for_requests({KEY})
    assert bench.told == [CheckpointRequested(KEY)]
    bench.now += timedelta(seconds=1)
    bench.store.request(KEY)
    bench.writing.look_for_requests({KEY})
    assert bench.told == [CheckpointRequested(KEY)] * 2


def test_looking_for_requests_survives_whatever_fails(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemorySnapshots):
        def heads(self, keys: Collection[PartitionKey]) -> Mapping[PartitionKey, Head]:
            raise failures.pop()

    failures = [ZeroDivisionError("a bug"), SnapshotsUnavailable("away")]
    bench.use(Broken(bench.database))
    bench.writing.look_for_requests({KEY})
    bench.writing.look_for_requests({KEY})
    assert not failures
    assert "ZeroDivisionError" in caplog.text


# ---- the threads themselves


@pytest.fixture
def inbox() -> queue.SimpleQueue[Input]:
    return queue.SimpleQueue()


@pytest.fixture
def threads(
    bench: Bench, inbox: queue.SimpleQueue[Input], monkeypatch: pytest.MonkeyPatch
) -> Iterator[SnapshotThreads]:
    monkeypatch.setattr(snapshot_threads, "LOOK_FOR_REQUESTS_S", 0.02)
    made = SnapshotThreads(lambda: MemorySnapshots(bench.database), inbox.put)
    yield made
    made.close(30.0)
    assert not made._loader.thread.is_alive()
    assert not made._writer.thread.is_alive()


def test_the_threads_answer_loads_and_writes_and_requests(
    bench: Bench, inbox: queue.SimpleQueue[Input], threads: SnapshotThreads
) -> None:
    threads.load(LoadSnapshot(KEY, 4, 9, TOPICS, FOLDED_BY))
    loaded = inbox.get(timeout=30)
    assert isinstance(loaded, SnapshotLoaded)
    assert (loaded.attempt, loaded.claimed) == (4, True)
    threads.write(bench.asked(12, term=9))
    written = inbox.get(timeout=30)
    assert isinstance(written, CheckpointWritten)
    assert bench.head() == written.stored.id
    bench.store.request(KEY)
    assert inbox.get(timeout=30) == CheckpointRequested(KEY)
    threads.forget(KEY)
    bench.now += timedelta(seconds=1)
    bench.store.request(KEY)
    threads.write(bench.asked(13, written.stored, term=9))
    assert isinstance(inbox.get(timeout=30), CheckpointWritten)


def test_a_load_that_takes_long_says_that_it_goes_on(
    bench: Bench, inbox: queue.SimpleQueue[Input], threads: SnapshotThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_threads, "TELL_OF_LOADING_S", 0.0)
    bench.write(12)
    threads.load(LoadSnapshot(KEY, 4, 9, TOPICS, FOLDED_BY))
    assert inbox.get(timeout=30) == SnapshotPartRead()
    assert isinstance(inbox.get(timeout=30), SnapshotLoaded)


def test_a_load_of_a_partition_that_has_left_holds_no_other_up(bench: Bench, inbox: queue.SimpleQueue[Input]) -> None:
    opening = threading.Event()

    def open_store() -> MemorySnapshots:
        opening.wait(30)
        return MemorySnapshots(bench.database)

    threads = SnapshotThreads(open_store, inbox.put)
    try:
        for number in range(3):
            threads.load(LoadSnapshot(PartitionKey("account", number), number, 9, TOPICS, FOLDED_BY))
        threads.forget(PartitionKey("account", 1))
        threads.load(LoadSnapshot(PartitionKey("account", 2), 4, 9, TOPICS, FOLDED_BY))
        opening.set()
        answered = [inbox.get(timeout=30) for _ in range(2)]
    finally:
        threads.close(30.0)
    assert [each.attempt for each in answered if isinstance(each, SnapshotLoaded)] == [0, 4]
    assert inbox.empty()


def test_a_database_that_is_away_is_answered_and_found_again(
    bench: Bench, inbox: queue.SimpleQueue[Input], threads: SnapshotThreads
) -> None:
    bench.database.available = False
    threads.load(LoadSnapshot(KEY, 4, 9, TOPICS, FOLDED_BY))
    loaded = inbox.get(timeout=30)
    assert isinstance(loaded, SnapshotLoaded)
    assert (loaded.checkpoint, loaded.claimed, loaded.problem) == (None, False, "the database is away")
    threads.write(bench.asked(12, term=9, claimed=False))
    assert isinstance(inbox.get(timeout=30), CheckpointFailed)
    bench.database.available = True
    threads.write(bench.asked(12, term=9, claimed=False))
    assert isinstance(inbox.get(timeout=30), CheckpointWritten)


@pytest.mark.parametrize("failure", [SnapshotsUnavailable("no route"), ZeroDivisionError("a bug")])
def test_a_store_that_cannot_be_opened_is_tried_again(
    bench: Bench, inbox: queue.SimpleQueue[Input], failure: Exception
) -> None:
    away = [True]

    def open_store() -> MemorySnapshots:
        if away:
            raise failure
        return MemorySnapshots(bench.database)

    threads = SnapshotThreads(open_store, inbox.put)
    try:
        threads.load(LoadSnapshot(KEY, 4, 9, TOPICS, FOLDED_BY))
        loaded = inbox.get(timeout=30)
        assert isinstance(loaded, SnapshotLoaded)
        assert str(failure) in (loaded.problem or "")
        threads.write(bench.asked(12, term=9, claimed=False))
        assert isinstance(inbox.get(timeout=30), CheckpointFailed)
        away.clear()
        threads.write(bench.asked(12, term=9, claimed=False))
        assert isinstance(inbox.get(timeout=30), CheckpointWritten)
        threads.load(LoadSnapshot(KEY, 5, 10, TOPICS, FOLDED_BY))
        again = inbox.get(timeout=30)
        assert isinstance(again, SnapshotLoaded)
        assert again.checkpoint is not None
    finally:
        threads.close(30.0)


def test_a_damaged_block_never_gets_into_states(bench: Bench) -> None:
    """Its CRC is that of its manifest, and yet it is no block: a store must not be able to crash a recovery."""
    stored = bench.write(2, states=accounts(3))
    segment = stored.runs[0][0]
    row = bench.database.segments[segment.id]
    row.block = next(iter(build_blocks(accounts(4).items())))
    found = bench.loaded()
    assert (found.checkpoint, found.problem) == (None, None)
    assert str(stored.id) in found.refused[0]

"""What `status` makes of its sources, and how it says it: pure, with sources that may be away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from eventsrc import Pipeline, apply, handle
from eventsrc.adapters.kafka.group_offsets import GroupOffsets, PartitionOffsets
from eventsrc.cli.status import exit_code
from eventsrc.cli.status_text import duration_text, size_text, status_json, status_text
from eventsrc.engine.notes import Note
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.report import CheckpointReport, PartitionReport, RecoveryProgress, WorkerReport
from eventsrc.errors import SnapshotsUnavailable, TopicsInvalid, Unreachable
from eventsrc.model.snapshot import DamagedCheckpoint
from eventsrc.runtime.group_status import GroupStatus, NewestCheckpoint, Told, look, newest_checkpoints, put_together
from eventsrc.runtime.status_file import UnreadableStatus, WorkerStatus
from eventsrc.testing.memory_snapshots import MemoryDatabase, MemorySnapshots
from tests.conformance.test_snapshot_store import committed

NOW_US = 1_000_000_000_000
KEYS = [PartitionKey("account", number) for number in range(4)]


def bank() -> Pipeline:
    pipeline = Pipeline("bank", partitions=4, recovery_time_objective="2s")

    @pipeline.command
    class Deposit:
        amount: int

    @pipeline.event
    class Deposited:
        amount: int

    @pipeline.aggregate
    class Account:
        balance: int = 0

        @handle
        def deposit(self, command: Deposit) -> Deposited:
            return Deposited(command.amount)

        @apply
        def deposited(self, event: Deposited) -> None:
            self.balance += event.amount

    return pipeline


PIPELINE = bank()


def offsets(events: int = 1000, members: frozenset[str] | None = frozenset({"a-0"})) -> GroupOffsets:
    note = Note("a-0", "bank-a-0", 5)
    return GroupOffsets(dict.fromkeys(KEYS, PartitionOffsets(90, note, 0, 100, 0, events)), members)


def said(key: PartitionKey, phase: str = "open", **changed: Any) -> PartitionReport:
    opened = PartitionReport(
        key, phase, None, 95, 1000, 50, 400, CheckpointReport(600, NOW_US - 12_000_000, 41_000, 50), 0.1, None
    )
    return opened._replace(**changed)


def worker(*partitions: PartitionReport, alive: bool = True, **changed: Any) -> WorkerStatus:
    report = WorkerReport("a-0", NOW_US - 500_000, 0.7, 2.0, None, None, partitions)
    return WorkerStatus(report._replace(**changed), 1, alive)


def status(
    told_offsets: GroupOffsets | None,
    *statuses: WorkerStatus | UnreadableStatus,
    checkpoints: Mapping[PartitionKey, NewestCheckpoint] | None = None,
    **problems: str,
) -> GroupStatus:
    return put_together(PIPELINE, Told(told_offsets, statuses, checkpoints, problems), NOW_US)


STORED = NewestCheckpoint("id", 600, NOW_US - 48_000_000, 41_000, 50)


def test_an_open_partition_is_as_its_worker_says() -> None:
    found = status(offsets(), worker(*map(said, KEYS)))
    first = found.partitions[0]
    assert (first.owner, first.owner_known_by, first.phase) == ("a-0", "worker", "open")
    assert (first.position, first.lag, first.tail) == (90, 10, 400)
    assert first.checkpoint == NewestCheckpoint(None, 600, NOW_US - 12_000_000, 41_000, 50)
    assert first.recovery_s == pytest.approx(0.7)
    assert [(owner.instance, owner.partitions, owner.recovery_s) for owner in found.owners] == [("a-0", 4, 0.7)]
    assert (exit_code(found), found.objective_held) == (0, True)
    text = status_text(found).splitlines()
    assert " ".join(text[1].split()) == "account/0 a-0 open 90 10 12 s ago, 41 kB 0.7 s / 2 s"
    assert text[5] == "  a-0: 4 partitions, recovery 0.7 s / 2 s"


def test_without_a_worker_here_the_rest_is_predicted_with_defaults() -> None:
    found = status(offsets(events=80_000), checkpoints={KEYS[0]: STORED})
    first, second, *_ = found.partitions
    assert (first.owner, first.owner_known_by, first.tail) == ("a-0", "group", 79_400)
    assert (second.checkpoint, second.tail) == (None, 80_000)
    assert second.recovery_s == pytest.approx(2.6)
    (owner,) = found.owners
    assert (owner.instance, owner.measured) == ("a-0", False)
    assert owner.recovery_s == pytest.approx(0.6 + 79_400 / 40_000 + 3 * 2.0, abs=0.01)
    assert exit_code(found) == 1
    text = status_text(found)
    assert "by defaults   NOT MET: account/1 has no checkpoint, and 80,000 events" in text
    assert "no worker runs on this host, in this state directory; in the group: a-0" in text


@pytest.mark.parametrize(
    ("members", "words"), [(frozenset(), "none (last a-0)"), (None, "a-0?"), (frozenset({"b"}), "none (last a-0)")]
)
def test_an_owner_that_left_is_named_as_such(members: frozenset[str] | None, words: str) -> None:
    found = status(offsets(members=members))
    assert found.partitions[0].owner_known_by is None
    assert words in status_text(found)


@pytest.mark.parametrize(
    ("members", "silent_s", "phase"),
    [(frozenset({"b"}), 40, None), (frozenset({"b"}), 5, "open"), (frozenset({"a-0"}), 40, "open"), (None, 40, "open")],
)
def test_a_stuck_worker_that_the_group_has_no_more_owns_nothing(
    members: frozenset[str] | None, silent_s: int, phase: str | None
) -> None:
    found = status(offsets(members=members), worker(*map(said, KEYS), at_us=NOW_US - silent_s * 1_000_000))
    assert {each.phase for each in found.partitions} == {phase}
    assert ("said nothing" in status_text(found)) == (silent_s > 10)


def test_what_a_dead_worker_left_counts_for_nothing() -> None:
    found = status(offsets(), worker(*map(said, KEYS), alive=False))
    assert {each.phase for each in found.partitions} == {None}
    assert [owner.measured for owner in found.owners] == [False]


def test_of_two_workers_that_name_a_partition_the_later_word_counts() -> None:
    late = worker(said(KEYS[0], commands_position=99), instance="b-0", at_us=NOW_US)
    assert status(offsets(), late, worker(*map(said, KEYS))).partitions[0].owner == "b-0"


def test_a_halted_partition_fails_and_names_the_next_command() -> None:
    reason = "the log was truncated: eventsrc checkpoint discard"
    halted = said(KEYS[2], "halted", reason=reason, commands_position=None, checkpoint=None, tail=0)
    found = status(offsets(), worker(halted), checkpoints={KEYS[2]: STORED})
    each = found.partitions[2]
    assert (each.halted, each.checkpoint, each.tail) == (True, STORED, 400)
    assert exit_code(found) == 1
    text = status_text(found, "app:pipeline")
    assert "HALTED" in text
    assert f"account/2 is halted: {reason}" in text
    assert "next: eventsrc checkpoint discard app:pipeline --aggregate account --partition 2" in text

    other = said(KEYS[2], "halted", reason="sequence 3 stands twice", commands_position=None)
    text = status_text(status(offsets(), worker(other)), "app:pipeline")
    assert "next: eventsrc fsck app:pipeline --partition account/2; mend it as it says, then restart" in text


def test_a_recovery_shows_how_far_it_is_and_a_wait_why() -> None:
    progress = RecoveryProgress(4000, 1000, 1500.0, 2.0)
    reading = said(KEYS[0], "reading", recovery=progress, commands_position=None)
    waiting = said(KEYS[1], "waiting", reason="the command at offset 7 is of a schema not known here")
    text = status_text(status(offsets(), worker(reading, waiting)))
    assert "account/0 recovers: 1,000 of 4,000 offsets (25%), 1,500/s, 2.0 s left" in text
    assert "account/1 is waiting: the command at offset 7 is of a schema not known here" in text


def test_where_no_event_is_left_to_read_the_states_are_what_takes_long() -> None:
    found = status(offsets(), worker(*(said(key, tail=0) for key in KEYS), predicted_recovery_s=3.6))
    assert "3.6 s / 2 s   NOT MET: account/0 has 41 kB of states to load" in status_text(found)


def test_a_store_that_is_away_is_the_reason_why_the_objective_is_not_met() -> None:
    away: dict[str, Any] = {
        "snapshots": "Postgres refuses connections",
        "snapshots_failing_since_us": NOW_US - 180_000_000,
    }
    found = status(offsets(), worker(*map(said, KEYS), predicted_recovery_s=5.1, **away), postgres="it is away")
    assert "5.1 s / 2 s   NOT MET: Postgres refuses connections, for 3 min" in status_text(found)
    assert "postgres: it is away" in status_text(found)
    assert status_json(found)["workers"][0]["not_met_because"] == "Postgres refuses connections, for 3 min"
    held = status(offsets(), worker(*map(said, KEYS), **away), postgres="it is away")
    assert exit_code(held) == 3


def test_with_kafka_away_the_workers_and_the_store_still_speak() -> None:
    found = status(None, worker(said(KEYS[0])), checkpoints={KEYS[0]: STORED}, kafka="no answer")
    assert [each.lag for each in found.partitions] == [None] * 4
    assert (found.partitions[0].position, found.partitions[0].checkpoint) == (95, STORED)
    assert exit_code(found) == 3
    assert "kafka: no answer" in status_text(found)


def test_a_checkpoint_that_the_store_has_no_more_is_not_shown() -> None:
    found = status(offsets(), worker(*map(said, KEYS)), checkpoints={})
    assert (found.partitions[0].checkpoint, found.partitions[0].tail) == (None, 1000)


def test_a_silent_worker_and_an_unreadable_status_are_told() -> None:
    stuck = worker(said(KEYS[0]), at_us=NOW_US - 40_000_000)
    text = status_text(status(offsets(), stuck, UnreadableStatus(Path("s.json"), "another version")))
    assert "a-0: runs, and has said nothing for 40 s" in text
    assert "note: s.json: another version" in text


def test_the_json_has_the_same_facts() -> None:
    shown = json.loads(
        json.dumps(status_json(status(offsets(), worker(*map(said, KEYS)), checkpoints={KEYS[0]: STORED})))
    )
    assert shown["objective_held"]
    assert shown["partitions"][0] == {
        "aggregate": "account", "partition": 0, "owner": "a-0", "owner_known_by": "worker", "phase": "open",
        "reason": None, "code": None, "position": 90, "lag": 10, "events_start": 0, "events_end": 1000, "tail": 400,
        "checkpoint": {
            "id": "id", "position": 600, "size_bytes": 41_000, "states": 50, "taken_at": "1970-01-12T13:45:52Z",
            "age_s": 48.0,
        },
        "recovery_s": 0.7, "recovery": None,
    }  # fmt: skip


class Answers:
    def __init__(self, answer: GroupOffsets | Exception) -> None:
        self.answer = answer

    def read(self) -> GroupOffsets:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_each_source_may_be_away() -> None:
    database = MemoryDatabase(available=False)
    told = look(Answers(Unreachable("k")), [], MemorySnapshots(database), KEYS)
    assert told == Told(None, [], None, {"kafka": "k", "postgres": "the database is away"})
    assert look(Unreachable("none"), [], None, KEYS) == Told(None, [], None, {"kafka": "none"})
    missing = look(Answers(TopicsInvalid("t", ["x: missing"])), [], None, KEYS)
    assert missing.problems == {"topics": "x: missing"}
    assert exit_code(put_together(PIPELINE, missing, NOW_US)) == 1
    assert look(Answers(offsets()), [], None, KEYS).offsets == offsets()


def test_the_newest_sound_checkpoint_is_shown() -> None:
    database = MemoryDatabase()
    store = MemorySnapshots(database)
    key = PartitionKey("account", 3)
    assert newest_checkpoints(store, [key]) == {}
    store.claim(key, 5, "topic-1")
    assert newest_checkpoints(store, [key]) == {}
    first = committed(store)
    second = committed(store, first, position=20)
    assert newest_checkpoints(store, [key])[key].id == str(second.id)
    database.checkpoints[key][second.id] = DamagedCheckpoint(second.id, "its hash is wrong")
    assert newest_checkpoints(store, [key])[key].id == str(first.id)
    database.available = False
    with pytest.raises(SnapshotsUnavailable):
        newest_checkpoints(store, [key])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.44, "0.4 s"), (12, "12 s"), (60, "1 min"), (200, "3 min"), (7300, "2 h"), (172_800, "2 d")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (812, "812 B"), (41_000, "41 kB"), (3.2e6, "3.2 MB")])
def test_sizes_are_short(size: float, text: str) -> None:
    assert size_text(size) == text

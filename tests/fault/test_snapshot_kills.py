"""Rows 6, 10 and 47: a writer of checkpoints is killed at every statement, or stopped in its transaction."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import psycopg
import pytest

from eventsrc.adapters.postgres.store import PostgresSnapshots
from eventsrc.adapters.postgres.upgrading import upgrade
from eventsrc.codec.blocks import Block, StoredRuns, build_blocks
from eventsrc.errors import SnapshotsUnavailable
from eventsrc.faultpoints import SNAPSHOT_POINTS
from eventsrc.model.snapshot import StoredCheckpoint
from tests.fault import snapshot_writer as writer
from tests.fault.snapshot_writer import OLD_TERM, PIPELINE, TERM, TOPIC, checkpoint_id, key_of
from tests.harness.collect import wait_until

LOCK_AND_IDLE_S = 5.0
COMMITTED = SNAPSHOT_POINTS.index("snapshot-after-commit-commit")
BEFORE_COMMITTED = {*SNAPSHOT_POINTS[:COMMITTED], "snapshot-mid-segments-copy"}


class Writer:
    """The process of snapshot_writer.py."""

    def __init__(self, dsn: str) -> None:
        self.child: int | None = None
        command = [sys.executable, "-m", "tests.fault.snapshot_writer", dsn]
        self._process = subprocess.Popen(
            command, cwd=Path(__file__).parents[2], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def begin(self, partition: int, fault: str) -> int:
        """Returns the child's process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{partition} {fault}\n")
        self._process.stdin.flush()
        self.child = int(self._line())
        return self.child

    def ended(self) -> int:
        """Waits for the child; its exit code, or minus the signal."""
        code = int(self._line())
        self.child = None
        return code

    def end(self) -> None:
        """Whatever the child is doing."""
        if self.child is not None:
            os.kill(self.child, signal.SIGKILL)
            self.ended()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0
        self._process.stdout.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@pytest.fixture(scope="module")
def dsn(make_database: Callable[[str], AbstractContextManager[str]]) -> Iterator[str]:
    with make_database("kills") as address:
        upgrade(address)
        yield address


@pytest.fixture(scope="module")
def _writer(dsn: str) -> Iterator[Writer]:
    with closing(Writer(dsn)) as made:
        yield made


@pytest.fixture
def a_writer(_writer: Writer) -> Iterator[Writer]:
    yield _writer
    _writer.end()


@pytest.fixture
def store(dsn: str) -> Iterator[PostgresSnapshots]:
    with closing(PostgresSnapshots(dsn, PIPELINE, "outside")) as made:
        yield made


def with_old_checkpoint(store: PostgresSnapshots, partition: int) -> None:
    """A partition's first checkpoint, and a segment that none names."""
    store.claim(key_of(partition), OLD_TERM, TOPIC)
    writer.write(store, partition, "old", OLD_TERM, None)
    store.add_segments(key_of(partition), OLD_TERM, build_blocks(writer.states_of("new").items()))


def head_of(store: PostgresSnapshots, partition: int) -> StoredCheckpoint:
    """The head's checkpoint, which must be there and whole."""
    key = key_of(partition)
    found = {each.id: each for each in store.checkpoints(key)}
    assert all(isinstance(each, StoredCheckpoint) for each in found.values())
    head = found[store.heads([key])[key].checkpoint or uuid.UUID(int=0)]
    assert isinstance(head, StoredCheckpoint)
    return head


def states_in(store: PostgresSnapshots, stored: StoredCheckpoint) -> dict[bytes, bytes]:
    return dict(StoredRuns([[Block(block) for block in store.read(run)] for run in stored.runs]))


def segment_ids(dsn: str, partition: int) -> set[uuid.UUID]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT id FROM eventsrc.segment WHERE partition = %s", [partition])
        return {row[0] for row in rows}


OLD = writer.states_of("old")
NEW = OLD | writer.states_of("new")


@pytest.mark.parametrize("partition", range(len(SNAPSHOT_POINTS)), ids=SNAPSHOT_POINTS)
def test_killed_at_a_statement_leaves_the_old_or_the_new_checkpoint(
    a_writer: Writer, store: PostgresSnapshots, dsn: str, partition: int
) -> None:
    point = SNAPSHOT_POINTS[partition]
    with_old_checkpoint(store, partition)
    a_writer.begin(partition, f"{point}:1")
    assert a_writer.ended() == -signal.SIGKILL

    expected = "old" if point in BEFORE_COMMITTED else "new"
    head = head_of(store, partition)
    assert head.id == checkpoint_id(partition, expected)
    assert states_in(store, head) == (OLD if expected == "old" else NEW)

    a_writer.begin(partition, "snapshot-before-claim:99")  # the next life, which nothing befalls
    assert a_writer.ended() == 0
    head = head_of(store, partition)
    assert head.id == checkpoint_id(partition, "new")
    assert states_in(store, head) == NEW
    assert [each.id for each in store.checkpoints(key_of(partition))] == [head.id]
    assert segment_ids(dsn, partition) == {segment.id for run in head.runs for segment in run}


@pytest.mark.parametrize("number", range(3))
def test_a_writer_stopped_while_it_holds_the_head_row_holds_its_successor_up_for_a_bounded_time(
    a_writer: Writer, store: PostgresSnapshots, number: int
) -> None:
    partition, point = 1000 + number, ("after-commit-lock", "after-commit-move", "before-collect-commit")[number]
    with_old_checkpoint(store, partition)
    child = a_writer.begin(partition, f"snapshot-{point}:1:stop")
    wait_until(lambda: _is_stopped(child), 30, f"{point} reached")
    began = time.monotonic()
    claimed = None
    while claimed is None:
        try:
            claimed = store.claim(key_of(partition), TERM + 1, TOPIC)
        except SnapshotsUnavailable:
            assert time.monotonic() - began < 2 * LOCK_AND_IDLE_S + 5
    assert time.monotonic() - began < 2 * LOCK_AND_IDLE_S + 5
    committed = "new" if point == "before-collect-commit" else "old"
    base = head_of(store, partition)
    assert claimed.checkpoint == base.id == checkpoint_id(partition, committed)
    writer.next_checkpoint(store, partition, TERM + 1, "later")
    after = head_of(store, partition)

    os.kill(child, signal.SIGCONT)
    assert a_writer.ended() in (writer.ENDED_SUPERSEDED, writer.ENDED_UNAVAILABLE)
    assert head_of(store, partition) == after
    assert states_in(store, after).keys() == OLD.keys()


def _is_stopped(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_writer_stopped_before_its_commit_is_void_after_its_successors_claim(
    a_writer: Writer, store: PostgresSnapshots
) -> None:
    partition = 2000
    with_old_checkpoint(store, partition)
    child = a_writer.begin(partition, "snapshot-before-commit-begin:1:stop")
    wait_until(lambda: _is_stopped(child), 30, "before its commit")
    store.claim(key_of(partition), TERM + 1, TOPIC)
    os.kill(child, signal.SIGCONT)
    assert a_writer.ended() == writer.ENDED_SUPERSEDED
    assert head_of(store, partition).id == checkpoint_id(partition, "old")


def test_a_writer_stopped_before_it_collects_takes_nothing_of_its_successors(
    a_writer: Writer, store: PostgresSnapshots, dsn: str
) -> None:
    partition = 2001
    with_old_checkpoint(store, partition)
    child = a_writer.begin(partition, "snapshot-before-collect-begin:1:stop")
    wait_until(lambda: _is_stopped(child), 30, "before it collects")
    store.claim(key_of(partition), TERM + 1, TOPIC)
    written = store.add_segments(key_of(partition), TERM + 1, build_blocks(OLD.items()))
    before = segment_ids(dsn, partition)
    os.kill(child, signal.SIGCONT)
    assert a_writer.ended() == writer.ENDED_SUPERSEDED
    assert segment_ids(dsn, partition) == before >= {segment.id for segment in written}
    assert len(store.checkpoints(key_of(partition))) == 2

"""The order of the snapshot store's calls: claim and load for a takeover; write, merge, thin; look for requests.

Which states, and whether a checkpoint may be used, is the engine's; on which thread, `runtime.snapshot_threads`'. Clocks
and ids are passed in.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from eventsrc.codec.blocks import Block, StoredRuns, build_blocks
from eventsrc.engine.effects import (
    CheckpointFailed,
    CheckpointRequested,
    CheckpointWritten,
    Input,
    LoadSnapshot,
    SnapshotClaimRefused,
    SnapshotLoaded,
    WriteCheckpoint,
)
from eventsrc.engine.merging import newest_to_merge
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.retention import kept
from eventsrc.engine.snapshots import PassedOver, is_of_later_term, refusal
from eventsrc.errors import SnapshotDamaged, SnapshotsUnavailable, SnapshotSuperseded
from eventsrc.model.snapshot import DamagedCheckpoint, Run, StoredCheckpoint
from eventsrc.ports import SnapshotStore
from eventsrc.runtime.kept_checkpoints import in_turn

logger = logging.getLogger("eventsrc.checkpoint")

COLLECT_EVERY_S = 60.0

OpenStore = Callable[[], SnapshotStore]
Report = Callable[[Input], None]


def _now() -> datetime:
    return datetime.now(UTC)


def _untold() -> None:
    pass


def read_states(store: SnapshotStore, stored: StoredCheckpoint, on_block: Callable[[], None] = _untold) -> StoredRuns:
    """All states of a checkpoint, every block held against its segment. Raises SnapshotDamaged."""
    segments = [segment for run in stored.runs for segment in run]
    blocks: Iterator[bytes] = store.read(segments)
    read = []
    for segment, encoded in zip(segments, blocks, strict=True):
        try:
            block = Block(encoded)
        except SnapshotDamaged as damage:
            raise SnapshotDamaged(f"segment {segment.id}: {damage}", segment.id) from damage
        if (block.first_hash, block.last_hash, block.count) != (segment.first_hash, segment.last_hash, segment.states):
            raise SnapshotDamaged(f"segment {segment.id} holds other states than its manifest says")
        read.append(block)
        on_block()
    rest = iter(read)
    return StoredRuns([[next(rest) for _ in run] for run in stored.runs])


def load(
    store: SnapshotStore, asked: LoadSnapshot, on_block: Callable[[], None] = _untold
) -> SnapshotLoaded | SnapshotClaimRefused:
    """Claims the partition for its new owner and loads its newest usable checkpoint; calls `on_block` with each block of it.
    Raises SnapshotsUnavailable."""
    key, began_s = asked.partition, time.monotonic()
    try:
        head = store.claim(key, asked.term, asked.topics.events)
    except SnapshotSuperseded as refused:
        return SnapshotClaimRefused(key, asked.attempt, str(refused))
    passed_over = PassedOver()
    lost: dict[uuid.UUID, str] = {}
    ids = [each.id for each in store.listed(key)]
    if head.checkpoint is not None and head.checkpoint not in ids:
        passed_over.add(head.checkpoint, "it is the newest, and its row is missing")
    ids.sort(key=lambda each: each != head.checkpoint)  # it is the newest, whatever its row says now
    for stored in in_turn(store, key, ids):
        if isinstance(stored, StoredCheckpoint) and is_of_later_term(stored, asked.topics, asked.term):
            # its owner came between the claim and here
            later = stored.checkpoint.term
            return SnapshotClaimRefused(
                key, asked.attempt, f"a checkpoint of {key} is of a later term than {asked.term}: {later}"
            )
        found = _states_or_reason(store, stored, asked, lost, on_block)
        if not isinstance(found, str):
            took_s = time.monotonic() - began_s
            lines = passed_over.lines()
            return SnapshotLoaded(key, asked.attempt, *found, head.checkpoint, True, lines, None, took_s)
        passed_over.add(stored.id, found)
    return SnapshotLoaded(key, asked.attempt, None, None, head.checkpoint, True, passed_over.lines())


def _states_or_reason(
    store: SnapshotStore,
    stored: StoredCheckpoint | DamagedCheckpoint,
    asked: LoadSnapshot,
    lost: dict[uuid.UUID, str],
    on_block: Callable[[], None],
) -> tuple[StoredCheckpoint, StoredRuns] | str:
    """Its states, or why it cannot be used. `lost`: segments that were damaged or missing; they may stand in hundreds of
    manifests, which are passed over without being read."""
    if isinstance(stored, DamagedCheckpoint):
        return stored.reason
    reason = refusal(stored.checkpoint, asked.topics, asked.folded_by)
    if reason is not None:
        return reason
    for run in stored.runs:
        for segment in run:
            if segment.id in lost:
                return lost[segment.id]
    try:
        return stored, read_states(store, stored, on_block)
    except SnapshotDamaged as damaged:
        if damaged.segment is not None:
            lost[damaged.segment] = str(damaged)
        return str(damaged)


def nothing(asked: LoadSnapshot, problem: str) -> SnapshotLoaded:
    """The store could not be asked."""
    return SnapshotLoaded(asked.partition, asked.attempt, None, None, None, False, (), problem)


@dataclass(slots=True, eq=False)
class CheckpointWriting:
    """Writes checkpoints in the order they come, and tells what became of them. On one thread."""

    open_store: OpenStore
    report: Report
    now: Callable[[], datetime] = _now
    monotonic_s: Callable[[], float] = time.monotonic
    new_id: Callable[[], uuid.UUID] = uuid.uuid4
    _opened: SnapshotStore | None = None
    _merged: dict[PartitionKey, tuple[uuid.UUID, StoredCheckpoint]] = field(default_factory=dict)
    _collected_s: dict[PartitionKey, float] = field(default_factory=dict)
    _requests: dict[PartitionKey, datetime | None] = field(default_factory=dict)

    @property
    def _store(self) -> SnapshotStore:
        if self._opened is None:
            self._opened = self.open_store()
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def serve(self, asked: WriteCheckpoint) -> None:
        """Write it, answer, then merge and thin."""
        key = asked.partition
        try:
            stored = self._write(asked)
        except SnapshotSuperseded as superseded:
            self.report(CheckpointFailed(key, asked.attempt, str(superseded), superseded=True))
            return
        except SnapshotsUnavailable as away:
            self.report(CheckpointFailed(key, asked.attempt, str(away)))
            return
        except Exception as failure:
            logger.exception("writing the checkpoint of partition %s failed", key)
            self.report(CheckpointFailed(key, asked.attempt, f"writing it failed: {failure}"))
            return
        self.report(CheckpointWritten(key, asked.attempt, stored, len(asked.entries)))
        self._tidy(key, stored)

    def _write(self, asked: WriteCheckpoint) -> StoredCheckpoint:
        store, key, term = self._store, asked.partition, asked.checkpoint.term
        extends, head = asked.extends, asked.head
        merged = self._merged.pop(key, None)
        if merged is not None and merged[0] == head:
            extends, head = extends and merged[1], merged[1].id
        if not asked.claimed:
            head = store.claim(key, term, asked.checkpoint.events_topic_id).checkpoint
        run: Run = store.add_segments(key, term, build_blocks(asked.entries)) if asked.entries else ()
        before = () if extends is None or asked.covers_all else extends.runs
        runs = (*before, run) if run else before
        stored = StoredCheckpoint(self.new_id(), asked.checkpoint, runs, self.now())
        store.commit(key, stored, head)
        return stored

    def _tidy(self, key: PartitionKey, stored: StoredCheckpoint) -> None:
        """What can wait until the next time, if the database goes away now."""
        try:
            stored = self._merge(key, stored)
            self._collect(key, stored)
        except SnapshotDamaged as damaged:
            logger.error(  # noqa: TRY400 - no defect of ours: a traceback would say nothing
                "a segment of partition %s is damaged: %s; the next checkpoint holds every state anew", key, damaged
            )
            self.report(CheckpointFailed(key, None, str(damaged), superseded=True))
        except (SnapshotSuperseded, SnapshotsUnavailable) as failure:
            logger.info("the segments of partition %s are not merged or thinned now: %s", key, failure)
        except Exception:  # or this thread ended, and no checkpoint were ever written again
            logger.exception("the segments of partition %s are not merged or thinned now", key)

    def _merge(self, key: PartitionKey, stored: StoredCheckpoint) -> StoredCheckpoint:
        """As another checkpoint of the same states; the one before stays as it is, while it is kept."""
        count = newest_to_merge([sum(segment.size_bytes for segment in run) for run in stored.runs])
        if not count:
            return stored
        untouched, newest = stored.runs[:-count], stored.runs[-count:]
        states = read_states(self._store, replace(stored, runs=newest))
        run = self._store.add_segments(key, stored.checkpoint.term, states.merged())
        merged = StoredCheckpoint(self.new_id(), stored.checkpoint, (*untouched, run), self.now())
        self._store.commit(key, merged, stored.id)
        self._merged[key] = (stored.id, merged)
        self.report(CheckpointWritten(key, None, merged, 0, replaces=stored.id))
        return merged

    def _collect(self, key: PartitionKey, newest: StoredCheckpoint) -> None:
        now_s = self.monotonic_s()
        collected_s = self._collected_s.get(key)
        if collected_s is not None and now_s - collected_s < COLLECT_EVERY_S:
            return
        self._collected_s[key] = now_s
        listed = self._store.listed(key)
        # By the clock that took them, as it was at the one just committed: this machine's may be months off, and one row of
        # the future would make all others too old to keep.
        now = next((each.taken_at for each in listed if each.id == newest.id), self.now())
        keep = kept(listed, now) | {newest.id}
        self._store.collect(key, newest.checkpoint.term, keep)

    def look_for_requests(self, watched: Collection[PartitionKey]) -> None:
        """Report what operators have asked of these partitions since the last look."""
        if not watched:
            return
        try:
            heads = self._store.heads(watched)
        except SnapshotsUnavailable:
            return  # told when a checkpoint is due
        except Exception:  # as in `_tidy`
            logger.exception("looking for requests of checkpoints failed")
            return
        for key, head in heads.items():
            if head.requested_at is not None and head.requested_at != self._requests.get(key):
                self.report(CheckpointRequested(key))
            self._requests[key] = head.requested_at

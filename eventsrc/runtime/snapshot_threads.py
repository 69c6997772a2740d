"""Snapshots off the loop's thread: one thread loads them for takeovers, another writes, merges and thins them.

Owns the order of the store's calls; which states, and whether a checkpoint may be used, is the engine's. Each thread has
a connection of its own, made when it is first needed: the database's libraries are no part of a worker's start.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
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
from eventsrc.engine.snapshots import usable
from eventsrc.errors import SnapshotDamaged, SnapshotsUnavailable, SnapshotSuperseded
from eventsrc.model.snapshot import Run, StoredCheckpoint
from eventsrc.ports import SnapshotStore

logger = logging.getLogger("eventsrc.checkpoint")

LOOK_FOR_REQUESTS_S = 1.0
COLLECT_EVERY_S = 60.0

OpenStore = Callable[[], SnapshotStore]
Report = Callable[[Input], None]


class SnapshotThreads:
    """What the driver gives its snapshot effects to; every answer goes to `report`, from these threads."""

    def __init__(self, open_store: OpenStore, report: Report) -> None:
        self._loader = _Loader(open_store, report)
        self._writer = _Writer(open_store, report)

    def load(self, asked: LoadSnapshot) -> None:
        self._writer.watch(asked.partition)
        self._loader.asked.put(asked)

    def write(self, asked: WriteCheckpoint) -> None:
        self._writer.asked.put(asked)

    def forget(self, key: PartitionKey) -> None:
        """It is no longer ours: requests for it are another's to serve."""
        self._writer.forget(key)

    def close(self, timeout_s: float) -> None:
        """What is under way may go on for that long; the threads do not keep the process while a database hangs."""
        give_up_s = time.monotonic() + timeout_s
        for each in (self._writer, self._loader):
            each.asked.put(None)
        for each in (self._writer, self._loader):
            each.thread.join(max(0.0, give_up_s - time.monotonic()))


def read_states(store: SnapshotStore, stored: StoredCheckpoint) -> StoredRuns:
    """All states of a checkpoint, every block held against its segment. Raises SnapshotDamaged."""
    segments = [segment for run in stored.runs for segment in run]
    blocks: Iterator[bytes] = store.read(segments)
    read = []
    for segment, encoded in zip(segments, blocks, strict=True):
        block = Block(encoded)
        if (block.first_hash, block.last_hash, block.count) != (segment.first_hash, segment.last_hash, segment.states):
            raise SnapshotDamaged(f"segment {segment.id} holds other states than its manifest says")
        read.append(block)
    rest = iter(read)
    return StoredRuns([[next(rest) for _ in run] for run in stored.runs])


class _Loader:
    """Claims partitions for their new owner, and loads their newest usable checkpoint."""

    def __init__(self, open_store: OpenStore, report: Report) -> None:
        self._open_store = open_store
        self._report = report
        self.asked: queue.SimpleQueue[LoadSnapshot | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="eventsrc-snapshot-load", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        store: SnapshotStore | None = None
        while (asked := self.asked.get()) is not None:
            try:
                store = store or self._open_store()
                self._report(self._load(store, asked))
            except Exception as failure:
                logger.exception("loading the snapshot of partition %s failed", asked.partition)
                self._report(_nothing(asked, f"loading it failed: {failure}"))
        if store is not None:
            store.close()

    def _load(self, store: SnapshotStore, asked: LoadSnapshot) -> SnapshotLoaded | SnapshotClaimRefused:
        key, began_s = asked.partition, time.monotonic()
        try:
            head = store.claim(key, asked.term, asked.topics.events)
            good, refused = usable(store.checkpoints(key), asked.topics, asked.folded_by)
            for stored in good:
                try:
                    states = read_states(store, stored)
                except SnapshotDamaged as damaged:
                    refused.append(f"checkpoint {stored.id}: {damaged}")
                    continue
                took_s = time.monotonic() - began_s
                return SnapshotLoaded(
                    key, asked.attempt, stored, states, head.checkpoint, True, tuple(refused), None, took_s
                )
        except SnapshotSuperseded as refused_claim:
            return SnapshotClaimRefused(key, asked.attempt, str(refused_claim))
        except SnapshotsUnavailable as away:
            return _nothing(asked, str(away))
        return SnapshotLoaded(key, asked.attempt, None, None, head.checkpoint, True, tuple(refused))


def _nothing(asked: LoadSnapshot, problem: str) -> SnapshotLoaded:
    return SnapshotLoaded(asked.partition, asked.attempt, None, None, None, False, (), problem)


class _Writer:
    """Writes checkpoints in the order they come; between them, merges, thins, and looks for operators' requests."""

    def __init__(self, open_store: OpenStore, report: Report) -> None:
        self._open_store = open_store
        self._report = report
        self._opened: SnapshotStore | None = None
        self._merged: dict[PartitionKey, tuple[uuid.UUID, StoredCheckpoint]] = {}
        self._collected_s: dict[PartitionKey, float] = {}
        self._requests: dict[PartitionKey, datetime | None] = {}
        self._watched: set[PartitionKey] = set()
        self._looked_s = 0.0
        self.asked: queue.SimpleQueue[WriteCheckpoint | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="eventsrc-snapshot-write", daemon=True)
        self.thread.start()

    def watch(self, key: PartitionKey) -> None:
        """From the loop's thread, as `forget`."""
        self._watched = self._watched | {key}

    def forget(self, key: PartitionKey) -> None:
        self._watched = self._watched - {key}

    @property
    def _store(self) -> SnapshotStore:
        if self._opened is None:
            self._opened = self._open_store()
        return self._opened

    def _run(self) -> None:
        while True:
            try:
                asked = self.asked.get(timeout=LOOK_FOR_REQUESTS_S)
            except queue.Empty:
                self._look_for_requests()
                continue
            if asked is None:
                break
            self._serve(asked)
            if time.monotonic() - self._looked_s > LOOK_FOR_REQUESTS_S:
                self._look_for_requests()
        if self._opened is not None:
            self._opened.close()

    def _serve(self, asked: WriteCheckpoint) -> None:
        key = asked.partition
        try:
            stored = self._write(asked)
        except SnapshotSuperseded as superseded:
            self._report(CheckpointFailed(key, asked.attempt, str(superseded), superseded=True))
            return
        except SnapshotsUnavailable as away:
            self._report(CheckpointFailed(key, asked.attempt, str(away)))
            return
        except Exception as failure:
            logger.exception("writing the checkpoint of partition %s failed", key)
            self._report(CheckpointFailed(key, asked.attempt, f"writing it failed: {failure}"))
            return
        self._report(CheckpointWritten(key, asked.attempt, stored, len(asked.entries)))
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
        stored = StoredCheckpoint(uuid.uuid4(), asked.checkpoint, runs, datetime.now(UTC))
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
            self._report(CheckpointFailed(key, None, str(damaged), superseded=True))
        except (SnapshotSuperseded, SnapshotsUnavailable) as failure:
            logger.info("the segments of partition %s are not merged or thinned now: %s", key, failure)

    def _merge(self, key: PartitionKey, stored: StoredCheckpoint) -> StoredCheckpoint:
        """As another checkpoint of the same states; the one before stays as it is, while it is kept."""
        count = newest_to_merge([sum(segment.size_bytes for segment in run) for run in stored.runs])
        if not count:
            return stored
        untouched, newest = stored.runs[:-count], stored.runs[-count:]
        states = read_states(self._store, replace(stored, runs=newest))
        run = self._store.add_segments(key, stored.checkpoint.term, states.merged())
        merged = StoredCheckpoint(uuid.uuid4(), stored.checkpoint, (*untouched, run), datetime.now(UTC))
        self._store.commit(key, merged, stored.id)
        self._merged[key] = (stored.id, merged)
        self._report(CheckpointWritten(key, None, merged, 0, replaces=stored.id))
        return merged

    def _collect(self, key: PartitionKey, newest: StoredCheckpoint) -> None:
        now_s = time.monotonic()
        if now_s - self._collected_s.get(key, 0.0) < COLLECT_EVERY_S:
            return
        self._collected_s[key] = now_s
        stored = [each for each in self._store.checkpoints(key) if isinstance(each, StoredCheckpoint)]
        keep = kept(stored, datetime.now(UTC)) | {newest.id}
        self._store.collect(key, newest.checkpoint.term, keep)

    def _look_for_requests(self) -> None:
        watched = self._watched
        self._looked_s = time.monotonic()
        if not watched:
            return
        try:
            heads = self._store.heads(watched)
        except SnapshotsUnavailable:
            return  # told when a checkpoint is due
        for key, head in heads.items():
            if head.requested_at is not None and head.requested_at != self._requests.get(key):
                self._report(CheckpointRequested(key))
            self._requests[key] = head.requested_at

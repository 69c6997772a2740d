"""Snapshots off the loop's thread: one thread loads them for takeovers, another writes, merges and thins them.

Owns the threads and their queues; the order of the store's calls is `runtime.snapshot_calls`'. Each thread has a
connection of its own, made when it is first needed. The database's libraries are imported by the loader while the worker
waits for its group, not on the way there.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from eventsrc.engine.effects import LoadSnapshot, SnapshotPartRead, WriteCheckpoint
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import SnapshotsUnavailable
from eventsrc.ports import SnapshotStore
from eventsrc.runtime.snapshot_calls import CheckpointWriting, OpenStore, Report, load, nothing

logger = logging.getLogger("eventsrc.checkpoint")

LOOK_FOR_REQUESTS_S = 1.0
TELL_OF_LOADING_S = 1.0


def _nothing_to_prepare() -> None:
    pass


class SnapshotThreads:
    """What the driver gives its snapshot effects to; every answer goes to `report`, from these threads. `prepare`: what can be
    done at once, before the store is wanted; on the loader's thread."""

    def __init__(
        self, open_store: OpenStore, report: Report, prepare: Callable[[], None] = _nothing_to_prepare
    ) -> None:
        self._loader = _Loader(open_store, report, prepare)
        self._writer = _Writer(CheckpointWriting(open_store, report))

    def load(self, asked: LoadSnapshot) -> None:
        self._writer.watch(asked.partition)
        self._loader.load(asked)

    def write(self, asked: WriteCheckpoint) -> None:
        self._writer.asked.put(asked)

    def forget(self, key: PartitionKey) -> None:
        """It is no longer ours: requests for it are another's to serve."""
        self._writer.forget(key)
        self._loader.forget(key)

    def close(self, timeout_s: float) -> None:
        """What is under way may go on for that long; the threads do not keep the process while a database hangs."""
        give_up_s = time.monotonic() + timeout_s
        for each in (self._writer, self._loader):
            each.asked.put(None)
        for each in (self._writer, self._loader):
            each.thread.join(max(0.0, give_up_s - time.monotonic()))


class _Loader:
    def __init__(self, open_store: OpenStore, report: Report, prepare: Callable[[], None]) -> None:
        self._open_store = open_store
        self._report = report
        self._prepare = prepare
        self._told_s = 0.0
        self._wanted: dict[PartitionKey, int] = {}
        self.asked: queue.SimpleQueue[LoadSnapshot | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="eventsrc-snapshot-load", daemon=True)
        self.thread.start()

    def load(self, asked: LoadSnapshot) -> None:
        """From the loop's thread, as `forget`."""
        self._wanted[asked.partition] = asked.attempt
        self.asked.put(asked)

    def forget(self, key: PartitionKey) -> None:
        """What was asked for it and has not begun is not read: others wait behind it."""
        self._wanted.pop(key, None)

    def _run(self) -> None:
        with suppress(Exception):  # opening the store meets it again, and tells
            self._prepare()
        store: SnapshotStore | None = None
        while (asked := self.asked.get()) is not None:
            if self._wanted.get(asked.partition) != asked.attempt:
                continue
            self._told_s = time.monotonic()
            try:
                store = store or self._open_store()
                self._report(load(store, asked, self._on_block))
            except SnapshotsUnavailable as away:
                self._report(nothing(asked, str(away)))
            except Exception as failure:
                logger.exception("loading the snapshot of partition %s failed", asked.partition)
                self._report(nothing(asked, f"loading it failed: {failure}"))
        if store is not None:
            store.close()

    def _on_block(self) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= TELL_OF_LOADING_S:
            self._told_s = now_s
            self._report(SnapshotPartRead())


class _Writer:
    """Between two checkpoints it looks for operators' requests."""

    def __init__(self, writing: CheckpointWriting) -> None:
        self._writing = writing
        self._watched: frozenset[PartitionKey] = frozenset()
        self._looked_s = 0.0
        self.asked: queue.SimpleQueue[WriteCheckpoint | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="eventsrc-snapshot-write", daemon=True)
        self.thread.start()

    def watch(self, key: PartitionKey) -> None:
        """From the loop's thread, as `forget`."""
        self._watched |= {key}

    def forget(self, key: PartitionKey) -> None:
        self._watched -= {key}

    def _run(self) -> None:
        while True:
            try:
                asked = self.asked.get(timeout=LOOK_FOR_REQUESTS_S)
            except queue.Empty:
                self._look()
                continue
            if asked is None:
                break
            self._writing.serve(asked)
            if time.monotonic() - self._looked_s > LOOK_FOR_REQUESTS_S:
                self._look()
        self._writing.close()

    def _look(self) -> None:
        self._looked_s = time.monotonic()
        self._writing.look_for_requests(self._watched)

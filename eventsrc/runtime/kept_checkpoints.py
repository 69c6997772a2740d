"""A partition's checkpoints, newest first, read as far as they are asked for.

A manifest names every segment of a partition: reading those of hundreds of checkpoints takes seconds, and the first one
mostly serves.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from eventsrc.engine.partition import PartitionKey
from eventsrc.model.snapshot import DamagedCheckpoint, StoredCheckpoint
from eventsrc.ports import SnapshotStore

_MOST_AT_ONCE = 32


def newest_first(store: SnapshotStore, key: PartitionKey) -> Iterator[StoredCheckpoint | DamagedCheckpoint]:
    """Of those listed now, without those that go meanwhile. Raises SnapshotsUnavailable."""
    return in_turn(store, key, [each.id for each in store.listed(key)])


def in_turn(
    store: SnapshotStore, key: PartitionKey, ids: Sequence[uuid.UUID]
) -> Iterator[StoredCheckpoint | DamagedCheckpoint]:
    """In the order given, without those that go meanwhile. Raises SnapshotsUnavailable."""
    at_once = 1
    while ids:
        yield from store.checkpoints(key, ids[:at_once])
        ids = ids[at_once:]
        at_once = min(2 * at_once, _MOST_AT_ONCE)

"""What an operator does with checkpoints: look at what is kept, ask for new ones and wait, look for damage.

Works on any SnapshotStore. Owns no verdict of a worker's: whether a checkpoint may be used with a log and a code is
`engine.snapshots`'.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from eventsrc.codec.blocks import Block, split_entry
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import SnapshotDamaged, SnapshotsUnavailable
from eventsrc.model.snapshot import DamagedCheckpoint, Head, Segment, StoredCheckpoint
from eventsrc.ports import SnapshotStore

LOOK_S = 0.25


class Kept(NamedTuple):
    """Of one partition, newest first. `head`: None where nobody has ever claimed it."""

    key: PartitionKey
    head: Head | None
    checkpoints: Sequence[StoredCheckpoint | DamagedCheckpoint]


def kept_of(store: SnapshotStore, keys: Collection[PartitionKey]) -> list[Kept]:
    """Raises SnapshotsUnavailable."""
    heads = store.heads(keys)
    return [Kept(key, heads.get(key), store.checkpoints(key)) for key in sorted(keys)]


# ---- asking for new ones


@dataclass(slots=True)
class Asked:
    """What came of asking: new checkpoints by partition, and those that are still waited for. `failure`: why the store
    did not answer when it was asked last."""

    came: dict[PartitionKey, StoredCheckpoint] = field(default_factory=dict)
    waiting: dict[PartitionKey, datetime] = field(default_factory=dict)
    failure: str | None = None


def ask(store: SnapshotStore, keys: Collection[PartitionKey]) -> Asked:
    """Asks the owners of these partitions. Raises SnapshotsUnavailable."""
    return Asked(waiting={key: store.request(key) for key in sorted(keys)})


def wait_for(
    store: SnapshotStore,
    asked: Asked,
    timeout_s: float,
    now_s: Callable[[], float],
    sleep: Callable[[float], object],
    came: Callable[[PartitionKey, StoredCheckpoint], None],
    hopeless: Collection[PartitionKey] = (),
) -> None:
    """Until a head taken after it was asked for has appeared everywhere but at the hopeless, or the time is over. A store
    that goes away meanwhile is asked again."""
    deadline_s = now_s() + timeout_s
    while asked.waiting.keys() - set(hopeless):
        try:
            _look_for_new(store, asked, came)
            asked.failure = None
        except SnapshotsUnavailable as away:
            asked.failure = str(away)
        if now_s() >= deadline_s:
            return
        if asked.waiting.keys() - set(hopeless):
            sleep(LOOK_S)


def _look_for_new(store: SnapshotStore, asked: Asked, came: Callable[[PartitionKey, StoredCheckpoint], None]) -> None:
    for key, head in store.heads(list(asked.waiting)).items():
        newest = next(iter(store.checkpoints(key, [head.checkpoint])), None) if head.checkpoint is not None else None
        if isinstance(newest, StoredCheckpoint) and newest.taken_at >= asked.waiting[key]:
            asked.came[key] = newest
            del asked.waiting[key]
            came(key, newest)


# ---- looking for damage


class Verdict(NamedTuple):
    """Of one kept checkpoint. `damage`: None where it is sound. `instead`: the id of the one that a recovery takes in the
    place of a damaged one; None: the log."""

    key: PartitionKey
    id: uuid.UUID
    taken_at: datetime | None
    is_head: bool
    damage: str | None
    instead: uuid.UUID | None


def verify(store: SnapshotStore, keys: Collection[PartitionKey]) -> Iterator[Verdict]:
    """Every kept checkpoint: its row, its manifest, every block of it. A block that several name is read once. Raises
    SnapshotsUnavailable."""
    for kept in kept_of(store, keys):
        seen: dict[uuid.UUID, str | None] = {}
        damage = {each.id: _damage(store, each, seen) for each in kept.checkpoints}
        head = None if kept.head is None else kept.head.checkpoint
        if head is not None and head not in damage:
            instead = _first_sound(list(damage), damage)
            yield Verdict(kept.key, head, None, True, "the head names it, and its row is missing", instead)
        ids = list(damage)
        for place, each in enumerate(kept.checkpoints):
            wrong = damage[each.id]
            others = ids if each.id == head else ids[place + 1 :]  # a damaged row may not tell its place any more
            instead = None if wrong is None else _first_sound(others, damage)
            yield Verdict(kept.key, each.id, each.taken_at, each.id == head, wrong, instead)


def _first_sound(ids: Sequence[uuid.UUID], damage: Mapping[uuid.UUID, str | None]) -> uuid.UUID | None:
    return next((each for each in ids if damage[each] is None), None)


def _damage(
    store: SnapshotStore, each: StoredCheckpoint | DamagedCheckpoint, seen: dict[uuid.UUID, str | None]
) -> str | None:
    if isinstance(each, DamagedCheckpoint):
        return each.reason
    for run in each.runs:
        for before, after in pairwise(run):
            if after.first_hash < before.last_hash:
                return f"the manifest has segment {after.id} out of order"
        for segment in run:
            if segment.id not in seen:
                seen[segment.id] = _damage_of_segment(store, segment)
            if (wrong := seen[segment.id]) is not None:
                return wrong
    return None


def _damage_of_segment(store: SnapshotStore, segment: Segment) -> str | None:
    try:
        for encoded in store.read([segment]):
            block = Block(encoded)
            said = (block.first_hash, block.last_hash, block.count)
            if said != (segment.first_hash, segment.last_hash, segment.states):
                return f"segment {segment.id} holds other states than the manifest says"
            for _, entry in block:
                split_entry(entry)
    except SnapshotDamaged as damaged:
        return f"segment {segment.id}: {damaged}" if str(segment.id) not in str(damaged) else str(damaged)
    return None

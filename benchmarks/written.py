"""What checkpoints wrote into Postgres: states, and the write-ahead log it took.

WAL is what Postgres wrote while the worker ran (full page writes on), per byte of the changed states it was given (id,
sequence, memory, state): merges are in it as a cost, and counted as writes only in the second figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from benchmarks.ledger_system import PARTITIONS, LedgerSystem
from benchmarks.snapshots import wal_position
from eventsrc.adapters.postgres.store import PostgresSnapshots
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.snapshot import Segment, StoredCheckpoint

COLUMN_BYTES_PER_STATE = 13  # of a block: hash, end, length of the id
COLUMN_BYTES_PER_BLOCK = 12


@dataclass(frozen=True, slots=True)
class Written:
    """By one worker. `changed_bytes`: of changed states; `merged_bytes`: of states written again by merges."""

    wal_bytes: int
    changed_states: int
    changed_bytes: int
    merged_bytes: int
    checkpoints: int


def written(system: LedgerSystem, wal_before: int) -> Written:
    """Since the log stood at `wal_before` (`wal_position`). A benchmark is over before anything is thinned. A checkpoint at the
    position of the one before it is a merge of it."""
    wal_bytes = wal_position(system.place.database_url) - wal_before
    changed: list[Segment] = []
    merged: list[Segment] = []
    count = 0
    with closing(PostgresSnapshots(system.place.database_url, system.name)) as store:
        for number in range(PARTITIONS):
            found = store.checkpoints(PartitionKey("account", number))
            position, known = -1, set()
            for each in sorted((one for one in found if isinstance(one, StoredCheckpoint)), key=_when):
                new = [segment for run in each.runs for segment in run if segment.id not in known]
                known |= {segment.id for segment in new}
                if each.checkpoint.position == position:
                    merged += new
                else:
                    changed += new
                    count += 1
                position = each.checkpoint.position
    states = sum(each.states for each in changed)
    return Written(wal_bytes, states, _state_bytes(changed), _state_bytes(merged), count)


def per_state_byte(runs: Sequence[Written]) -> dict[str, float] | None:
    """WAL. None where nothing was written."""
    wal, changed = sum(each.wal_bytes for each in runs), sum(each.changed_bytes for each in runs)
    merged = sum(each.merged_bytes for each in runs)
    return {"changed": wal / changed, "changed_and_merged": wal / (changed + merged)} if changed else None


def tell(runs: Sequence[Written]) -> None:
    """Prints it."""
    wal = per_state_byte(runs)
    if wal is None:
        print("no checkpoint was taken: the run was too short")
        return
    counts = ", ".join(str(each.checkpoints) for each in runs)
    states = sum(each.changed_states for each in runs)
    changed, merged = sum(each.changed_bytes for each in runs), sum(each.merged_bytes for each in runs)
    print(f"{counts} checkpoints of a partition, {states:,} changed states, {changed / 1e6:.1f} MB of them", end="")
    print(f", {merged / 1e6:.1f} MB merged")
    print(f"WAL per byte of changed state: {wal['changed']:.2f}", end="")
    print(f"; per byte written, merges too: {wal['changed_and_merged']:.2f}")


def _when(stored: StoredCheckpoint) -> float:
    return stored.taken_at.timestamp()


def _state_bytes(segments: Iterable[Segment]) -> int:
    return sum(each.size_bytes - COLUMN_BYTES_PER_BLOCK - COLUMN_BYTES_PER_STATE * each.states for each in segments)

"""A process that writes one checkpoint after another, and may be killed or stopped at any statement: the other side of
`test_snapshot_kills.py`.

`python -m tests.fault.snapshot_writer DSN` reads lines `<partition> <fault>` and, for each, forks a child that arms the
fault as EVENTSRC_TEST_FAULT would, writes a checkpoint and collects; it prints the child's process id when it begins, and
how it ended. (Forked before anything is connected: 29 interpreters would start for a minute.)
"""

from __future__ import annotations

import os
import sys
import uuid
from contextlib import closing
from datetime import UTC, datetime

from eventsrc import faultpoints
from eventsrc.adapters.postgres.store import PostgresSnapshots
from eventsrc.codec.blocks import build_blocks, entry
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import SnapshotsUnavailable, SnapshotSuperseded
from eventsrc.model.position import Offset, Position
from eventsrc.model.snapshot import Anchor, Checkpoint, FoldedBy, Run, StoredCheckpoint
from eventsrc.ports import SnapshotStore

PIPELINE, TOPIC = "bank", "topic-1"
OLD_TERM, TERM = 4, 5
STATES = {"old": range(300), "new": range(0, 300, 2), "later": range(0, 300, 3)}
ENDED_SUPERSEDED, ENDED_UNAVAILABLE = 17, 18


def key_of(partition: int) -> PartitionKey:
    return PartitionKey("account", partition)


def checkpoint_id(partition: int, name: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{partition} {name}")


def states_of(name: str) -> dict[bytes, bytes]:
    """What the run of that name holds."""
    return {b"id-%d" % number: entry(number, b"", name.encode()) for number in STATES[name]}


def write(
    store: SnapshotStore, partition: int, name: str, term: int, base: StoredCheckpoint | None
) -> StoredCheckpoint:
    """A checkpoint that adds the run `name` to those of its base."""
    key = key_of(partition)
    run = store.add_segments(key, term, build_blocks(states_of(name).items(), 50))
    runs: tuple[Run, ...] = (*(base.runs if base else ()), run)
    position = Position(base.checkpoint.position + 10 if base else 10)
    made = StoredCheckpoint(checkpoint_id(partition, name), _said(position, term), runs, datetime.now(UTC))
    store.commit(key, made, base.id if base else None)
    return made


def _said(position: Position, term: int) -> Checkpoint:
    anchor = Anchor(Offset(position - 1), b"key", 1, 2)
    return Checkpoint(anchor, anchor, Position(4), term, 1, None, 7, 3, "commands", TOPIC, FoldedBy(1, 9))


def next_checkpoint(store: SnapshotStore, partition: int, term: int, name: str = "new") -> None:
    """What a worker does, from its claim on."""
    key = key_of(partition)
    head = store.claim(key, term, TOPIC)
    base = next(each for each in store.checkpoints(key) if each.id == head.checkpoint)
    assert isinstance(base, StoredCheckpoint)
    write(store, partition, name, term, base)
    store.collect(key, term, [])


def _child(dsn: str, partition: int, fault: str) -> int:
    faultpoints.arm(fault)
    try:
        with closing(PostgresSnapshots(dsn, PIPELINE, "writer")) as store:
            next_checkpoint(store, partition, TERM)
    except SnapshotSuperseded:
        return ENDED_SUPERSEDED
    except SnapshotsUnavailable:
        return ENDED_UNAVAILABLE
    return 0


def main(dsn: str) -> None:
    for line in sys.stdin:
        partition, fault = line.split()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = _child(dsn, int(partition), fault)
            finally:
                os._exit(code)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

"""What is known of the checkpoints of one open partition: where it stands, what has changed since the newest, and the one on
its way. Which is due and how it is taken is `engine.checkpoint`'s."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass, field

from eventsrc.engine.batch import Batch
from eventsrc.engine.partition import Partition
from eventsrc.engine.states import EntrySlices, States
from eventsrc.model.position import Offset, Position
from eventsrc.model.snapshot import StoredCheckpoint

ANEW_SHARE = 0.75
"""Of all states: if more have changed, all are written. It costs less than to merge them with the others later."""


@dataclass(slots=True)
class Committed:
    """Where a partition stands, as of its last own transaction that committed. `offset`, `key`, `value`: of that one's last
    record, our own barrier at first; the other fields as in `Checkpoint`. `last_time`: the latest hybrid time up to that
    barrier, which itself has its writer's wall time: that clock may be behind the one of the events before it."""

    offset: Offset
    key: bytes
    value: bytes
    commands_position: Position
    applied: int
    highest_source: int | None
    events: int
    aggregates: int
    last_time: int


class Stage(enum.Enum):
    """See the diagram in `engine.checkpoint`."""

    GATHERING = "gathering"
    SETTLING = "waiting for a commit"
    WRITING = "writing"


@dataclass(slots=True, eq=False)
class Gathering:
    """One checkpoint on its way. `changed`: what is to be marked dirty again if it fails; None: as in `Lineage.dirty`. `slices`:
    of these, or `of_all`: then it needs nothing of the one before; None until one is taken. `requested`: by an operator, who is
    served by the next one if it fails."""

    attempt: int
    at: Committed
    changed: set[bytes] | None
    of_all: bool
    stage: Stage = Stage.GATHERING
    slices: EntrySlices | None = None
    entries: list[tuple[bytes, bytes]] = field(default_factory=list)
    awaits: Batch | None = None
    writing_since_s: float | None = None
    extends_damaged: bool = False
    requested: bool = False
    began_s: float = 0.0


@dataclass(slots=True, eq=False)
class Lineage:
    """The checkpoints of one open partition of ours.

    `newest`: the one to extend; None: the next holds every state. `head`: the head row's, as far as known; `claimed`: under
    our term. `dirty`: changed since `newest`; None: nearly every aggregate, or every one as far as is known. `retry_at_s`: a
    state could not be encoded; not before then.
    """

    partition: Partition
    committed: Committed
    newest: StoredCheckpoint | None
    head: uuid.UUID | None
    claimed: bool
    dirty: set[bytes] | None
    due_s: float
    gathering: Gathering | None = None
    retry_at_s: float = 0.0

    @property
    def states(self) -> States:
        return self.partition.states

    @property
    def tail(self) -> int:
        """Events that a recovery would have to fold."""
        return self.committed.events - (self.newest.checkpoint.events if self.newest is not None else 0)

    @property
    def size_bytes(self) -> int:
        return self.newest.size_bytes if self.newest is not None else 0

    @property
    def changed(self) -> bool:
        return self.newest is None or self.committed.offset + 1 > self.newest.checkpoint.position


def is_nearly_all(lineage: Lineage, changed: set[bytes] | None) -> bool:
    return changed is None or len(changed) > ANEW_SHARE * lineage.committed.aggregates

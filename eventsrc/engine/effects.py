"""What the engine asks of its driver (imperative), and what the driver tells the engine (past tense)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from eventsrc.codec.blocks import StoredRuns
from eventsrc.engine.batch import Answer, Batch
from eventsrc.engine.notes import TopicIds
from eventsrc.engine.partition import CommandPlace, PartitionKey
from eventsrc.engine.records import ConsumedRecord
from eventsrc.frozen import frozen
from eventsrc.model.position import Offset, Position
from eventsrc.model.snapshot import Checkpoint, FoldedBy, StoredCheckpoint

# ---- inputs


@frozen
class Assigned:
    """The group gave us these partitions. They are paused and nothing of them is fetched yet."""

    partitions: tuple[PartitionKey, ...]


@frozen
class Revoking:
    """The group will take these partitions; the polling thread is inside the callback and may still commit."""

    partitions: tuple[PartitionKey, ...]


@frozen
class Revoked:
    """These partitions are no longer ours, and no transaction of ours that touches them is open."""

    partitions: tuple[PartitionKey, ...]


@frozen
class Lost:
    """These partitions were ours and may already be another's: nothing may be committed for them."""

    partitions: tuple[PartitionKey, ...]


@frozen
class StableOffsetFetched:
    """No earlier owner can commit anything for this partition any more. `committed` is None where the group never
    committed one; `log_start` and `log_end` are of the commands partition, `events_start` and
    `events_end` of the events partition; `note` is the committed metadata."""

    partition: PartitionKey
    attempt: int
    metadata: Any
    committed: Position | None
    note: str | None
    log_start: Position
    log_end: Position
    events_start: Position | None = None
    events_end: Position | None = None


@frozen
class TakeoverRefused:
    """The partition cannot be taken over, for a reason that repeating does not mend."""

    partition: PartitionKey
    attempt: int
    reason: str
    code: str


@frozen
class LogRefused:
    """The partition cannot go on, for a reason seen outside the engine: its topic cannot be read, or (`for_good`) is
    another one than this worker started with."""

    partition: PartitionKey
    reason: str
    code: str
    for_good: bool = False


@frozen
class CommandsPolled:
    """`metadata`: the group metadata read on the polling thread right after the poll."""

    records: Mapping[PartitionKey, Sequence[ConsumedRecord]]
    metadata: Any


@frozen
class EventsPolled:
    """Records of events partitions being recovered, in offset order."""

    records: Mapping[PartitionKey, Sequence[ConsumedRecord]]


@frozen
class TransactionCommitted:
    """`last_offsets`: of the last record per events partition, from delivery reports. `producer_suspect`: a late copy
    of the commit request may still reach the broker."""

    batch: Batch
    last_offsets: Mapping[PartitionKey, Offset]
    producer_suspect: bool = False


@frozen
class TransactionAborted:
    """It is known to have had no effect."""

    batch: Batch
    cause: str
    producer_usable: bool = True


@frozen
class TransactionInDoubt:
    """Whether it had effect is not known; the producer must be replaced. `timed_out`: it outlived the transaction timeout."""

    batch: Batch
    cause: str
    timed_out: bool = False


@frozen
class ProducerReady:
    """A producer holds the transactional id; whatever its predecessor left open is decided."""


@frozen
class Ticked:
    """Time has passed."""


@frozen
class LoopTurned:
    """The loop has a moment to spare between two batches."""


@frozen
class SnapshotLoaded:
    """What the snapshot store has for a partition that is being taken over: the newest usable checkpoint with its states,
    or None. `head`: the head row's checkpoint, `claimed` under our term. `refused`: a line for each newer one that cannot
    be used, `problem` why the store could not be asked at all."""

    partition: PartitionKey
    attempt: int
    checkpoint: StoredCheckpoint | None
    states: StoredRuns | None
    head: uuid.UUID | None
    claimed: bool
    refused: tuple[str, ...] = ()
    problem: str | None = None
    took_s: float = 0.0


@frozen
class SnapshotPartRead:
    """The snapshot store has given another part of a checkpoint: it takes its time, and answers."""


@frozen
class SnapshotClaimRefused:
    """The head row has a term above ours: this log has a later owner, or was truncated."""

    partition: PartitionKey
    attempt: int
    reason: str


@frozen
class CheckpointWritten:
    """It is the head. `attempt` is None for one that the writer made of `replaces` by merging segments."""

    partition: PartitionKey
    attempt: int | None
    stored: StoredCheckpoint
    states: int
    replaces: uuid.UUID | None = None


@frozen
class CheckpointFailed:
    """It is void. `superseded`: the head is not what we extend. `attempt` is None where an older one turned out to be damaged:
    nothing can be extended."""

    partition: PartitionKey
    attempt: int | None
    reason: str
    superseded: bool = False


@frozen
class CheckpointRequested:
    """An operator wants one of this partition now."""

    partition: PartitionKey


@frozen
class ShutdownRequested:
    """Finish what is decided, take nothing new."""


Input = (
    Assigned
    | Revoking
    | Revoked
    | Lost
    | StableOffsetFetched
    | TakeoverRefused
    | LogRefused
    | CommandsPolled
    | EventsPolled
    | TransactionCommitted
    | TransactionAborted
    | TransactionInDoubt
    | ProducerReady
    | Ticked
    | LoopTurned
    | SnapshotLoaded
    | SnapshotPartRead
    | SnapshotClaimRefused
    | CheckpointWritten
    | CheckpointFailed
    | CheckpointRequested
    | ShutdownRequested
)


@frozen
class Instant:
    """The two clock readings an input comes with: wall time in microseconds, monotonic time in seconds."""

    wall_us: int
    monotonic_s: float


# ---- effects


@frozen
class FetchStableOffset:
    """Ask the group coordinator until it answers; take the group metadata now, on the polling thread."""

    partition: PartitionKey
    attempt: int


@frozen
class Commit:
    """Begin, produce, and hand to the commit thread."""

    batch: Batch


@frozen
class AwaitTransaction:
    """Block until the open transaction is decided, and report it, before anything else."""


@frozen
class ReplaceProducer:
    """Destroy the producer and make another with the same transactional id."""

    reason: str


@frozen
class LoadSnapshot:
    """Claim the partition's snapshots for this term, and load the newest usable checkpoint."""

    partition: PartitionKey
    attempt: int
    term: int
    topics: TopicIds
    folded_by: FoldedBy


@frozen
class WriteCheckpoint:
    """Write it, as a change to `extends` (None: it holds every state), over the head row that has `head`; claim first where
    that was not done. `entries`: aggregate ids with their encoded states; `covers_all`: of every one that
    `extends` knows, so that nothing of it is needed."""

    partition: PartitionKey
    attempt: int
    checkpoint: Checkpoint
    entries: Sequence[tuple[bytes, bytes]]
    extends: StoredCheckpoint | None
    head: uuid.UUID | None
    claimed: bool
    covers_all: bool


@frozen
class StartReading:
    """Read the events partition from there, committed records only."""

    partition: PartitionKey
    position: Position


@frozen
class StopReading:
    partition: PartitionKey


@frozen
class Open:
    """Seek the commands partition there, and resume it."""

    partition: PartitionKey
    position: Position


@frozen
class Pause:
    partition: PartitionKey


@frozen
class SendAnswers:
    answers: Sequence[Answer]


@frozen
class RecordOverlong:
    """Keep for a later life how often deciding this command took too long."""

    command: CommandPlace
    times: int


@frozen
class ReloadSchemas:
    """Schema files may have been added by a deployment since."""


@frozen
class FindBlocker:
    """A recovery reads nothing: find out what holds its reader back, and report it as TakeoverRefused with these
    words before what was found."""

    partition: PartitionKey
    attempt: int
    words: str


@frozen
class Halt:
    """This partition stops loudly; the others run on. `code`: of the reason (see `errors`)."""

    partition: PartitionKey
    reason: str
    code: str


Effect = (
    FetchStableOffset
    | Commit
    | AwaitTransaction
    | ReplaceProducer
    | LoadSnapshot
    | WriteCheckpoint
    | StartReading
    | StopReading
    | Open
    | Pause
    | SendAnswers
    | RecordOverlong
    | ReloadSchemas
    | FindBlocker
    | Halt
)

"""What the loop expects of the world. The Kafka adapters meet these; so do the fakes of tests.

Every method is called on the loop's thread unless it says otherwise.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from eventsrc.engine.batch import Answer, Batch
from eventsrc.engine.effects import LoadSnapshot, WriteCheckpoint
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.records import ConsumedRecord
from eventsrc.engine.report import WorkerReport
from eventsrc.model.position import Offset, Position
from eventsrc.model.snapshot import DamagedCheckpoint, Head, Listed, Run, Segment, StoredCheckpoint

Polled = Mapping[PartitionKey, Sequence[ConsumedRecord]]

OnPartitionError = Callable[[PartitionKey, str], None]
"""How a reader tells, inside `poll`, that a partition cannot be read on: its topic does not hold the next position."""


class Transactions(Protocol):
    """One transactional producer that holds its transactional id: what an earlier holder left open is decided. A later
    holder ends this one: what it has open is aborted, and its calls raise OutcomeInDoubt.

    One transaction at a time: `send`, then `finish` or `abort`. `finish`, `abort` and `suspect` are called on the commit
    thread, never while `send` runs. After OutcomeInDoubt a producer is replaced, never used again."""

    def send(self, batch: Batch) -> None:
        """Begin, and produce every record and dead letter, those of a partition in their order. A dead letter's
        partition is taken modulo its topic's count. Readers of committed records see none of it yet.

        Raises OutcomeInDoubt; AbortRequired, before anything is produced where the batch's metadata proves no
        membership. A batch without a section or with a negative position would not be fenced: AssertionError."""

    def finish(self, batch: Batch) -> Mapping[PartitionKey, Offset]:
        """Add each section's position and note under the batch's group metadata, commit, wait for the outcome. The note
        of a barrier is written here: it names the barrier's offset as its owner's term. Returns the offset of the last
        record per events partition.

        Raises AbortRequired, where the metadata is of an earlier generation or of nobody in the group; OutcomeInDoubt,
        as TransactionOutlived where the transaction was open for longer than the broker allows."""

    def abort(self) -> None:
        """Returns once the transaction is known to have had no effect; at once where none was begun. Another may be sent
        then. Raises OutcomeInDoubt."""

    @property
    def suspect(self) -> bool:
        """A late copy of a commit request may still be on its way: replace this producer before its next begin."""

    def abandon(self) -> None:
        """No commit is begun any more, and whatever is being repeated ends with OutcomeInDoubt, at the latest when the
        broker answers again. From any thread."""


class RebalanceListener(Protocol):
    """Told inside `Membership.poll` and `serve`, on the polling thread; of nothing once `close` has begun. Must not
    raise."""

    def on_assigned(self, partitions: tuple[PartitionKey, ...]) -> None:
        """They are ours, and bring nothing before they are opened. May be empty: a new generation, nothing new."""

    def on_revoked(self, partitions: tuple[PartitionKey, ...]) -> None:
        """They become another's when this returns; until then, transactions that concern them may be finished."""

    def on_lost(self, partitions: tuple[PartitionKey, ...]) -> None:
        """They may be another's already."""


class Membership(Protocol):
    """The group's consumer: a static member that reads the committed records of all command topics."""

    def poll(self, limit: int, timeout_s: float) -> Polled:
        """Up to `limit` records, those of a partition in offset order; waits for the first alone. Rebalance callbacks run
        inside: what the same poll took from a partition that they revoked or opened is void, and not returned. Raises
        Fenced where another process has this instance id."""

    def serve(self) -> None:
        """Stay a member, without taking a record: the next poll brings what it would have brought."""

    def metadata(self) -> bytes:
        """Proof of membership and generation, as of now; before the first assignment, of none. Opaque."""

    def open(self, key: PartitionKey, position: Position) -> None:
        """The next record of it is the first at or after that position, also where it was open and read further.
        Nothing happens where it is not ours."""

    def ends(self) -> Mapping[PartitionKey, Position]:
        """Of the open partitions' logs, as far as what was fetched tells: nobody is asked. May be late by a moment."""

    def pause(self, key: PartitionKey) -> None:
        """Nothing more of it until it is opened again."""

    def close(self) -> None:
        """Leave. A static member's partitions are kept for its next life until its session ends."""


class EventsLog(Protocol):
    """Reads events partitions, committed records only."""

    @property
    def active(self) -> bool:
        """Something is being read."""

    def start(self, key: PartitionKey, position: Position) -> None:
        """Read it from that position on, again from there where it was being read already. Others are read on."""

    def stop(self, key: PartitionKey) -> None:
        """Nothing more of it. Others are read on."""

    def poll(self, limit: int, timeout_s: float) -> Polled:
        """Up to `limit` records, those of a partition in offset order; waits for the first alone. Nothing at or above a
        record that is not decided yet, nothing aborted."""

    def close(self) -> None: ...


class Replies(Protocol):
    """Answers to callers; outside every transaction."""

    def send(self, answers: Sequence[Answer]) -> None:
        """Each to the partition of the replies topic that it names, keyed by its command id. Never blocks: what cannot be
        sent is dropped. An `ok` too large for a record goes as a `duplicate` without events: its caller reads them back;
        another too large goes with its words cut.
        Raises AccessDenied alone, for earlier ones as well: call it now and then, with none."""

    def flush(self, timeout_s: float) -> None:
        """Returns when all are delivered, or the time is over."""


class StableOffsets(Protocol):
    """Asks for the committed offset that no earlier owner can change any more; the answer comes as an input."""

    def ask(self, key: PartitionKey, attempt: int, metadata: bytes) -> None:
        """Answered once by StableOffsetFetched, with this attempt and metadata, as soon as no accepted offset of the
        partition is undecided. Questions wait for their own partition alone. An owner that has left the group is
        fenced: its open transaction is aborted. A new question replaces an earlier one of the same partition."""

    def cancel(self, key: PartitionKey) -> None:
        """No answer is wanted any more."""

    def close(self) -> None:
        """Nothing is answered after it."""


class Snapshots(Protocol):
    """Performs what the engine asks of the snapshot store, elsewhere; each answer comes as an input."""

    def load(self, asked: LoadSnapshot) -> None: ...

    def write(self, asked: WriteCheckpoint) -> None: ...

    def forget(self, key: PartitionKey) -> None:
        """It is no longer ours."""

    def close(self, timeout_s: float) -> None: ...


class Status(Protocol):
    """Where a worker says how it is."""

    def write(self, report: WorkerReport) -> None: ...


class SnapshotStore(Protocol):
    """Checkpoints of partitions. Blocks its caller: for snapshot threads and commands, never the loop; one thread at a time.

    Every method raises SnapshotsUnavailable where the store does not answer, or its tables are missing or newer than this
    version knows; what was begun then has no effect, or (`commit`) the effect is found out before it returns or raises.
    """

    def claim(self, key: PartitionKey, term: int, events_topic_id: str) -> Head:
        """From now on only `term` may commit checkpoints of this partition. Idempotent. Raises SnapshotSuperseded where the
        head has this term's successor (on the same events topic: on another one the term means nothing)."""

    def listed(self, key: PartitionKey) -> Sequence[Listed]:
        """All that are kept, newest first: by position, then by when they were taken. Cheap: no manifest is read."""

    def checkpoints(
        self, key: PartitionKey, ids: Sequence[uuid.UUID] | None = None
    ) -> Sequence[StoredCheckpoint | DamagedCheckpoint]:
        """Those, in that order, or all that are kept, as `listed` has them; without those that have gone."""

    def read(self, segments: Sequence[Segment]) -> Iterator[bytes]:
        """Their blocks, in the order asked for; each as long as its segment says and with its CRC. Raises SnapshotDamaged."""

    def add_segments(self, key: PartitionKey, term: int, blocks: Iterable[bytes]) -> Run:
        """Write blocks that no checkpoint names yet; durable when this returns."""

    def commit(self, key: PartitionKey, stored: StoredCheckpoint, base: uuid.UUID | None) -> None:
        """Make it the head, in one transaction, if the head is `base` and has its term. Raises SnapshotSuperseded.

        Unless it was superseded, it is known to be committed when this returns."""

    def collect(self, key: PartitionKey, term: int, keep: Collection[uuid.UUID]) -> int:
        """Delete these partition's checkpoints that are not to be kept, and the segments of this term or earlier that no
        kept one names. The head is always kept. Returns how many checkpoints went. Raises SnapshotSuperseded."""

    def request(self, key: PartitionKey) -> datetime:
        """Ask the owner for a checkpoint; returns the store's time of asking."""

    def discard(self, key: PartitionKey) -> int:
        """An operator's decision: delete every checkpoint of this partition, its segments, and whose term it is; an owner
        that is at work is superseded. Idempotent. Returns how many checkpoints went."""

    def heads(self, keys: Collection[PartitionKey]) -> Mapping[PartitionKey, Head]:
        """As far as they exist, in one round trip."""

    def close(self) -> None: ...


class DecidingRecord(Protocol):
    """What outlives the process, of the command being decided."""

    def deciding(self, place: tuple[str, int, int] | None) -> None:
        """Aggregate, partition number and offset of it; None: nothing is being decided."""

    def overlong(self, place: tuple[str, int, int], times: int) -> None:
        """Deciding this one has taken too long, so many times by now. Kept until a clean end."""

    def progressed(self) -> None:
        """Enough was processed: what ended earlier lives is behind us."""

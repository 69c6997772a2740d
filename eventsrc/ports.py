"""What the loop expects of the world. The Kafka adapters meet these; so do the fakes of tests.

Every method is called on the loop's thread unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from eventsrc.engine.batch import Answer, Batch
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.records import ConsumedRecord
from eventsrc.model.position import Offset, Position

Polled = Mapping[PartitionKey, Sequence[ConsumedRecord]]


class Transactions(Protocol):
    """One transactional producer. `finish`, `abort` and `suspect` are called on the commit thread, never while `send`
    runs."""

    def send(self, batch: Batch) -> None:
        """Begin, and produce every record. Raises AbortRequired, OutcomeInDoubt."""

    def finish(self, batch: Batch) -> Mapping[PartitionKey, Offset]:
        """Add offsets under the batch's group metadata, commit, wait for the outcome. Returns the offset of the last
        record per events partition. Raises AbortRequired, OutcomeInDoubt."""

    def abort(self) -> None:
        """Returns once the transaction is known to have had no effect. Raises OutcomeInDoubt."""

    @property
    def suspect(self) -> bool:
        """A late copy of a commit request may still be on its way: replace this producer before its next begin."""

    def abandon(self) -> None:
        """Whatever is being repeated ends with OutcomeInDoubt. From any thread."""


class Membership(Protocol):
    """The group's consumer."""

    def poll(self, limit: int, timeout_s: float) -> Polled:
        """Rebalance callbacks run inside. Raises Fenced."""

    def serve(self) -> None:
        """Stay a member, without taking a record."""

    def metadata(self) -> bytes:
        """Proof of membership and generation, as of now."""

    def open(self, key: PartitionKey, position: Position) -> None: ...

    def pause(self, key: PartitionKey) -> None: ...

    def close(self) -> None: ...


class EventsLog(Protocol):
    """Reads events partitions from their beginning, committed records only."""

    @property
    def active(self) -> bool: ...

    def start(self, key: PartitionKey) -> None: ...

    def stop(self, key: PartitionKey) -> None: ...

    def poll(self, limit: int, timeout_s: float) -> Polled: ...

    def close(self) -> None: ...


class Replies(Protocol):
    """Answers to callers; outside every transaction."""

    def send(self, answers: Sequence[Answer]) -> None: ...

    def flush(self, timeout_s: float) -> None: ...


class StableOffsets(Protocol):
    """Asks for the committed offset that no earlier owner can change any more; the answer comes as an input."""

    def ask(self, key: PartitionKey, attempt: int, metadata: bytes) -> None: ...

    def cancel(self, key: PartitionKey) -> None: ...

    def close(self) -> None: ...


class DecidingRecord(Protocol):
    """What outlives the process, of the command being decided."""

    def deciding(self, place: tuple[str, int, int] | None) -> None: ...

    def progressed(self) -> None: ...

"""What the engine's driver expects of the world. Adapters meet these Protocols; tests meet them in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from eventsrc.engine.batch import Batch
from eventsrc.engine.records import ConsumedRecord
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.position import Offset, Position

GroupMetadata = Any
"""Opaque proof of membership and generation, as the client library hands it out. Taken on the polling thread only."""


class TransactionPort(Protocol):
    """One transactional producer. `send` on the loop's thread, `finish` on the commit thread, never both at once."""

    transactional_id: str

    def send(self, batch: Batch) -> None:
        """Begin, and produce every record of the batch. Raises AbortRequired, OutcomeInDoubt, Fenced."""

    def finish(self, batch: Batch) -> Mapping[PartitionKey, Offset]:
        """Add offsets under the batch's group metadata, commit, and wait for the outcome. Blocks; releases the GIL.

        Returns the offset of the last record per events partition. Raises AbortRequired once the abort is known to
        have happened; OutcomeInDoubt where it is not known; Fenced where another took this identity over."""

    @property
    def suspect(self) -> bool:
        """A late copy of a commit request may still be on its way: replace this producer before its next begin."""

    def close(self) -> None: ...


class MembershipPort(Protocol):
    """The group's consumer, on the loop's thread."""

    def poll(self, limit: int, timeout_s: float) -> Sequence[ConsumedRecord]: ...

    def metadata(self) -> GroupMetadata: ...

    def open(self, partition: PartitionKey, position: Position) -> None: ...

    def rewind(self, partition: PartitionKey, position: Position) -> None: ...

    def pause(self, partition: PartitionKey) -> None: ...


class EventsPort(Protocol):
    """Reads events partitions, committed records only, from a position on."""

    def start(self, partition: PartitionKey, position: Position) -> None: ...

    def stop(self, partition: PartitionKey) -> None: ...

    def poll(self, limit: int, timeout_s: float) -> Sequence[ConsumedRecord]: ...


class RepliesPort(Protocol):
    """Answers to callers; not part of any transaction."""

    def send(self, partition: int, command_id: bytes, value: bytes) -> None: ...

    def flush(self, timeout_s: float) -> None: ...

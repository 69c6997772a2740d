"""What one transaction carries, and how to take it back: records, dead letters, positions, answers, undo log.

A batch is filled by `engine.decide` (or holds barriers) and is performed as a whole by the driver. Nothing in it has
happened until its transaction has committed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from eventsrc.codec.control import ReplyStatus
from eventsrc.engine.counts import Counts
from eventsrc.engine.notes import Claim, TopicIds
from eventsrc.model.position import Position

if TYPE_CHECKING:
    from eventsrc.engine.partition import Partition, PartitionKey
    from eventsrc.engine.preimage import PreImage


OutputRecord = tuple[bytes, bytes, int]
"""A record for the events partition: key, value, hybrid time in milliseconds. A plain tuple: one is made per event."""


class DeadLetter(NamedTuple):
    """A record for the dead-letter topic: the original bytes, the cause in headers. `partition` is the source's."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def reason(self) -> str:
        """The contract's word, which stands in the first header."""
        return (self.headers[0][1] or b"").decode()


class Answer(NamedTuple):
    """What a caller is told after the commit; `partition` is of the replies topic."""

    partition: int
    command_id: bytes
    status: ReplyStatus
    sequence: int
    events: tuple[bytes, ...]
    reason: str | None
    details: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Section:
    """The part of a batch that concerns one partition.

    `start`: where to read again if the batch is taken back. `position`: what it commits, never negative.
    `undo`: for each aggregate touched, its instance and its pre-image; None where it did not exist before; `created`: how
    many of them did not.
    `counts_before`, `counts_after`: of its partition, without and with what this section does.
    `note`: what stands beside the offset that it commits; `applied`: how many commands have made events in this term then.
    `partition` is None in a batch of barriers: nothing is recovered yet; `attempt` is the takeover it belongs to,
    `topics` and `before` what its note will say, once the barrier's offset is known.
    """

    key: PartitionKey
    start: Position
    position: Position
    partition: Partition | None = None
    attempt: int = 0
    counts_before: Counts = field(default_factory=Counts)
    counts_after: Counts = field(default_factory=Counts)
    records: list[OutputRecord] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    undo: dict[bytes, tuple[Any, PreImage | None]] = field(default_factory=dict)
    created: int = 0
    note: str = ""
    applied: int = 0
    topics: TopicIds | None = None
    before: Claim | None = None
    first_refusal: str = ""


class BatchKind(enum.Enum):
    COMMANDS = enum.auto()
    BARRIERS = enum.auto()


@dataclass(slots=True, eq=False)
class Batch:
    """One transaction. `metadata` is the group metadata taken on the polling thread when its records were polled (for
    barriers: when their stable offsets were asked for). It is the proof that the fence hangs on."""

    kind: BatchKind
    metadata: Any
    sections: dict[PartitionKey, Section] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    commands: int = 0
    output_bytes: int = 0

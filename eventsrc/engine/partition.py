"""What a worker holds of one partition it owns and has recovered: live aggregates, position, term, counts.

Owned by the loop's thread. The state is what the events say, committed or in a transaction of our own that is not
decided yet; the undo logs of those batches lead back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from eventsrc.clock import HybridClock
from eventsrc.engine.batch import Section
from eventsrc.engine.counts import Counts
from eventsrc.engine.records import ConsumedRecord
from eventsrc.engine.states import States
from eventsrc.model.position import Offset, Position

if TYPE_CHECKING:
    from eventsrc.engine.compiled import CompiledAggregate


class PartitionKey(NamedTuple):
    """An aggregate's kebab-case name and a partition number: its commands and its events have the same."""

    aggregate: str
    number: int

    def __str__(self) -> str:
        return f"{self.aggregate}/{self.number}"


CommandPlace = tuple[str, int, int]
"""Aggregate, partition number, offset of a command."""


class UnknownSchemaHere(NamedTuple):
    """A well-framed command whose schema is not known yet: the partition waits at this offset."""

    offset: Offset
    fingerprint: bytes


@dataclass(slots=True, eq=False)
class Partition:
    """Recovered, and open for commands.

    `states`: its aggregates; `live`: those of them that are objects now. `position`: the next command to decide; moves
    with each decided one, back when a batch is taken back. `last_event_offset`: of our own last committed record, from its
    delivery report; never from a watermark.
    """

    key: PartitionKey
    compiled: CompiledAggregate
    partition_count: int
    states: States
    position: Position
    term: int
    clock: HybridClock
    counts: Counts = field(default_factory=Counts)
    last_event_offset: Offset | None = None
    waiting_for: UnknownSchemaHere | None = None
    live: dict[bytes, Any] = field(init=False)
    _sought: bool = True
    _gap_seen_at: Position | None = None

    def __post_init__(self) -> None:
        self.live = self.states.live

    def reopened(self) -> Position:
        """The partition is to be read from its position again; returns that."""
        self._sought = True
        return self.position

    def follows(self, records: Sequence[ConsumedRecord]) -> bool:
        """Whether what a poll brought may be decided.

        False where the first records after a seek begin behind the position: the client has skipped commands, or
        there are none between (a transaction marker, an aborted record). Sought once more, the second answer counts."""
        if not self._sought:
            return True
        first = next((offset for record in records if (offset := record.offset() or 0) >= self.position), None)
        if first is None:
            return True  # all from before the seek: nothing of this is decided
        if self.position in (first, self._gap_seen_at):
            self._sought = False
            return True
        self._gap_seen_at = self.position
        return False

    def section(self) -> Section:
        """An empty part of a batch, beginning where this partition now stands."""
        return Section(self.key, self.position, self.position, partition=self, counts_before=self.counts.copy())

    def take_back(self, section: Section) -> int:
        """Undo what `section` did; returns how many aggregates it had touched. Newest sections first."""
        restore = self.compiled.restore
        for key, (instance, before) in section.undo.items():
            if before is None:
                del self.live[key]
            else:
                restore(instance, before)
        self.position = section.start
        self._sought = True
        self.counts = section.counts_before
        self.waiting_for = None
        return len(section.undo)

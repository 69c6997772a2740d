"""Whether a checkpoint may be used to recover a partition, and which one to use.

What is missing, damaged, of another log or of other code is never used silently: an older checkpoint takes its place,
or the log does.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from eventsrc.codes import HaltCode
from eventsrc.engine.notes import TopicIds
from eventsrc.errors import LogInconsistent
from eventsrc.model.snapshot import Checkpoint, FoldedBy, StoredCheckpoint

DISCARD = (
    "To recover this partition from its log instead, discard its checkpoints (eventsrc checkpoint discard) and restart the "
    "worker"
)


def refusal(checkpoint: Checkpoint, topics: TopicIds, folded_by: FoldedBy) -> str | None:
    """Why it cannot be used with this log and this code; None where it can."""
    if checkpoint.events_topic_id != topics.events:
        return f"it is of another events topic (topic id {checkpoint.events_topic_id}; now {topics.events})"
    if checkpoint.commands_topic_id != topics.commands:
        return f"it is of another commands topic (topic id {checkpoint.commands_topic_id}; now {topics.commands})"
    then, now = checkpoint.folded_by, folded_by
    if then.version != now.version:
        return f"it was folded by version {then.version} of the aggregate; the code has version {now.version}"
    if then.state_fingerprint != now.state_fingerprint:
        schemas = f"schema {then.state_fingerprint:016x}; now {now.state_fingerprint:016x}"
        return f"its states have other fields, types or defaults ({schemas})"
    return None


@dataclass(slots=True)
class PassedOver:
    """Checkpoints that may not be used, met newest first."""

    _by_reason: dict[str, list[uuid.UUID]] = field(default_factory=dict)

    def add(self, checkpoint: uuid.UUID, reason: str) -> None:
        self._by_reason.setdefault(reason, []).append(checkpoint)

    def lines(self) -> tuple[str, ...]:
        """One for each reason."""
        return tuple(f"{_named(ids)}: {reason}" for reason, ids in self._by_reason.items())


def is_of_later_term(stored: StoredCheckpoint, topics: TopicIds, term: int) -> bool:
    """An owner of this log after `term` has written it."""
    return stored.checkpoint.events_topic_id == topics.events and stored.checkpoint.term > term


def _named(ids: Sequence[object]) -> str:
    """Checkpoints, the newest first, in a message."""
    return f"checkpoint {ids[0]}" if len(ids) == 1 else f"{len(ids)} checkpoints, the newest {ids[0]}"


def verify_below(checkpoint: Checkpoint, term: int) -> None:
    """Our own barrier is the newest record of the log: nothing that a checkpoint has seen is above it. Raises
    LogInconsistent."""
    if checkpoint.seen_position > term:
        raise LogInconsistent(
            f"its newest checkpoint has seen events up to offset {checkpoint.seen.offset}, and our own barrier was written at "
            f"offset {term}: the events topic was truncated. Stop the workers and restore it. To go on with what is there "
            "instead, discard this partition's checkpoints: eventsrc checkpoint discard",
            HaltCode.CHECKPOINT_ABOVE_THE_LOG,
        )

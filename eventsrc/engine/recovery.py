"""What must be true of a partition before it opens, and where its commands resume.

The verdicts of a takeover: between the group's committed offset, the log of commands and the log of events, nothing
may be missing. Where it is, the partition halts and says what to do; it never guesses.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.takeover import Ownership
from eventsrc.errors import LogInconsistent
from eventsrc.model.position import Position

logger = logging.getLogger("eventsrc.engine")


class TopicIds(NamedTuple):
    """Kafka's own ids of an aggregate's two topics: a recreated topic has another."""

    commands: str
    events: str


def verify_stable_offset(ownership: Ownership) -> None:
    """Before the barrier. Raises LogInconsistent where commands between the committed offset and the log are gone."""
    committed = ownership.committed
    if committed is None:
        return
    if committed < ownership.log_start:
        raise LogInconsistent(
            f"commands from offset {committed} to {ownership.log_start - 1} were deleted before they were processed "
            "(retention). If they may be lost, move the group on: kafka-consumer-groups.sh --reset-offsets --to-earliest "
            "while no worker runs"
        )
    if committed > ownership.log_end:
        raise LogInconsistent(
            f"the group has processed commands up to offset {committed}, but their topic ends at {ownership.log_end}: it was "
            "truncated or deleted and made anew. Stop the workers; restore the topic, or start under another pipeline name"
        )


def resume_position(ownership: Ownership, fold: PartitionFold, ids: TopicIds) -> Position:
    """After our own barrier was read: max(committed offset, highest source offset in the events + 1).

    Raises LogInconsistent where the events topic is not the one earlier owners wrote to.
    """
    _same_topics(ownership, fold, ids)
    position = ownership.resume_from
    if (
        ownership.committed is None
        and fold.highest_source is not None
        and fold.highest_source + 1 < ownership.log_start
    ):
        raise LogInconsistent(
            f"the group's committed offset is missing, events exist up to command offset {fold.highest_source}, and the commands "
            f"up to offset {ownership.log_start - 1} were deleted (retention): whether they were processed is not known. If they "
            "may be lost, restart this worker: commands resume at the log start"
        )
    if fold.highest_source is not None and fold.highest_source + 1 > position:
        logger.warning(
            "partition %s: the committed offset was %s, but events exist up to command offset %d (an operator's reset, or "
            "a lost group); commands resume after that",
            ownership.key, "missing" if ownership.committed is None else ownership.committed, fold.highest_source,
        )  # fmt: skip
        position = Position(fold.highest_source + 1)
    if position > ownership.log_end:
        raise LogInconsistent(
            f"events exist up to command offset {position - 1}, but the commands topic ends at {ownership.log_end}: it was "
            "truncated or deleted and made anew. Stop the workers; restore the topic, or start under another pipeline name"
        )
    return position


def _same_topics(ownership: Ownership, fold: PartitionFold, ids: TopicIds) -> None:
    earlier = ownership.earlier
    own = ownership.term
    if (
        earlier is not None
        and earlier.term is not None
        and (earlier.term not in fold.barriers or own is None or earlier.term >= own)
    ):
        raise LogInconsistent(
            f"instance {earlier.instance} wrote its barrier at offset {earlier.term}, and it is no longer in the events "
            "topic: the topic was truncated, or deleted and made anew. Stop the workers; restore the topic from its copy, "
            "or start under another pipeline name"
        )
    before = fold.earlier_barrier
    if before is None:
        return
    for what, then, now in (
        ("events", before.events_topic_id, ids.events),
        ("commands", before.commands_topic_id, ids.commands),
    ):
        if then != now:
            raise LogInconsistent(
                f"the {what} topic is another one (topic id {now}) than the last owner's (topic id {then}): it was deleted and "
                "made anew. Stop the workers; restore the topic from its copy, or start under another pipeline name"
            )

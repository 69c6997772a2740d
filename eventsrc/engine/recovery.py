"""What must be true of a partition before it opens, and where its commands resume.

The verdicts of a takeover: between the group's committed offset, the log of commands and the log of events, nothing
may be missing. Where it is, the partition halts and says what to do; it never guesses.
"""

from __future__ import annotations

import logging

from eventsrc.codes import HaltCode
from eventsrc.engine.effects import StableOffsetFetched
from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.notes import TopicIds
from eventsrc.engine.takeover import Ownership
from eventsrc.errors import LogInconsistent
from eventsrc.model.position import Position

logger = logging.getLogger("eventsrc.engine")


def first_position(fetched: StableOffsetFetched) -> Position:
    """What our barrier commits again: the group's offset; at a pipeline's first start, the log start.

    Where the group's offset is lost but events exist, 0: the events or the checkpoint will say where to go on, at this start
    and, if no command comes in between, at every later one."""
    if fetched.committed is not None:
        return fetched.committed
    return Position(0) if fetched.events_end else fetched.log_start


def verify_stable_offset(ownership: Ownership, ids: TopicIds) -> None:
    """Before anything is written, so that a refusal stands at every later start too. Raises LogInconsistent where a
    topic is not the one that the last owner knew, or where commands or events are gone."""
    _same_topics(ownership, ids)
    committed = ownership.committed
    if committed is None:
        return
    if committed > ownership.log_end:
        raise LogInconsistent(
            f"the group has processed commands up to offset {committed}, but their topic ends at {ownership.log_end}: it was "
            "truncated or deleted and made anew. Stop the workers; restore the topic, or start under another pipeline name",
            HaltCode.COMMANDS_TRUNCATED,
        )


def resume_position(ownership: Ownership, fold: PartitionFold, ids: TopicIds) -> Position:
    """After our own barrier was read: max(committed offset, highest source offset in the events + 1, the checkpoint's).

    Raises LogInconsistent where the events topic is not the one earlier owners wrote to, or where commands are gone: not
    before, as what the group forgot, or a copy of it has wrong, may be known here.
    """
    _same_log(ownership, fold, ids)
    position = ownership.resume_from
    known = Position(0) if fold.start is None else fold.start.commands_position
    if fold.highest_source is not None:
        known = max(known, Position(fold.highest_source + 1))
    if known > position:
        logger.warning(
            "partition %s: the committed offset was %s, but commands are known to be processed up to offset %d (an operator's "
            "reset, or a lost group); commands resume after that",
            ownership.key, "missing" if ownership.committed is None else ownership.committed, known - 1,
            extra={"partition": str(ownership.key), "offset": known, "term": ownership.term},
        )  # fmt: skip
        position = known
    reached = known if ownership.committed is None and known else position
    if reached < ownership.log_start:
        raise LogInconsistent(_deleted(ownership, reached), HaltCode.COMMANDS_DELETED)
    if position > ownership.log_end:
        raise LogInconsistent(
            f"commands were processed up to offset {position - 1}, but the commands topic ends at {ownership.log_end}: it was "
            "truncated or deleted and made anew. Stop the workers; restore the topic, or start under another pipeline name",
            HaltCode.COMMANDS_TRUNCATED,
        )
    return position


def _deleted(ownership: Ownership, position: Position) -> str:
    missing = f"commands from offset {position} to {ownership.log_start - 1} were deleted"
    if ownership.committed is None:
        found = f"the group's committed offset is missing, and {missing} (retention): whether they were processed is not known"
    else:
        found = f"{missing} before they were processed (retention)"
    return (
        f"{found}. If they may be lost, move the group on: kafka-consumer-groups.sh --reset-offsets --to-earliest while no "
        "worker runs"
    )


def _same_topics(ownership: Ownership, ids: TopicIds) -> None:
    earlier = ownership.earlier
    if earlier is not None and earlier.topics is not None and earlier.topics != ids:
        what, then, now = next(
            (name, then, now)
            for name, then, now in zip(("commands", "events"), earlier.topics, ids, strict=True)
            if then != now
        )
        raise LogInconsistent(
            f"the {what} topic is another one (topic id {now}) than instance {earlier.instance} knew (topic id {then}): it was "
            f"deleted and made anew. {_ACCEPT}",
            HaltCode.TOPIC_RECREATED,
        )
    if ownership.events_start is not None and ownership.events_start > 0:
        raise LogInconsistent(
            f"the events topic begins at offset {ownership.events_start}: history below it was deleted (a retention, or "
            "kafka-delete-records). Stop the workers; restore the topic, or start under another pipeline name",
            HaltCode.HISTORY_DELETED,
        )
    end = ownership.events_end
    if earlier is not None and earlier.term is not None and end is not None and earlier.term >= end:
        raise LogInconsistent(
            f"instance {earlier.instance} wrote its barrier at offset {earlier.term}, and the events topic ends at {end}: it was "
            f"truncated, or deleted and made anew. {_ACCEPT}",
            HaltCode.EVENTS_TRUNCATED,
        )


def _same_log(ownership: Ownership, fold: PartitionFold, ids: TopicIds) -> None:
    earlier, own = ownership.earlier, ownership.term
    since = 0 if fold.start is None else fold.start.term  # what is older was judged before the checkpoint was taken
    if (
        earlier is not None
        and earlier.term is not None
        and earlier.term >= since
        and (earlier.term not in fold.barriers or own is None or earlier.term >= own)
    ):
        raise LogInconsistent(
            f"instance {earlier.instance} wrote its barrier at offset {earlier.term}, and it is no longer in the events "
            f"topic: the topic was truncated, or deleted and made anew. {_ACCEPT}",
            HaltCode.EVENTS_TRUNCATED,
        )
    claim = earlier.claim if earlier is not None else None
    found = fold.applied.get(claim.term, 0) if claim is not None else 0
    if claim is not None and claim.term >= since and found != claim.applied:
        raise LogInconsistent(
            f"in term {claim.term} {claim.applied} commands were applied and committed, and the events topic holds {found} of "
            "them: the brokers lost committed records, or another program wrote some. Stop the workers; restore the events "
            "topic. To go on with what is there, accepting the loss, delete the group's offsets of the commands topic "
            "(kafka-consumer-groups.sh --delete-offsets) and start again",
            HaltCode.EVENTS_LOST,
        )
    writers = fold.writer_commands_topic_id
    if writers is not None and writers != ids.commands:
        raise LogInconsistent(
            f"the commands topic is another one (topic id {ids.commands}) than the one whose commands made the last events "
            f"(topic id {writers}): its offsets mean nothing here. Stop the workers; start under another "
            "pipeline name",
            HaltCode.TOPIC_RECREATED,
        )


_ACCEPT = (
    "Stop the workers; restore the topic, or start under another pipeline name. If it was restored from a copy on purpose, "
    "delete the group's offsets of the commands topic (kafka-consumer-groups.sh --delete-offsets) and start again"
)

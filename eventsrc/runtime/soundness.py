"""What the topics, the group's offsets, the log and the checkpoints of one partition say of each other: the verdicts.

Pure. The same verdicts as a takeover's (`engine.recovery`, `engine.snapshots`), but all of them, of a partition that may be
at work meanwhile: so each says what it rests on that moves, and is only given where no move explains it. `before` was read
before the log's end was asked for, `after` once the log had been read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eventsrc.adapters.kafka.group_offsets import PartitionOffsets
from eventsrc.adapters.kafka.topics import ObservedTopic, PlannedTopic, topic_problems
from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.notes import Note, TopicIds
from eventsrc.engine.partition import PartitionKey
from eventsrc.runtime.findings import MADE_ANEW, RESTORE, RESTORED, Finding, PartitionTopics, Typed

_DURABILITY = {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}


def topic_findings(wanted: PlannedTopic, observed: ObservedTopic | None, typed: Typed) -> Iterator[Finding]:
    """Existence, partitions, configuration."""
    for problem in topic_problems(wanted, observed):
        if observed is None:
            what, safe = "it does not exist", "Creating what is missing changes nothing that exists"
            yield Finding("error", wanted.name, what, wanted.name, safe, typed.eventsrc("topics create"))
            continue
        said = problem.removeprefix(f"{wanted.name}: ")
        name = said.partition(" ")[0]
        value = wanted.config.get(name) or _DURABILITY.get(name)
        if value is None:
            safe, command = "Change nothing before the partition counts agree", typed.describe_topic(wanted.name)
        else:
            safe, command = "It can be altered while workers run", typed.alter_topic(wanted.name, {name: value})
        yield Finding("error", wanted.name, said, f"{wanted.name}, topic id {observed.topic_id}", safe, command)


# ---- one partition


@dataclass(slots=True)
class PartitionFacts:
    """What was found. `complete`: the log was read to its end, and contradicts itself nowhere. `checkpointed`: up to where a
    checkpoint that may be used knows commands to be processed."""

    key: PartitionKey
    ids: TopicIds
    before: PartitionOffsets
    after: PartitionOffsets
    fold: PartitionFold
    complete: bool
    checkpointed: int = 0


def offset_findings(facts: PartitionFacts, typed: Typed) -> Iterator[Finding]:
    """The group's offsets against both logs."""
    topics = PartitionTopics.of(typed.pipeline, facts.key)
    yield from _topic_id_findings(facts, typed, topics)
    if facts.before.events_start > 0:
        yield Finding(
            "error",
            str(facts.key),
            f"the events topic begins at offset {facts.before.events_start}: history below it was deleted (a retention, or "
            "kafka-delete-records)",
            topics.events,
            RESTORE,
            typed.describe_topic(topics.events.rpartition("/")[0]),
        )
    yield from _position_findings(facts, typed, topics)
    if facts.complete:
        yield from _term_findings(facts, typed, topics)


def _topic_id_findings(facts: PartitionFacts, typed: Typed, topics: PartitionTopics) -> Iterator[Finding]:
    note = facts.after.note
    if note is not None and note.topics is not None:
        for then, now, topic in zip(note.topics, facts.ids, topics, strict=True):
            if then != now:
                yield Finding(
                    "error",
                    str(facts.key),
                    f"the topic is another one than instance {note.instance} knew: it was deleted and made anew",
                    f"{topic}, topic id {now}; before {then}",
                    RESTORED,
                    typed.delete_offsets(facts.key),
                )
    writers = facts.fold.writer_commands_topic_id
    if writers is not None and writers != facts.ids.commands:
        yield Finding(
            "error",
            str(facts.key),
            "the commands topic is another one than the one whose commands made the last events: its offsets mean nothing here",
            f"{topics.commands}, topic id {facts.ids.commands}; the events' barrier names {writers}",
            "Stop the workers; start under another pipeline name",
        )


def _position_findings(facts: PartitionFacts, typed: Typed, topics: PartitionTopics) -> Iterator[Finding]:
    committed, start, end = facts.after.committed, facts.after.commands_start, facts.after.commands_end
    source = facts.fold.highest_source
    known = 0 if source is None else source + 1
    earliest = None if committed is None else facts.before.committed
    subject, where = str(facts.key), f"{topics.commands}, {start} to {end}"
    reached = max(known, committed or 0, facts.checkpointed)
    if earliest is not None and earliest > end:
        what = f"the group has processed commands up to offset {earliest}, but their topic ends at {end}: {MADE_ANEW}"
        yield Finding("error", subject, what, where, RESTORE, typed.describe_group())
    elif known > end:
        what = f"the events come of commands up to offset {source}, but the commands topic ends at {end}: {MADE_ANEW}"
        yield Finding("error", subject, what, where, RESTORE, typed.describe_group())
    elif (committed is not None or reached) and reached < start:
        yield Finding(
            "error",
            subject,
            f"commands from offset {reached} to {start - 1} were deleted (retention)"
            + (
                " before they were processed"
                if committed is not None
                else ", and whether they were processed is not known"
            ),
            where,
            "What is deleted is lost. If that may be, stop the workers and move the group on",
            typed.reset_group(facts.key),
        )
    elif known > (committed or 0):
        yield Finding(
            "warning",
            subject,
            f"the committed offset is {'missing' if committed is None else committed}, but the events come of commands up to "
            f"offset {source} (an operator's reset, or a lost group)",
            f"group {typed.group_id}, {topics.commands}",
            "Nothing to repair: commands resume after that at the next takeover, none is decided twice",
        )


def _term_findings(facts: PartitionFacts, typed: Typed, topics: PartitionTopics) -> Iterator[Finding]:
    fold, first, last = facts.fold, facts.before.note, facts.after.note
    if fold.ignored:
        yield Finding(
            "note",
            str(facts.key),
            f"{fold.ignored} records of deposed owners are ignored",
            topics.events,
            "As it should be: readers and workers leave them out",
        )
    if first is None:
        return
    if first.term is not None and first.term not in fold.barriers:
        yield Finding(
            "error",
            str(facts.key),
            f"instance {first.instance} wrote its barrier at offset {first.term}, and it is not in the events topic: the "
            "topic was truncated, or deleted and made anew",
            f"{topics.events}, {facts.before.events_start} to {facts.before.events_end}",
            RESTORED,
            typed.delete_offsets(facts.key),
        )
        return
    yield from _claim_findings(facts, first, last, typed, topics)


def _claim_findings(
    facts: PartitionFacts, first: Note, last: Note | None, typed: Typed, topics: PartitionTopics
) -> Iterator[Finding]:
    """An owner counts what it applied. The log was read after the first count, and before the last."""
    least, most = first.claim, None if last is None else last.claim
    if least is None:
        return
    found = facts.fold.applied.get(least.term, 0)
    too_many = most is not None and most.term == least.term and found > most.applied
    if found < least.applied or too_many:
        said = most.applied if too_many and most is not None else least.applied
        yield Finding(
            "error",
            str(facts.key),
            f"in term {least.term} {said} commands were applied and committed, and the events topic holds {found}: the brokers "
            "lost committed records, or another program wrote some",
            topics.events,
            "Stop the workers; restore the events topic. To accept the loss: delete the group's offsets with what stands below, "
            "start again",
            typed.delete_offsets(facts.key),
        )


# ---- the log


def log_finding(
    key: PartitionKey, what: str, offset: int | None, record_key: bytes | None, typed: Typed, mend: Mapping[str, str]
) -> Finding:
    """Of a log that contradicts itself. `mend`: repairs of what does not lie in the log, by a part of the message."""
    topics = PartitionTopics.of(typed.pipeline, key)
    where = topics.events if offset is None else f"{topics.events} offset {offset}, key {record_key!r}"
    topic = topics.events.rpartition("/")[0]
    safe = next((repair for part, repair in mend.items() if part in what), None) or (
        "Nothing was applied past it, and nothing is repaired silently. Stop the program that wrote it; restore the topic "
        "from its copy, without that record; restart the worker"
    )
    command = None if offset is None else typed.look_at(topic, key.number, offset)
    return Finding("error", str(key), what, where, safe, command)


def undecided_finding(key: PartitionKey, stable: int, waited_s: float, typed: Typed) -> Finding:
    topics = PartitionTopics.of(typed.pipeline, key)
    return Finding(
        "error",
        str(key),
        f"a transaction has been open for more than {waited_s:g} s: readers, and a takeover, wait at offset {stable}",
        f"{topics.events} offset {stable}",
        "Ending it is safe: what it wrote is left out",
        typed.find_hanging(topics.events.rpartition("/")[0], key.number),
    )

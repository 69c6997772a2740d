"""What the events log must hold by itself, whoever wrote it: I2, I3, I4, I9 and the rules of terms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.harness.log_view import Command, Event, EventsPartition, View, Violation
from tests.harness.wire import event_id


def check_log(view: View) -> Iterator[Violation]:
    for partition in view.partitions.values():
        yield from check_terms(partition)
        yield from check_keys(partition)
        yield from check_sequences(partition)
        yield from check_completeness(partition)
        yield from check_times(partition)
    yield from check_causes(view)


def violation(invariant: str, message: str, *events: Event) -> Violation:
    first = events[0]
    key = f"{first.key.id.decode(errors='replace')}@{first.key.sequence}#{first.key.term}"
    return Violation(invariant, *first.place, key, tuple(event.offset for event in events), message)


def check_terms(partition: EventsPartition) -> Iterator[Violation]:
    """An event stands under the newest barrier before it. A lower term is a deposed owner's write."""
    barriers = iter([*sorted(partition.barriers), 1 << 62])
    following, highest = next(barriers), -1
    known = set(partition.barriers)
    for event in partition.events:
        while following < event.offset:
            highest, following = following, next(barriers)
        if event.key.term < highest:
            yield violation("terms", f"written under term {event.key.term}, above the barrier at {highest}", event)
        elif event.key.term != highest:
            what = "a later barrier" if event.key.term in known else "no barrier of this partition"
            yield violation("terms", f"term {event.key.term} is {what} (newest before it: {highest})", event)


def check_keys(partition: EventsPartition) -> Iterator[Violation]:
    """One event per (aggregate, sequence): equal copies and copies under other terms are violations too."""
    seen: dict[tuple[bytes, int], Event] = {}
    for event in partition.events:
        slot = (event.key.id, event.key.sequence)
        if slot in seen:
            same = "the same key" if seen[slot].key == event.key else "another term"
            yield violation("I4", f"sequence {event.key.sequence} is taken already, by {same}", seen[slot], event)
        seen[slot] = event


def check_sequences(partition: EventsPartition) -> Iterator[Violation]:
    """Offset order is sequence order for each id, from 1 (or from a pruned sequence) without gaps."""
    last: dict[bytes, Event] = {}
    for event in partition.events:
        previous = last.get(event.key.id)
        reached = previous.key.sequence if previous else 0
        expected = reached + 1
        if event.key.sequence < expected and previous:
            if event.key.sequence < reached:
                yield violation("I3", f"sequence {event.key.sequence} after {reached}: out of order", previous, event)
            continue
        if event.key.sequence > expected and event.key.sequence - 1 > partition.pruned.get(event.key.id, 0):
            before = (previous, event) if previous else (event,)
            yield violation("I3", f"sequence {event.key.sequence} follows {reached}: a gap", *before)
        last[event.key.id] = event


def check_completeness(partition: EventsPartition) -> Iterator[Violation]:
    """The events of one command carry 0 .. count-1, with consecutive sequences, under one term."""
    groups: dict[tuple[bytes, bytes, int], list[Event]] = defaultdict(list)
    for event in partition.events:
        groups[(event.key.id, event.command_id, event.source_offset)].append(event)
    for group in groups.values():
        counts = {event.count for event in group}
        indices = [event.index for event in group]
        if len(counts) != 1 or sorted(set(indices)) != list(range(next(iter(counts)))):
            yield violation("I2", f"half applied: indices {indices} of counts {sorted(counts)}", *group)
        elif indices == sorted(set(indices)):
            first = group[0].key
            if [event.key.sequence for event in group] != list(range(first.sequence, first.sequence + len(group))):
                yield violation("I2", "the events of one command are not consecutive", *group)
        if len({event.key.term for event in group}) != 1:
            yield violation("I2", "the events of one command stand under several terms", *group)


def check_times(partition: EventsPartition) -> Iterator[Violation]:
    previous: Event | None = None
    for event in partition.events:
        if previous is not None and event.time < previous.time:
            yield violation("I9", f"hybrid time {event.time} after {previous.time}", previous, event)
        if previous is not None and event.timestamp_ms < previous.timestamp_ms:
            yield violation("I9", "the record timestamp goes back", previous, event)
        previous = event


def check_causes(view: View) -> Iterator[Violation]:
    """Cause before effect: in hybrid time, and in offset where both lie in one partition."""
    by_id = {event_id(event.aggregate, event.key.id, event.key.sequence): event for event in view.events()}
    sources: dict[tuple[str, int, int], Command] = {
        (command.aggregate, command.place[1], command.offset): command
        for commands in view.commands.values()
        for command in commands
    }
    for event in view.events():
        source = sources.get((event.aggregate, event.place[1], event.source_offset))
        cause_of_command = None
        if source is not None and source.decoded is not None:
            cause_of_command = source.decoded.meta["causation_id"]
        for identity in (event.decoded.meta["causation_id"], cause_of_command):
            cause = by_id.get(bytes(identity)) if identity is not None else None
            if cause is None:
                continue
            if cause.time >= event.time:
                yield violation("I9", f"caused by {cause.place} @ {cause.offset}, at a later or equal time", event)
            if cause.place == event.place and cause.offset >= event.offset:
                yield violation("I9", "stands before its cause", cause, event)

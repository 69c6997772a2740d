"""What clients were told against what the log holds: I1, I10, I11, and that every event has its command."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.harness.evidence import Evidence, Operation
from tests.harness.log_checks import violation
from tests.harness.log_view import Command, Event, View, Violation

Subject = tuple[str, bytes, bytes]  # aggregate, id, command id: an aggregate remembers its own commands only


@dataclass
class Applications:
    """For each command: its events, grouped by the offset of the command record that they were made from."""

    by_subject: dict[Subject, dict[int, list[Event]]] = field(default_factory=dict)

    @classmethod
    def of(cls, view: View) -> Applications:
        grouped: dict[Subject, dict[int, list[Event]]] = defaultdict(lambda: defaultdict(list))
        for event in view.events():
            grouped[(event.aggregate, event.key.id, event.command_id)][event.source_offset].append(event)
        return cls({subject: dict(groups) for subject, groups in grouped.items()})

    def events(self, subject: Subject) -> list[Event]:
        return [event for group in self.by_subject.get(subject, {}).values() for event in group]


def check_clients(view: View, evidence: Evidence) -> Iterator[Violation]:
    applied = Applications.of(view)
    yield from check_applied_once(applied)
    yield from check_sources(view, evidence)
    yield from check_answers(view, evidence, applied)
    yield from check_replies(view)
    yield from check_real_time_order(evidence, applied)


def check_applied_once(applied: Applications) -> Iterator[Violation]:
    for (_, _, command_id), groups in applied.by_subject.items():
        if len(groups) > 1:
            events = [event for group in groups.values() for event in group]
            message = f"command {command_id.hex()} took effect {len(groups)} times, from {sorted(groups)}"
            yield violation("I1", message, *events)
        for group in groups.values():
            if len({event.index for event in group}) != len(group):
                yield violation("I1", f"command {command_id.hex()} took effect twice from one record", *group)


def check_sources(view: View, evidence: Evidence) -> Iterator[Violation]:
    """Each event's source record exists on its partition, with its id and command id, and was not dead-lettered."""
    for partition in view.partitions.values():
        place = (evidence.commands_topic(partition.aggregate), partition.place[1])
        commands: dict[int, Command] = {command.offset: command for command in view.commands.get(place, ())}
        retained_from = min(commands, default=0)
        for event in partition.events:
            source = commands.get(event.source_offset)
            if source is None:
                if event.source_offset >= retained_from:
                    yield violation("I1", f"no command at its source offset {event.source_offset}", event)
            elif source.key != event.key.id or source.command_id != event.command_id:
                yield violation("I1", f"the command at {event.source_offset} is another one", event)
            if (place, event.source_offset) in view.dead_letters:
                yield violation("I1", f"its command at {event.source_offset} was dead-lettered as well", event)
    for (place, offset), letters in view.dead_letters.items():
        if len(letters) > 1:
            at = tuple(letter.record.offset for letter in letters)
            yield Violation(
                "I1", letters[0].record.topic, letters[0].record.partition, f"{place}@{offset}", at, "twice"
            )


def count_copies(view: View) -> Counter[Subject]:
    """How often each command stands in the log: one without events is decided again when it is sent again."""
    return Counter(
        (command.aggregate, command.key, command.command_id)
        for commands in view.commands.values()
        for command in commands
        if command.key is not None and command.command_id is not None
    )


def check_answers(view: View, evidence: Evidence, applied: Applications) -> Iterator[Violation]:
    hidden = {(record.key, record.value) for record in view.hidden}
    dead = {
        (command.aggregate, command.key, command.command_id)
        for commands in view.commands.values()
        for command in commands
        if (command.place, command.offset) in view.dead_letters
    }
    copies = count_copies(view)
    for operation in evidence.history:
        subject = (operation.aggregate, operation.id.encode(), bytes.fromhex(operation.command_id))
        events = applied.events(subject)
        lost = f"{len(hidden)} records were aborted" if hidden else "nothing was aborted"
        if operation.kind == "ok":
            yield from _check_acknowledged(evidence, operation, events, lost)
        elif operation.kind == "rejected" and events and copies[subject] < 2:
            yield violation("I1", "answered as rejected, but it has events", *events)
        elif operation.kind == "failed":
            if events and copies[subject] < 2:
                yield violation("I1", "answered as failed, but it has events", *events)
            if subject not in dead:
                yield _missing("I1", evidence, operation, "answered as dead-lettered, but no dead letter names it")


def _check_acknowledged(
    evidence: Evidence, operation: Operation, events: list[Event], lost: str
) -> Iterator[Violation]:
    if operation.events == 0 and not events:
        return
    if not events:
        yield _missing("I1", evidence, operation, f"acknowledged, but no event of it is visible ({lost})")
        if operation.events:
            yield _missing(
                "I10", evidence, operation, f"its answer told {operation.events} events that nobody can read"
            )
        return
    if operation.events is not None and operation.events != len(events):
        yield violation("I10", f"the answer told {operation.events} events, the log holds {len(events)}", *events)
    if operation.sequence is not None and operation.sequence < max(event.key.sequence for event in events):
        yield violation("I1", f"the answer told sequence {operation.sequence}", *events)


def _missing(invariant: str, evidence: Evidence, operation: Operation, message: str) -> Violation:
    topic = evidence.events_topic(operation.aggregate)
    return Violation(invariant, topic, -1, operation.id, (), f"command {operation.command_id}: {message}")


def check_replies(view: View) -> Iterator[Violation]:
    """An answer carries committed bytes only. (Replies of compacted-away events do not occur in these tests.)"""
    visible: dict[bytes, set[bytes]] = defaultdict(set)
    highest: dict[bytes, int] = defaultdict(int)
    for event in view.events():
        visible[event.command_id].add(event.raw)
        highest[event.command_id] = max(highest[event.command_id], event.key.sequence)
    sent_again = {identity for (_, _, identity), copies in count_copies(view).items() if copies > 1}
    for reply in view.replies:
        record = reply.record
        place = (record.topic, record.partition, reply.command_id.hex(), (record.offset,))
        if any(value not in visible[reply.command_id] for value in reply.events):
            yield Violation("I10", *place, "an answer tells an event that is not in the committed log")
        elif reply.status == "ok" and len(reply.events) != len(visible[reply.command_id]):
            yield Violation(
                "I1", *place, f"an answer tells {len(reply.events)} of {len(visible[reply.command_id])} events"
            )
        if reply.status in ("rejected", "failed") and visible[reply.command_id] and reply.command_id not in sent_again:
            yield Violation("I1", *place, f"answered as {reply.status}, but the command has events")
        if reply.status == "ok" and reply.events and reply.sequence != highest[reply.command_id]:
            yield Violation("I1", *place, f"an answer tells sequence {reply.sequence}")


def check_real_time_order(evidence: Evidence, applied: Applications) -> Iterator[Violation]:
    """I11: whoever was acknowledged before another was sent stands before it in the log, per aggregate."""
    invoked: dict[str, int] = {}
    for operation in evidence.history:
        if operation.kind == "invoke":  # sent again under one id: the first sending may be the one that took effect
            invoked[operation.command_id] = min(operation.at_ns, invoked.get(operation.command_id, operation.at_ns))
    per_id: dict[tuple[str, str], list[tuple[int, int, Event]]] = defaultdict(list)
    for operation in evidence.history:
        events = applied.events((operation.aggregate, operation.id.encode(), bytes.fromhex(operation.command_id)))
        if operation.kind == "ok" and events and operation.command_id in invoked:
            interval = (invoked[operation.command_id], operation.at_ns, events[0])
            per_id[(operation.aggregate, operation.id)].append(interval)
    for intervals in per_id.values():
        by_answer = sorted(intervals, key=lambda interval: interval[1])
        done, newest = 0, None
        for began, _, event in sorted(intervals, key=lambda interval: interval[0]):
            while done < len(by_answer) and by_answer[done][1] < began:
                candidate = by_answer[done][2]
                newest = candidate if newest is None or candidate.offset > newest.offset else newest
                done += 1
            if newest is not None and event.offset < newest.offset:
                yield violation("I11", "stands before a command acknowledged before it was sent", event, newest)

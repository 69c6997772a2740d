"""Bugs to plant into a correct history. Each takes the evidence (and a seeded random) and breaks one promise."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.harness.evidence import CommittedOffset, Evidence, LogRecord, Observation
from tests.harness.log_view import Event, View, decode_evidence
from tests.harness.wire import barrier_key, event_id, event_key

Plant = Callable[[Evidence, random.Random], None]


def events_of(evidence: Evidence, wanted: Callable[[Event, View], bool]) -> list[Event]:
    view = decode_evidence(evidence)
    return [event for event in view.events() if wanted(event, view)]


def is_last(event: Event, view: View) -> bool:
    return not any(other.key.id == event.key.id and other.key.sequence > event.key.sequence for other in view.events())


def record_of(evidence: Evidence, event: Event) -> LogRecord:
    return next(r for r in evidence.committed_view if (r.partition, r.offset) == (event.place[1], event.offset))


def remove(evidence: Evidence, *events: Event) -> None:
    gone = {(event.place[1], event.offset) for event in events}
    for view in (evidence.committed_view, evidence.uncommitted_view):
        view[:] = [record for record in view if (record.partition, record.offset) not in gone]


def change(evidence: Evidence, event: Event, key: bytes | None = None, **fields: Any) -> None:
    """Rewrite an event's key, its meta (names of meta) or its body (the rest)."""
    meta = {**event.decoded.meta, **{name: value for name, value in fields.items() if name in event.decoded.meta}}
    body = {**event.body, **{name: value for name, value in fields.items() if name not in event.decoded.meta}}
    value = evidence.schemas.encode(event.decoded.name, {"meta": meta, **body})
    for view in (evidence.committed_view, evidence.uncommitted_view):
        for index, record in enumerate(view):
            if (record.partition, record.offset) == (event.place[1], event.offset):
                view[index] = replace(record, key=key or record.key, value=value)


def end_of(evidence: Evidence, partition: int) -> int:
    return max(record.offset for record in evidence.uncommitted_view if record.partition == partition) + 2


def append(evidence: Evidence, record: LogRecord, **changes: Any) -> None:
    appended = replace(record, offset=end_of(evidence, record.partition), **changes)
    evidence.committed_view.append(appended)
    evidence.uncommitted_view.append(appended)


def lost_event(evidence: Evidence, rnd: random.Random) -> None:
    remove(evidence, rnd.choice(events_of(evidence, lambda event, view: not is_last(event, view))))


def acknowledged_command_missing(evidence: Evidence, rnd: random.Random) -> None:
    remove(evidence, rnd.choice(events_of(evidence, lambda event, view: is_last(event, view) and event.count == 1)))


def half_applied(evidence: Evidence, rnd: random.Random) -> None:
    last_part = events_of(evidence, lambda event, _: event.count > 1 and event.index == event.count - 1)
    remove(evidence, rnd.choice(last_part))


def gap(evidence: Evidence, rnd: random.Random) -> None:
    event = rnd.choice(events_of(evidence, lambda event, view: is_last(event, view) and event.count == 1))
    change(evidence, event, event_key(event.key.id, event.key.sequence + 1, event.key.term))


def equal_duplicate(evidence: Evidence, rnd: random.Random) -> None:
    append(evidence, record_of(evidence, rnd.choice(events_of(evidence, lambda *_: True))))


def two_events_at_one_sequence(evidence: Evidence, rnd: random.Random) -> None:
    event = rnd.choice(events_of(evidence, is_last))
    value = evidence.schemas.encode(event.decoded.name, {**event.decoded.fields, "amount": 1_000_003})
    append(evidence, record_of(evidence, event), value=value)


def reordered(evidence: Evidence, rnd: random.Random) -> None:
    first = rnd.choice(events_of(evidence, lambda event, view: not is_last(event, view)))
    followers = events_of(evidence, lambda e, _: e.key.id == first.key.id and e.key.sequence == first.key.sequence + 1)
    one, two = record_of(evidence, first), record_of(evidence, followers[0])
    for view in (evidence.committed_view, evidence.uncommitted_view):
        view[view.index(one)], view[view.index(two)] = replace(two, offset=one.offset), replace(one, offset=two.offset)


def zombie_write_accepted(evidence: Evidence, rnd: random.Random) -> None:
    """A deposed owner's event of an older term, above a newer barrier, with the next free sequence."""
    view = decode_evidence(evidence)
    partition = next(p for p in view.partitions.values() if len(p.barriers) > 1 and p.events)
    event = next(e for e in reversed(partition.events) if is_last(e, view))
    append(
        evidence, record_of(evidence, event), key=event_key(event.key.id, event.key.sequence + 1, partition.barriers[0])
    )


def barrier_of_a_term_was_aborted(evidence: Evidence, rnd: random.Random) -> None:
    event = rnd.choice(events_of(evidence, lambda *_: True))
    where = (event.place[1], event.key.term)
    evidence.committed_view[:] = [r for r in evidence.committed_view if (r.partition, r.offset) != where]


def command_applied_twice(evidence: Evidence, rnd: random.Random) -> None:
    """The duplicate of a command was decided again: its own source offset, fresh sequence, the same command id."""
    event = rnd.choice(events_of(evidence, lambda event, view: is_last(event, view) and event.count == 1))
    place, end = (f"{evidence.pipeline}.account.commands", event.place[1]), event.source_offset
    original = next(c for c in evidence.commands if (c.partition, c.offset) == (place[1], end))
    again = replace(original, offset=evidence.commands_end[place])
    evidence.commands.append(again)
    evidence.commands_end[place] += 1
    meta = {**event.decoded.meta, "source_offset": again.offset}
    value = evidence.schemas.encode(event.decoded.name, {**event.decoded.fields, "meta": meta})
    barriers = decode_evidence(evidence).partitions[event.place].barriers
    append(
        evidence,
        record_of(evidence, event),
        value=value,
        key=event_key(event.key.id, event.key.sequence + 1, barriers[-1]),
    )


def applied_twice_from_one_record(evidence: Evidence, rnd: random.Random) -> None:
    event = rnd.choice(events_of(evidence, lambda event, view: is_last(event, view) and event.count == 1))
    barriers = decode_evidence(evidence).partitions[event.place].barriers
    append(evidence, record_of(evidence, event), key=event_key(event.key.id, event.key.sequence + 1, barriers[-1]))


def aborted_event_answered(evidence: Evidence, rnd: random.Random) -> None:
    hidden = rnd.choice(decode_evidence(evidence).hidden)
    reply = next(r for r in evidence.replies if evidence.schemas.decode(r.value or b"").fields["events"])
    fields = {**evidence.schemas.decode(reply.value or b"").fields, "events": [hidden.value]}
    evidence.replies[evidence.replies.index(reply)] = replace(
        reply, value=evidence.schemas.encode("eventsrc.Reply", fields)
    )


def aborted_event_in_a_state(evidence: Evidence, rnd: random.Random) -> None:
    seen = rnd.choice(evidence.observations)
    state = {**seen.state, "balance": seen.state["balance"] + 7}
    evidence.observations.append(Observation("account", seen.id, seen.sequence + 1, state))


def aborted_event_visible(evidence: Evidence, rnd: random.Random) -> None:
    evidence.committed_view.append(rnd.choice(decode_evidence(evidence).hidden))


def wrong_state_shown(evidence: Evidence, rnd: random.Random) -> None:
    seen = rnd.choice(evidence.observations)
    evidence.observations.append(replace(seen, state={**seen.state, "balance": seen.state["balance"] + 1}))


def committed_behind(evidence: Evidence, rnd: random.Random) -> None:
    index = next(i for i, entry in enumerate(evidence.committed) if entry.offset)
    evidence.committed[index] = replace(evidence.committed[index], offset=evidence.committed[index].offset - 1)


def committed_ahead(evidence: Evidence, rnd: random.Random) -> None:
    evidence.committed[0] = replace(evidence.committed[0], offset=evidence.committed[0].offset + 1)


def group_rewound(evidence: Evidence, rnd: random.Random) -> None:
    entry = evidence.commit_journal[-1]
    evidence.commit_journal.append(replace(entry, offset=entry.offset - 1))


def commands_skipped(evidence: Evidence, rnd: random.Random) -> None:
    """Commands passed over, told to nobody: only the running counts can show it."""
    place = evidence.commit_journal[-1]
    source = next(c for c in evidence.commands if c.partition == place.partition)
    skipped = replace(source, offset=place.offset)
    evidence.commands.append(skipped)
    evidence.commands_end[(place.topic, place.partition)] += 1
    moved = replace(place, offset=place.offset + 1)
    evidence.committed = [moved if entry.partition == place.partition else entry for entry in evidence.committed]
    evidence.commit_journal.append(moved)


def counts_untrue(evidence: Evidence, rnd: random.Random) -> None:
    entry = evidence.commit_journal[-1]
    metadata = json.loads(entry.metadata)
    metadata["counts"]["applied"] -= 1
    metadata["counts"]["rejected"] += 1
    evidence.commit_journal[-1] = CommittedOffset(entry.topic, entry.partition, entry.offset, json.dumps(metadata))


def dead_letter_lost(evidence: Evidence, rnd: random.Random) -> None:
    evidence.dead_letters.remove(rnd.choice(evidence.dead_letters))


def dead_letter_twice(evidence: Evidence, rnd: random.Random) -> None:
    letter = rnd.choice(evidence.dead_letters)
    evidence.dead_letters.append(replace(letter, offset=letter.offset + 1000))


def dead_lettered_and_applied(evidence: Evidence, rnd: random.Random) -> None:
    event = rnd.choice(events_of(evidence, lambda *_: True))
    letter = evidence.dead_letters[0]
    names = {"eventsrc.partition": event.place[1], "eventsrc.offset": event.source_offset}
    headers = tuple((n, str(names[n]).encode() if n in names else v) for n, v in letter.headers)
    evidence.dead_letters.append(replace(letter, offset=letter.offset + 1000, headers=headers))


def event_of_another_command(evidence: Evidence, rnd: random.Random) -> None:
    change(evidence, rnd.choice(events_of(evidence, lambda *_: True)), command_id=rnd.randbytes(16))


def event_without_command(evidence: Evidence, rnd: random.Random) -> None:
    change(evidence, rnd.choice(events_of(evidence, lambda *_: True)), source_offset=999_999)


def events_of_a_command_under_two_terms(evidence: Evidence, rnd: random.Random) -> None:
    event = rnd.choice(events_of(evidence, lambda event, _: event.count > 1 and event.index > 0))
    key = barrier_key(uuid.UUID(bytes=rnd.randbytes(16)))
    barrier = LogRecord(
        *event.place, event.offset, key, evidence.schemas.encode("eventsrc.Barrier", {"instance": "two"})
    )
    moved = replace(record_of(evidence, event), key=event_key(event.key.id, event.key.sequence, event.offset))
    for view in (evidence.committed_view, evidence.uncommitted_view):
        for index, record in enumerate(view):
            if record.partition == event.place[1] and record.offset >= event.offset:
                view[index] = replace(record, offset=record.offset + 1)
        view.append(barrier)
        place = next(i for i, r in enumerate(view) if (r.partition, r.offset) == (event.place[1], event.offset + 1))
        view[place] = replace(moved, offset=event.offset + 1)


def hybrid_time_back(evidence: Evidence, rnd: random.Random) -> None:
    event = rnd.choice(events_of(evidence, lambda event, view: event.offset > 30))
    change(evidence, event, time=1)


def effect_before_cause(evidence: Evidence, rnd: random.Random) -> None:
    event = rnd.choice(events_of(evidence, lambda event, view: not is_last(event, view)))
    change(evidence, event, causation_id=event_id("account", event.key.id, event.key.sequence + 1))


def answered_out_of_order(evidence: Evidence, rnd: random.Random) -> None:
    """The first command of an id was sent only after the last one had been acknowledged, says the client's clock."""
    events = events_of(evidence, lambda event, view: event.key.sequence == 1 and not is_last(event, view))
    identity = rnd.choice(events).command_id.hex()
    late = max(operation.at_ns for operation in evidence.history) + 1
    for index, operation in enumerate(evidence.history):
        if operation.command_id == identity:
            evidence.history[index] = replace(operation, at_ns=late + operation.at_ns)
    evidence.history.sort(key=lambda operation: operation.at_ns)


def answered_rejected_but_applied(evidence: Evidence, rnd: random.Random) -> None:
    sent = [operation.command_id for operation in evidence.history if operation.kind == "invoke"]
    applied = [o for o in evidence.history if o.kind == "ok" and o.events and sent.count(o.command_id) == 1]
    operation = rnd.choice(applied)
    evidence.history[evidence.history.index(operation)] = replace(operation, kind="rejected", events=0)


def answered_failed_without_dead_letter(evidence: Evidence, rnd: random.Random) -> None:
    refused = rnd.choice([operation for operation in evidence.history if operation.kind == "rejected"])
    evidence.history[evidence.history.index(refused)] = replace(refused, kind="failed")


def amount_changed(evidence: Evidence, rnd: random.Random) -> None:
    event = rnd.choice(events_of(evidence, lambda *_: True))
    change(evidence, event, amount=event.body["amount"] + 1)


def trailing_bytes(evidence: Evidence, rnd: random.Random) -> None:
    append(evidence, evidence.committed_view[-1], value=(evidence.committed_view[-1].value or b"") + b"\0")


def key_with_a_leading_zero(evidence: Evidence, rnd: random.Random) -> None:
    append(evidence, evidence.committed_view[-1], key=b"a1@01#0")

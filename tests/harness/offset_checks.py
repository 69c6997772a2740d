"""I5: every command offset is accounted for, and the group's committed positions say so."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.harness.evidence import CommittedOffset, Evidence
from tests.harness.log_view import Command, Event, Place, View, Violation

COUNTED = ("applied", "rejected", "empty", "duplicate", "dead")


@dataclass(frozen=True, slots=True)
class Account:
    """One commands partition: its records, which of them have visible events, which are dead-lettered."""

    place: Place
    commands: list[Command]
    applied: frozenset[int]
    dead: frozenset[int]

    def between(self, start: int, end: int) -> list[Command]:
        offsets = [command.offset for command in self.commands]
        return self.commands[bisect_left(offsets, start) : bisect_left(offsets, end)]

    def expected(self, start: int, end: int) -> tuple[int, int, int]:
        """Commands, applied, dead in [start, end)."""
        offsets = {command.offset for command in self.between(start, end)}
        return len(offsets), len(offsets & self.applied), len(offsets & self.dead)

    def silent(self, end: int) -> list[Command]:
        return [c for c in self.between(0, end) if c.offset not in self.applied and c.offset not in self.dead]


def check_offsets(view: View, evidence: Evidence) -> Iterator[Violation]:
    committed = {(entry.topic, entry.partition): entry for entry in evidence.committed}
    barriers = {place: set(partition.barriers) for place, partition in view.partitions.items()}
    for aggregate in evidence.aggregates:
        topic = evidence.commands_topic(aggregate)
        places = {place for place in (*view.commands, *committed, *evidence.commands_end) if place[0] == topic}
        for place in sorted(places):
            events_place = (evidence.events_topic(aggregate), place[1])
            partition = view.partitions.get(events_place)
            account = _account(view, place, partition.events if partition else [])
            end = evidence.commands_end.get(place, 0)
            yield from _check_position(account, committed.get(place), end, evidence.at_rest)
            if place in committed:
                yield from _check_silent(view, evidence, account, committed[place].offset)
            known = barriers.get(events_place, set())
            yield from _check_journal(account, view.journal.get(place, []), known)
            if not view.journal.get(place) and place in committed and len(known) == 1:
                yield from _check_single_term(account, committed[place])


def _account(view: View, place: Place, events: list[Event]) -> Account:
    applied = frozenset(event.source_offset for event in events)
    dead = frozenset(offset for source, offset in view.dead_letters if source == place)
    return Account(place, view.commands.get(place, []), applied, dead)


def _violation(account: Account, message: str, *offsets: int) -> Violation:
    return Violation("I5", *account.place, "", offsets, message)


def _check_position(account: Account, entry: CommittedOffset | None, end: int, at_rest: bool) -> Iterator[Violation]:
    highest = max(account.applied, default=-1)
    position = entry.offset if entry else 0
    if position < highest + 1:
        yield _violation(account, f"committed {position}, behind the events' highest source offset {highest}", position)
    if position > end:
        yield _violation(account, f"committed {position}, beyond the end {end}", position)
    if at_rest and position < end:
        yield _violation(account, f"at rest, but committed {position} of {end}", position)


def _check_silent(view: View, evidence: Evidence, account: Account, committed: int) -> Iterator[Violation]:
    """A command below the committed position without events or dead letter was refused, empty or a duplicate: where a
    client was told something else, it was skipped."""
    told_applied = {o.command_id for o in evidence.history if o.kind == "ok" and o.events != 0}
    effective = {(event.key.id, event.command_id) for event in view.events() if event.place[1] == account.place[1]}
    for command in account.silent(committed):
        if command.decoded is None or not command.key:
            yield _violation(account, "a command that cannot be read was skipped without a dead letter", command.offset)
            continue
        identity = command.command_id or b""
        if (command.key, identity) not in effective and identity.hex() in told_applied:
            yield _violation(account, "acknowledged and passed over without events", command.offset)


def _counts(entry: CommittedOffset) -> tuple[int | None, Mapping[str, int]] | None:
    try:
        metadata = json.loads(entry.metadata)
        counts = {name: int(metadata["counts"][name]) for name in COUNTED}
    except (ValueError, KeyError, TypeError):
        return None
    return metadata.get("term"), counts


def _check_journal(account: Account, journal: list[CommittedOffset], barriers: set[int]) -> Iterator[Violation]:
    """Each committed transaction in turn: positions never go back, and each step's counts account for its commands."""
    position, term, before = None, None, Counter[str]()
    for entry in journal:
        if position is not None and entry.offset < position:
            yield _violation(account, "the committed position went back", position, entry.offset)
        if len(entry.metadata.encode()) > 512:
            yield _violation(account, "offset metadata above 512 bytes", entry.offset)
        parsed = _counts(entry)
        if parsed is None:
            yield _violation(account, f"offset metadata that cannot be read: {entry.metadata[:80]!r}", entry.offset)
            continue
        if parsed[0] != term:
            before = Counter()
        term, counts = parsed
        if term is not None and any(counts.values()) and term not in barriers:
            yield _violation(account, f"committed under term {term}, which no visible barrier has", entry.offset)
        if position is not None:
            step = Counter({name: counts[name] - before[name] for name in COUNTED})
            yield from _check_step(account, step, position, entry.offset)
        position, before = entry.offset, Counter(counts)


def _check_step(account: Account, step: Counter[str], start: int, end: int) -> Iterator[Violation]:
    commands, applied, dead = account.expected(start, end)
    told = f"counts say {dict(step)}"
    if sum(step.values()) != commands:
        yield _violation(account, f"{commands} commands in the step, {told}", start, end)
    elif step["applied"] != applied:
        yield _violation(account, f"{applied} commands of the step have events, {told}", start, end)
    elif step["dead"] != dead:
        yield _violation(account, f"{dead} commands of the step have dead letters, {told}", start, end)


def _check_single_term(account: Account, entry: CommittedOffset) -> Iterator[Violation]:
    parsed = _counts(entry)
    if parsed is not None:
        start = account.commands[0].offset if account.commands else 0
        yield from _check_step(account, Counter(parsed[1]), start, entry.offset)

"""The application's rules against the log: each command decided again by an oracle, states shown, and money (I8)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from tests.harness.client_checks import count_copies
from tests.harness.evidence import Evidence
from tests.harness.log_checks import violation
from tests.harness.log_view import Event, View, Violation


class Application(Protocol):
    """`bank_model` meets it as a module."""

    @property
    def NEW(self) -> dict[str, Any]: ...  # noqa: N802 - a constant of the module
    @property
    def Faulty(self) -> type[Exception]: ...  # noqa: N802 - a class of the module

    def fold(self, state: dict[str, Any], name: str, body: Mapping[str, Any], /) -> dict[str, Any]: ...
    def decide(
        self, state: dict[str, Any], name: str, body: Mapping[str, Any], /
    ) -> list[tuple[str, dict[str, Any]]] | None: ...
    def worth(self, name: str, body: Mapping[str, Any], /) -> int: ...


def check_application(view: View, evidence: Evidence, application: Application) -> Iterator[Violation]:
    yield from check_decisions(view, evidence, application)
    yield from check_observations(view, evidence, application)
    yield from check_money(view, evidence, application)


def check_decisions(view: View, evidence: Evidence, application: Application) -> Iterator[Violation]:
    """Every command below the committed position, in order: its events are those the rules demand, no more, no less.
    A repeated command id whose first copy had events is a duplicate and has none (the tests stay within what an
    aggregate remembers)."""
    committed = {(entry.topic, entry.partition): entry.offset for entry in evidence.committed}
    events: dict[tuple[str, int, int], list[Event]] = defaultdict(list)
    for event in view.events():
        events[(event.aggregate, event.place[1], event.source_offset)].append(event)
    for place, commands in view.commands.items():
        states: dict[bytes, dict[str, Any]] = {}
        effective: set[tuple[bytes, bytes]] = set()
        for command in commands:
            if command.decoded is None or not command.key or command.offset >= committed.get(place, 0):
                continue
            if (letters := view.dead_letters.get((place, command.offset))) and letters[0].reason != "handler-failed":
                continue
            made = events.get((command.aggregate, place[1], command.offset), [])
            state = states.setdefault(command.key, dict(application.NEW))
            name = command.decoded.short_name
            subject = (command.key, command.command_id or b"")
            try:
                due = [] if subject in effective else application.decide(state, name, command.body) or []
            except application.Faulty:
                if (place, command.offset) not in view.dead_letters:
                    message = f"{name} fails, but it has no dead letter"
                    yield Violation("I5", *place, command.key.decode(errors="replace"), (command.offset,), message)
                due = []
            told = [(event.decoded.short_name, event.body) for event in made]
            if told != due:
                offsets = (command.offset, *(event.offset for event in made))
                message = f"{name} must have given {due}, the log holds {told}"
                yield Violation("I1", *place, command.key.decode(errors="replace"), offsets, message)
            if made:
                effective.add(subject)
            for event in made:
                states[command.key] = application.fold(states[command.key], event.decoded.short_name, event.body)


def check_observations(view: View, evidence: Evidence, application: Application) -> Iterator[Violation]:
    """Whoever was shown a state was shown a fold of committed events (I10, and I6 at the sequence it names)."""
    events: dict[tuple[str, bytes], dict[int, Event]] = defaultdict(dict)
    for event in view.events():
        events[(event.aggregate, event.key.id)].setdefault(event.key.sequence, event)
    for seen in evidence.observations:
        known = events.get((seen.aggregate, seen.id.encode()), {})
        state = dict(application.NEW)
        missing = [sequence for sequence in range(1, seen.sequence + 1) if sequence not in known]
        if missing:
            topic = evidence.events_topic(seen.aggregate)
            yield Violation("I10", topic, -1, seen.id, (), f"state at {seen.sequence} shown, {missing[:3]} not visible")
            continue
        for sequence in range(1, seen.sequence + 1):
            state = application.fold(state, known[sequence].decoded.short_name, known[sequence].body)
        shown = {name: seen.state[name] for name in seen.state if name in state}
        if any(state[name] != value for name, value in shown.items()):
            last = [known[seen.sequence]] if seen.sequence else []
            message = f"shown {shown} at sequence {seen.sequence}, the fold is {state}"
            topic = evidence.events_topic(seen.aggregate)
            yield violation("I6", message, *last) if last else Violation("I6", topic, -1, seen.id, (), message)


def check_money(view: View, evidence: Evidence, application: Application) -> Iterator[Violation]:
    """I8: the sum of all balances = what was acknowledged, give or take what nobody knows."""
    if not evidence.history or not evidence.history_complete:
        return
    states: dict[tuple[str, bytes], dict[str, Any]] = {}
    for event in view.events():
        subject = (event.aggregate, event.key.id)
        state = states.get(subject, dict(application.NEW))
        states[subject] = application.fold(state, event.decoded.short_name, event.body)
    total = sum(int(state["balance"]) for state in states.values())
    ends = {operation.command_id: operation.kind for operation in evidence.history if operation.kind != "invoke"}
    copies = Counter({identity.hex(): count for (_, _, identity), count in count_copies(view).items()})
    low = high = 0
    for operation in {o.command_id: o for o in evidence.history if o.kind == "invoke"}.values():
        value = application.worth(operation.name, operation.payload)
        end = ends.get(operation.command_id, "unknown")
        if end == "rejected" and copies[operation.command_id] > 1:
            end = "unknown"  # what made no event is decided again: another copy may have been accepted
        low += value if end == "ok" or (end == "unknown" and value < 0) else 0
        high += value if end == "ok" or (end == "unknown" and value > 0) else 0
    if not low <= total <= high:
        topic = evidence.events_topic(evidence.aggregates[0])
        yield Violation("I8", topic, -1, "", (), f"balances add up to {total}, clients know {low} to {high}")

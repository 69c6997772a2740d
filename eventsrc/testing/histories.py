"""Histories made up from a pipeline's declarations, and what was noticed of its handlers while they were made.

By commands: what an aggregate decides of made-up commands, one after the other. By events: made-up events in any order, as
far as the `@apply` methods take them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from eventsrc.errors import EventsrcError
from eventsrc.model.identity import command_id_for
from eventsrc.model.pipeline import Pipeline
from eventsrc.testing.deciding import AggregateLog, Decision, Sending, Subject, subject_of
from eventsrc.testing.folding import MadeHistory
from eventsrc.testing.made_values import made_message
from eventsrc.testing.observed import ImpureHandler

ROUNDS = 3
STEPS = 24
BUDGET_S = 1.0
"""Of processor time, for all of a pipeline; each aggregate gets one round at least."""
_START_US = 1_767_225_600_000_000


@dataclass(slots=True)
class Made:
    """`impure`: what handlers changed; `notes`: what is worth a look. The first of each aggregate and kind of command."""

    histories: list[MadeHistory] = field(default_factory=list)
    commands: int = 0
    impure: dict[tuple[str, str], str] = field(default_factory=dict)
    notes: dict[tuple[str, str], str] = field(default_factory=dict)


def make_histories(pipeline: Pipeline, seed: int, budget_s: float = BUDGET_S) -> Made:
    made = Made()
    until_s = time.process_time() + budget_s
    for name in pipeline.aggregates:
        subject = subject_of(pipeline, name)
        random = Random(f"{seed} {name}")
        for number in range(ROUNDS):
            if number and time.process_time() > until_s:
                break
            by_commands = AggregateLog(subject, f"{name}-{number}".encode())
            by_events = AggregateLog(subject, f"{name}-{number}".encode())
            for log, decided in ((_decided(by_commands, random, made), True), (_appended(by_events, random), False)):
                if log.records:
                    made.histories.append(MadeHistory(name, log.key, log.records, decided))
    return made


def _decided(log: AggregateLog, random: Random, made: Made) -> AggregateLog:
    subject, refused = log.subject, set()
    messages = list(subject.aggregate.commands.values())
    for step in range(STEPS):
        message = random.choice(messages)
        if message.cls in refused:
            continue
        about = subject.name, message.name
        command = made_message(message, random)
        if command is None:
            refused.add(message.cls)
            made.notes[about] = (
                f"{subject.name}: no {message.name} was found that meets its constraints: it was not tried"
            )
            continue
        made.commands += 1
        sending = _sending(subject, log, step)
        try:
            decision, longer = log.decide(command, sending, check_fold=False)
            again, _ = log.decide(command, sending, check_fold=False)
        except ImpureHandler as impure:
            refused.add(message.cls)
            made.impure.setdefault(about, str(impure))
            continue
        except EventsrcError as wrong:  # a value that its type has and no schema takes
            refused.add(message.cls)
            made.notes[about] = f"{subject.name}: a made-up {message.name} was refused: {wrong}"
            continue
        if decision.failure is not None:
            refused.add(message.cls)
        for note in _noticed(subject, decision, again):
            made.notes.setdefault(about, note)
        log = longer
    return log


def _noticed(subject: Subject, decision: Decision, again: Decision) -> Iterator[str]:
    failure = decision.failure
    if failure is not None:
        where = "".join(f", {note}" for note in getattr(failure, "__notes__", ()))
        yield (
            f"{subject.name}: {decision.asked!r}, made up, raised {type(failure).__name__}: {failure}{where}; a worker would "
            "dead-letter it"
        )
    elif (decision.status, decision.events, decision.reason) != (again.status, again.events, again.reason):
        name = type(decision.asked).__name__
        yield (
            f"{subject.name}: {name} is decided differently each time: take time, chance and ids from the context, or a retry "
            "decides something else"
        )


def _appended(log: AggregateLog, random: Random) -> AggregateLog:
    messages = list(log.subject.aggregate.events.values())
    for step in range(STEPS):
        event = made_message(random.choice(messages), random)
        if event is None:
            continue
        sending = _sending(log.subject, log, step)
        try:
            log = log.appended(event, sending.time_us, sending.command_id)
        except EventsrcError:
            continue  # this history cannot come about
    return log


def _sending(subject: Subject, log: AggregateLog, step: int) -> Sending:
    command_id = command_id_for(subject.pipeline.name, subject.aggregate.name, log.key.decode(), f"made {step}")
    return Sending(_START_US + step * 60_000_000, command_id)

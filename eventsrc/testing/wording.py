"""How scenarios tell what became of a command: one line, values as they are written in code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eventsrc.testing.deciding import AggregateLog, Decision


def aggregate_told(log: AggregateLog) -> str:
    return f"{log.subject.name} {log.key.decode()!r}"


def told(decision: Decision) -> str:
    """The command, and what became of it."""
    if decision.status == "ok":
        return f"{decision.asked!r} made {listed(decision.events)}"
    if decision.status == "rejected":
        return f"{decision.asked!r} was rejected: {decision.reason}{details_told(decision.details)}"
    if decision.status == "failed":
        failure = decision.failure
        notes = "".join(f" ({note})" for note in getattr(failure, "__notes__", ()))
        return f"{decision.asked!r} failed: {type(failure).__name__}: {failure}{notes}"
    if decision.status == "duplicate":
        return f"{decision.asked!r} was a duplicate: its command id took effect before"
    return f"{decision.asked!r} was a conflict: its command id took effect before, with another payload"


def details_told(details: Any) -> str:
    return f" ({', '.join(f'{name}={value!r}' for name, value in details.items())})" if details else ""


def listed(events: Iterable[Any]) -> str:
    return ", ".join(map(repr, events)) or "nothing"

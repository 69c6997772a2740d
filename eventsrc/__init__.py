"""Event-sourced stream processing on Kafka: aggregates as Python classes, exactly once, recoverable, replayable.

The names that applications use. Each is loaded when it is first asked for, so that a worker's way to its consumer
group does not pass through the client, nor a client's through the worker.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # without `typing`: until a command runs, nobody turns a Ctrl-C into its exit code

if TYPE_CHECKING:
    from typing import Any

    from eventsrc.errors import (
        CommandFailed,
        DeclarationError,
        EventsrcError,
        IdempotencyConflict,
        InvalidCommand,
        InvalidId,
        InvalidMoment,
        InvalidSettings,
        NotAuthorized,
        OutcomeUnknown,
        Rejected,
        SchemaIncompatible,
        TopicsInvalid,
        Unreachable,
    )
    from eventsrc.model.given import Aggregate
    from eventsrc.model.marks import apply, compensate, handle
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.model.recorded import Context, EventMeta, Outcome, Recorded
    from eventsrc.runtime.client import AsyncClient, Client

__all__ = [
    "Aggregate",
    "AsyncClient",
    "Client",
    "CommandFailed",
    "Context",
    "DeclarationError",
    "EventMeta",
    "EventsrcError",
    "IdempotencyConflict",
    "InvalidCommand",
    "InvalidId",
    "InvalidMoment",
    "InvalidSettings",
    "NotAuthorized",
    "Outcome",
    "OutcomeUnknown",
    "Pipeline",
    "Recorded",
    "Rejected",
    "SchemaIncompatible",
    "TopicsInvalid",
    "Unreachable",
    "apply",
    "compensate",
    "handle",
]

_HOMES = {
    "eventsrc.model.given": ("Aggregate",),
    "eventsrc.model.marks": ("apply", "compensate", "handle"),
    "eventsrc.model.pipeline": ("Pipeline",),
    "eventsrc.model.recorded": ("Context", "EventMeta", "Outcome", "Recorded"),
    "eventsrc.runtime.client": ("AsyncClient", "Client"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'eventsrc' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF.get(name, "eventsrc.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""How a command's outcome is shown, whatever it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from eventsrc.cli.render import message_text, printable, record_to_json, to_json
from eventsrc.errors import (
    CommandFailed,
    EventsrcError,
    IdempotencyConflict,
    NotAuthorized,
    OutcomeUnknown,
    Rejected,
    SchemaIncompatible,
    Unreachable,
)

if TYPE_CHECKING:
    from eventsrc.model.aggregate import AggregateType
    from eventsrc.model.recorded import Outcome


class Sent(NamedTuple):
    """What was sent, and to whom; `type` and `partition` are None where the words named no aggregate."""

    aggregate: str
    id: str
    type: AggregateType | None
    partition: int | None = None


_STATUSES: tuple[tuple[type[EventsrcError], str], ...] = (
    (Rejected, "rejected"),
    (CommandFailed, "failed"),
    (IdempotencyConflict, "conflict"),
    (OutcomeUnknown, "unknown"),
    (SchemaIncompatible, "unreadable"),
    (Unreachable, "unsent"),
    (NotAuthorized, "unsent"),
    (EventsrcError, "invalid"),
)


def status_of(error: EventsrcError) -> str:
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


def outcome_object(sent: Sent, result: Outcome | EventsrcError) -> dict[str, Any]:
    shown: dict[str, Any] = {"aggregate": sent.aggregate, "id": sent.id}
    if isinstance(result, EventsrcError):
        return {**shown, "status": status_of(result), **_refusal_object(result)}
    return {
        **shown,
        "status": "ok",
        "command_id": str(result.command_id),
        "partition": sent.partition,
        "sequence": result.sequence,
        "duplicate": result.duplicate,
        "events": [_event_object(sent, event) for event in result.events],
    }


def outcome_text(sent: Sent, result: Outcome | EventsrcError, elapsed_ms: int | None = None) -> str:
    took = "" if elapsed_ms is None else f", partition {sent.partition}, {elapsed_ms:,} ms"
    if isinstance(result, Rejected):
        details = "".join(f", {name} {value}" for name, value in result.details.items())
        return printable(f"rejected: {result.reason}   ({sent.aggregate} {sent.id}{details})")
    if isinstance(result, EventsrcError):
        return printable(f"{status_of(result)}: {result}")
    first = result.sequence - len(result.events) + 1
    lines = [f"{_event_text(sent, event)}   sequence {first + number}" for number, event in enumerate(result.events)]
    if not lines:
        lines = [printable(f"no event   {sent.aggregate} {sent.id}") + f" stays at sequence {result.sequence}"]
    lines[-1] += took
    if result.duplicate:
        lines[-1] += ", a duplicate: it had taken effect before"
    return "\n".join(lines)


def _refusal_object(error: EventsrcError) -> dict[str, Any]:
    if isinstance(error, Rejected):
        return {"reason": error.reason, "details": to_json(error.details)}
    if isinstance(error, CommandFailed):
        return {"reason": error.reason, "dead_letter": error.dead_letter, "message": str(error)}
    return {"message": str(error)}


def _event_object(sent: Sent, event: Any) -> dict[str, Any]:
    if sent.type is None:
        return {"event": type(event).__name__, "payload": to_json(event)}
    message = sent.type.events[type(event)]
    return {"event": message.name, "payload": record_to_json(message.record, event)}


def _event_text(sent: Sent, event: Any) -> str:
    return repr(event) if sent.type is None else message_text(sent.type.events[type(event)].record, event)

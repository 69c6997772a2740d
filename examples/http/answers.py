"""What a caller is told when it does not go well: one table from eventsrc's errors to HTTP's answers."""

from __future__ import annotations

import logging
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from eventsrc import (
    CommandFailed,
    EventsrcError,
    IdempotencyConflict,
    InvalidCommand,
    InvalidId,
    NotAuthorized,
    OutcomeUnknown,
    Rejected,
    TopicsInvalid,
    Unreachable,
)

_log = logging.getLogger("bank.http")
RETRY_AFTER_S = 1

STATUS: dict[type[EventsrcError], int] = {
    Rejected: 422,
    InvalidCommand: 400,
    InvalidId: 400,
    IdempotencyConflict: 409,
    CommandFailed: 500,
    NotAuthorized: 500,
    OutcomeUnknown: 503,
    Unreachable: 503,
    TopicsInvalid: 503,
}
"""Anything else is a 500."""

_NEXT: dict[type[EventsrcError], str] = {
    CommandFailed: "nothing was done: this is a mistake of the service; its operator finds the command in the dead letters",
    NotAuthorized: "the service lacks a right in Kafka, which its operator has to grant; then send it again, with the same key",
    OutcomeUnknown: "send it again with the same Idempotency-Key: it takes effect at most once",
    Unreachable: "nothing was done: send it again",
    TopicsInvalid: "nothing was done: the service's operator runs `eventsrc topics verify`",
}


class BadRequest(Exception):  # noqa: N818 - named by what is answered
    """The request is not one that this service answers. Nothing was sent."""

    def __init__(self, status: int, error: str, next_step: str) -> None:
        self.status, self.error, self.next_step = status, error, next_step
        super().__init__(error)


async def bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadRequest)
    return JSONResponse({"error": error.error, "next": error.next_step}, error.status)


async def not_served(request: Request, error: Exception) -> Response:
    """What the routes do not have: a path, a method."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail, "next": "examples/http/README.md has what there is"}, error.status_code)


async def failed(request: Request, error: Exception) -> Response:
    """Also for what a command came to: every such answer names the key it was sent under."""
    assert isinstance(error, EventsrcError)
    status = STATUS.get(type(error), 500)
    if status >= 500:
        _log.warning("%s %s: %s", request.method, request.url.path, error)
    headers = {}
    if key := getattr(request.state, "idempotency_key", None):
        headers["Idempotency-Key"] = key
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return JSONResponse(_told(error), status, headers)


def _told(error: EventsrcError) -> dict[str, Any]:
    told: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(error, Rejected):
        return {"error": "Rejected", "reason": error.reason, "details": dict(error.details)}
    if isinstance(error, CommandFailed):
        told |= {"reason": error.reason, "dead_letter": error.dead_letter}
    elif isinstance(error, (InvalidCommand, InvalidId, IdempotencyConflict, OutcomeUnknown)):
        told["reason"] = str(error)  # these speak of the caller's own words; the others may name hosts and files
    if next_step := _NEXT.get(type(error)):
        told["next"] = next_step
    return told

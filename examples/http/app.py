"""The bank behind HTTP: commands with idempotency keys, accounts and their history, a page that shows them live.

`python3 tools/develop.py example http` starts everything. Beside a Kafka and a worker of `examples.bank.app:pipeline`:
`uvicorn --factory examples.http.app:application`.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from eventsrc import AsyncClient, EventsrcError, Outcome, Pipeline
from eventsrc.runtime.settings import Settings
from examples.bank.app import Account, Deposit, Open, Withdraw, pipeline
from examples.http import answers
from examples.http.bodies import json_object
from examples.http.live import Board, follow_accounts

KEY = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
COMMANDS: dict[str, type] = {"open": Open, "deposit": Deposit, "withdraw": Withdraw}
_STATIC = Path(__file__).parent / "static"
_PAGE_HEADERS = {
    # Whatever an id or an owner holds, the page runs no script but its own file, and loads nothing from elsewhere.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def application(
    settings: Settings | None = None, *, bank: Pipeline = pipeline, answer_within_s: float = 10.0
) -> Starlette:
    """The service; it connects when it is started. `settings`: by default as the command line finds them. `bank`: for tests,
    the same under another name."""
    settings = Settings.resolve() if settings is None else settings
    board = Board()

    @asynccontextmanager
    async def connected(app: Starlette) -> AsyncIterator[None]:
        async with AsyncClient(bank, settings=settings) as app.state.client, follow_accounts(board, bank, settings):
            yield

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/live", live),
            Route("/accounts/{id}", show_account),
            Route("/accounts/{id}/history", show_history),
            Route("/accounts/{id}/{action}", send_command, methods=["POST"]),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        # Another name than loopback's in the address would be some web page's that had it point here.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        exception_handlers={
            answers.BadRequest: answers.bad_request,
            EventsrcError: answers.failed,
            HTTPException: answers.not_served,
        },
        lifespan=connected,
    )
    app.state.board, app.state.answer_within_s = board, answer_within_s
    return app


async def send_command(request: Request) -> Response:
    """POST /accounts/{id}/open, deposit or withdraw. The answer to a key that was used before is that of the first time."""
    command_class = COMMANDS.get(request.path_params["action"])
    if command_class is None:
        raise answers.BadRequest(404, "no such action", f"there are {', '.join(COMMANDS)}")
    key = idempotency_key(request)
    command = pipeline.commands[command_class].from_json(await json_object(request))
    request.state.idempotency_key = key  # from here on, every answer names it: with it, it is safe to send again
    client: AsyncClient = request.app.state.client
    outcome = await client.send(
        Account,
        request.path_params["id"],
        command,
        idempotency_key=key,
        timeout=request.app.state.answer_within_s,
    )
    headers = {KEY: key} | ({REPLAYED: "true"} if outcome.duplicate else {})
    return JSONResponse(_outcome(request.path_params["id"], outcome), headers=headers)


def idempotency_key(request: Request) -> str:
    """The header's, or a new one. Raises `BadRequest` for one that is no key."""
    keys = request.headers.getlist(KEY)
    if not keys:
        return str(uuid.uuid4())
    if len(keys) > 1 or not 1 <= len(keys[0]) <= 255 or not keys[0].isascii():
        raise answers.BadRequest(400, f"{KEY} is not one text of 1 to 255 ASCII characters", "leave it out to get one")
    return keys[0]


async def show_account(request: Request) -> Response:
    """GET /accounts/{id}: its state, after everything that this service was answered."""
    client: AsyncClient = request.app.state.client
    account = await client.get(Account, request.path_params["id"])
    if account is None:
        raise answers.BadRequest(404, "no such account", "POST /accounts/{id}/open opens it")
    return JSONResponse(
        {
            "id": request.path_params["id"],
            "owner": account.owner,
            "balance": account.balance,
            "sequence": account.sequence,
        }
    )


async def show_history(request: Request) -> Response:
    """GET /accounts/{id}/history: every event, oldest first; empty for an account that never was."""
    client: AsyncClient = request.app.state.client
    events = [
        {"sequence": each.sequence, "time": each.time.isoformat(), **_event(each.event)}
        async for each in client.history(Account, request.path_params["id"])
    ]
    return JSONResponse({"id": request.path_params["id"], "events": events})


async def page(request: Request) -> Response:
    return FileResponse(_STATIC / "page.html", headers=_PAGE_HEADERS)


async def live(request: Request) -> Response:
    """GET /live: server-sent events. First `accounts`, those that changed last; then a `change` for every event."""
    board: Board = request.app.state.board
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(board.stream(), media_type="text/event-stream", headers=headers)


def _outcome(account_id: str, outcome: Outcome) -> dict[str, Any]:
    return {"id": account_id, "sequence": outcome.sequence, "events": [_event(event) for event in outcome.events]}


def _event(event: Any) -> dict[str, Any]:
    return {"event": type(event).__name__, **asdict(event)}

"""What `/healthz`, `/readyz` and `/metrics` answer, and to whom. Knows requests and answers as values, no socket."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from eventsrc.codes import Refusal, see
from eventsrc.runtime.health import Observed, health, readiness

EXTRA_MISSING = "/metrics wants the library prometheus-client: pip install 'eventsrc[metrics]'; " + see(
    Refusal.EXTRA_MISSING
)


class Asked(NamedTuple):
    """What matters of a request; an absent header is empty."""

    path: str
    host: str
    authorization: str
    accept: str


class Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes


class Answers:
    """`workers`: what they last said. `token`: what a request must bear to see more than a status code. `local_only`: the
    address is of this machine alone, and so must be the name by which it was reached."""

    def __init__(self, workers: Callable[[], Sequence[Observed]], token: str | None, *, local_only: bool) -> None:
        self._workers = workers
        self._token = token
        self._local_only = local_only

    def answer(self, asked: Asked) -> Answer:
        """Of one GET; from any thread."""
        if self._local_only and not _is_local(asked.host):
            return _said(421, f"the Host {asked.host[:80]!r} is not this machine's loopback")
        trusted = self._token is None or _bears(asked.authorization, self._token)
        match asked.path:
            case "/healthz":
                return _probe(*health(self._workers()), in_full=trusted)
            case "/readyz":
                return _probe(*readiness(self._workers()), in_full=trusted)
            case "/metrics" if trusted:
                return self._metrics(asked.accept)
            case "/metrics":
                return _said(401, "it wants the header: Authorization: Bearer <EVENTSRC_HTTP_TOKEN>")
            case _:
                return _said(404, "there are /healthz, /readyz and /metrics")

    def _metrics(self, accept: str) -> Answer:
        try:
            from eventsrc.runtime.exposition import render
        except ImportError:
            return _said(501, EXTRA_MISSING)
        body, content_type = render(self._workers(), time.time_ns() // 1000, accept)
        return Answer(200, content_type, body)


def _is_local(host: str) -> bool:
    """A page of elsewhere that a browser on this machine shows comes with its own name, whatever that resolves to."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name in ("localhost", "[::1]") or (name.startswith("127.") and name.replace(".", "").isdigit())


def _bears(authorization: str, token: str) -> bool:
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def _probe(passes: bool, told: dict[str, Any], *, in_full: bool) -> Answer:
    """Without the token the status alone, so that an orchestrator's probe needs no secret."""
    if not in_full:
        told = {name: value for name, value in told.items() if isinstance(value, bool)}
    return Answer(200 if passes else 503, "application/json", (json.dumps(told, indent=1) + "\n").encode())


def _said(status: int, text: str) -> Answer:
    return Answer(status, "application/json", (json.dumps({"error": text}) + "\n").encode())

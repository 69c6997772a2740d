"""`/healthz`, `/readyz` and `/metrics` over HTTP, in a daemon thread beside the loop, which never waits for it.

Reads what workers last said and nothing else: no lock, no client, no state of the engine. The address is bound at once,
so that one that is taken is told before anything begins; the server's own imports wait until the worker has joined.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from eventsrc.codes import Refusal
from eventsrc.errors import InvalidSettings
from eventsrc.runtime.health import Observed
from eventsrc.runtime.http_address import HttpAddress
from eventsrc.runtime.http_answers import EXTRA_MISSING, Answers

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer

logger = logging.getLogger("eventsrc.http")

BACKLOG = 16
IMPORTS_WAIT_S = 1.0


class HttpEndpoint:
    """A context manager: while it is open, the address is served. `workers`: what they last said; called on threads of its
    own. `token`: what a request must bear to see more than a status code."""

    def __init__(self, address: HttpAddress, token: str | None, workers: Callable[[], Sequence[Observed]]) -> None:
        """Raises `InvalidSettings` where other machines reach the address and there is no token, or where it cannot be had."""
        address.require_token(token)
        self._listening = _listen(address)
        self.address = HttpAddress(address.host, self._listening.getsockname()[1])
        self._answers = Answers(workers, token, local_only=address.is_loopback)
        self._joined, self._closed = threading.Event(), threading.Event()
        self._deciding = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> HttpEndpoint:
        logger.info(
            "probes and metrics at http://%s: /healthz, /readyz, /metrics", self.address,
            extra={"address": str(self.address)},
        )  # fmt: skip
        threading.Thread(target=self._serve, name="eventsrc-http", daemon=True).start()
        return self

    def __exit__(self, *failure: object) -> None:
        with self._deciding:
            self._closed.set()
        self._joined.set()
        if self._server is not None:
            self._server.shutdown()
        self._listening.close()

    def joined(self) -> None:
        """What is imported from now on holds no join back."""
        self._joined.set()

    def _serve(self) -> None:
        self._joined.wait(IMPORTS_WAIT_S)
        from eventsrc.runtime.http_server import server_on

        if find_spec("prometheus_client") is None:
            logger.warning("%s", EXTRA_MISSING, extra={"code": str(Refusal.EXTRA_MISSING)})
        server = server_on(self._listening, self._answers.answer)
        with self._deciding:  # a server that is never begun cannot be ended: `shutdown` would wait for ever
            if self._closed.is_set():
                return
            self._server = server
        with suppress(OSError, ValueError):  # it was closed in between
            server.serve_forever(poll_interval=0.2)


def _listen(address: HttpAddress) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InvalidSettings(f"the address {address} for probes and metrics means nothing here: {error}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise InvalidSettings(
            f"probes and metrics cannot be served at {address}: {error.strerror or error}. Choose another port, or end what "
            "has it",
            Refusal.HTTP_ADDRESS_TAKEN,
        ) from error
    return listening

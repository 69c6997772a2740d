"""The server behind `http_endpoint`: the standard library's, with limits on size, time and number of requests.

GET and HEAD, one request a connection; whatever else comes is answered by a status or closed, and never logged as an error:
anyone who reaches the port may send anything.
"""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from eventsrc.runtime.http_answers import Answer, Asked

LARGEST_HEAD_BYTES = 16_384
REQUEST_S = 5.0
AT_ONCE = 16


def server_on(listening: socket.socket, answer: Callable[[Asked], Answer]) -> ThreadingHTTPServer:
    """Serves a socket that listens already; `answer` is called on a thread for each request."""

    class Requests(_Requests):
        def __init__(self, *arguments: Any) -> None:
            self.answer = answer
            super().__init__(*arguments)

    server = _Server(("", 0), Requests, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    return server


_FURTHER = {401: ("WWW-Authenticate", "Bearer"), 405: ("Allow", "GET, HEAD")}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)  # whoever asks so often may ask again
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the machine has no thread left to give
            self._free.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or sent what is no request."""


class _Requests(BaseHTTPRequestHandler):
    server_version, sys_version = "eventsrc", ""
    answer: Callable[[Asked], Answer]

    def handle_one_request(self) -> None:
        self.close_connection = True
        head = self._head()
        if len(head) > LARGEST_HEAD_BYTES:
            self.requestline, self.request_version, self.command = "", self.protocol_version, ""
            self.send_error(431)
        elif head:
            self.rfile = io.BufferedReader(io.BytesIO(head))
            super().handle_one_request()

    def _head(self) -> bytes:
        """All that belongs to the request, or came in its time."""
        received, until_s = b"", time.monotonic() + REQUEST_S
        with suppress(OSError):  # what has come by then is judged
            while b"\r\n\r\n" not in received and b"\n\n" not in received and len(received) <= LARGEST_HEAD_BYTES:
                self.connection.settimeout(max(0.01, until_s - time.monotonic()))
                part = self.connection.recv(4096)
                if not part or time.monotonic() > until_s:
                    break
                received += part
        self.connection.settimeout(REQUEST_S)
        return received

    def do_GET(self) -> None:
        of = self.headers
        asked = Asked(
            self.path.partition("?")[0], of.get("Host", ""), of.get("Authorization", ""), of.get("Accept", "")
        )
        self._send(self.answer(asked))

    do_HEAD = do_GET  # noqa: N815 - the library looks for this name

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if answer.status in _FURTHER:
            self.send_header(*_FURTHER[answer.status])
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is no request, or asks for another method. As JSON, without a word of what was sent."""
        if code == 501:
            code = 405  # the library's word for a method that it has no function for
        text = {405: "GET and HEAD alone", 431: "larger than a request here may be"}.get(
            code, "no request that is understood"
        )
        self.command = self.command or ""
        self._send(Answer(code, "application/json", (json.dumps({"error": text}) + "\n").encode()))

    def log_message(self, format: str, *arguments: Any) -> None:
        """Probes come every few seconds."""

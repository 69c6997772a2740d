"""A proxy in front of a Postgres's Unix socket: connections can be cut, refused, left without an answer, or lost at the
very statement that is named.

Knows bytes, and that a statement's text stands in them as it was written. Clients reach it by a directory that holds
its socket, as they reach the server.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SOCKET = ".s.PGSQL.5432"
Moment = Literal["before", "after"]


@dataclass
class LostStatement:
    """The connection that carries `text` next is cut: `before` the server has it, or `after`, without its answer."""

    text: bytes
    moment: Moment
    happened: threading.Event = field(default_factory=threading.Event)

    def wait_hit(self, timeout_s: float = 60.0) -> None:
        if not self.happened.wait(timeout_s):
            raise TimeoutError(f"{self.text!r} was not seen in {timeout_s} s")


class _Connection:
    def __init__(self, proxy: PostgresProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._losing = False
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self._upstream, self._downstream)]
        for thread in self.threads:
            thread.start()

    def cut(self) -> None:
        for peer in (self._client, self._server):
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def _upstream(self) -> None:
        with contextlib.suppress(OSError):
            while part := self._client.recv(1 << 16):
                self._proxy._open.wait()
                moment = self._proxy._lost(part)
                if moment == "before":
                    break
                self._losing = moment == "after"
                self._server.sendall(part)
        if not self._losing:
            self.cut()

    def _downstream(self) -> None:
        with contextlib.suppress(OSError):
            while part := self._server.recv(1 << 16):
                self._proxy._open.wait()
                if self._losing:
                    break
                self._client.sendall(part)
        self.cut()
        self._proxy._forget(self)
        self.threads[0].join(5)
        for peer in (self._client, self._server):
            peer.close()


class PostgresProxy:
    def __init__(self, server_directory: Path) -> None:
        self._server = str(server_directory / SOCKET)
        self.directory = Path(tempfile.mkdtemp(prefix="pgproxy-", dir="/tmp"))  # a socket's path is short
        self._open = threading.Event()
        self._open.set()
        self._accepting = True
        self._lock = threading.Lock()
        self._rules: list[LostStatement] = []
        self._connections: set[_Connection] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.directory / SOCKET))
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._accept, name="postgres-proxy", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Every connection; clients may connect again."""
        for connection in self._live():
            connection.cut()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Nothing passes either way, and nobody is told: a server that hangs. What was sent is delivered afterwards."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Connections are cut and new ones refused."""
        self._accepting = False
        self.cut()
        try:
            yield
        finally:
            self._accepting = True

    def lose(self, text: bytes, moment: Moment) -> LostStatement:
        rule = LostStatement(text, moment)
        with self._lock:
            self._rules.append(rule)
        return rule

    def stop(self) -> None:
        self._open.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for connection in self._live():
            connection.cut()
            for thread in connection.threads:
                thread.join(5)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                if not self._accepting:
                    raise ConnectionRefusedError
                server.connect(self._server)
            except OSError:
                server.close()
                client.close()
                continue
            with self._lock:
                self._connections.add(_Connection(self, client, server))

    def _live(self) -> list[_Connection]:
        with self._lock:
            return list(self._connections)

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.discard(connection)

    def _lost(self, part: bytes) -> Moment | None:
        with self._lock:
            for rule in self._rules:
                if rule.text in part:
                    self._rules.remove(rule)
                    rule.happened.set()
                    return rule.moment
        return None

"""A TCP proxy in front of one Kafka listener that tells requests by API key and can hold, drop, delay or cut them.

It stands where a network would: clients bootstrap at its port, and the broker's second listener is advertised at it.
Knows the frame and the two headers (request: api key, version, correlation id; response: correlation id), nothing of
the bodies.

A fault is a rule about the next requests (or replies) of one API. Rules fire in order and as often as they were asked
to; what fired is counted and can be waited for, so a test knows that its fault happened. A held request survives the
death of its client: the proxy delivers it later, as a network may.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from eventsrc.localstack.processes import LOOPBACK


class Api(enum.IntEnum):
    """Kafka's request types, as far as tests name them."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    JOIN_GROUP = 11
    HEARTBEAT = 12
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    WRITE_TXN_MARKERS = 27
    TXN_OFFSET_COMMIT = 28


Where = Literal["request", "reply"]
Action = Literal["hold", "drop", "delay"]


@dataclass
class Rule:
    """One fault. `hits` counts how often it fired; `release` ends a hold, and the held frame goes on its way."""

    api: Api
    where: Where
    action: Action
    remaining: int
    delay_s: float = 0.0
    hits: int = 0
    _fired: threading.Condition = field(default_factory=threading.Condition)
    _released: threading.Event = field(default_factory=threading.Event)
    _caught: list[_Connection] = field(default_factory=list)

    def release(self) -> None:
        self._released.set()

    def wait_hit(self, count: int = 1, timeout_s: float = 60.0) -> None:
        """Raises `TimeoutError` if the fault did not happen `count` times."""
        with self._fired:
            if not self._fired.wait_for(lambda: self.hits >= count, timeout_s):
                raise TimeoutError(f"{self.where} {self.api.name} was not seen {count} times in {timeout_s} s")

    def cut_caught(self) -> None:
        """Closes the client's side of the connections whose frames this rule caught; what is held stays held."""
        for connection in list(self._caught):
            connection.cut_client()

    def _fire(self, connection: _Connection) -> None:
        with self._fired:
            self.hits += 1
            self._caught.append(connection)
            self._fired.notify_all()


@dataclass(frozen=True, slots=True)
class Seen:
    at: float
    api: int
    version: int
    connection: int


class _Connection:
    """One client connection with its own connection to the broker, and a thread for each direction."""

    def __init__(self, proxy: Proxy, number: int, client: socket.socket, broker: socket.socket) -> None:
        self.number = number
        self._proxy, self._client, self._broker = proxy, client, broker
        self._apis: dict[int, int] = {}
        for peer in (client, broker):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = f"proxy-{proxy.port}"
        ways = (self._upstream, self._downstream)
        self._threads = [threading.Thread(target=run, name=name, daemon=True) for run in ways]
        for thread in self._threads:
            thread.start()

    def cut_client(self) -> None:
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        for peer in (self._client, self._broker):
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(5)

    def _upstream(self) -> None:
        try:
            for frame in _frames(self._client):
                api, version, correlation = struct.unpack_from(">hhi", frame, 4)
                self._apis[correlation] = api
                self._proxy._note(Seen(time.monotonic(), api, version, self.number))
                if self._proxy._pass(self, "request", api):
                    self._broker.sendall(frame)
        except OSError:
            pass  # either side was cut
        finally:
            with contextlib.suppress(OSError):
                self._broker.shutdown(socket.SHUT_WR)

    def _downstream(self) -> None:
        try:
            for frame in _frames(self._broker):
                (correlation,) = struct.unpack_from(">i", frame, 4)
                if self._proxy._pass(self, "reply", self._apis.pop(correlation, -1)):
                    with contextlib.suppress(OSError):  # the client has gone: the broker's replies are read on
                        self._client.sendall(frame)
        except OSError:
            pass  # the broker's side was cut
        finally:
            for peer in (self._client, self._broker):
                with contextlib.suppress(OSError):
                    peer.shutdown(socket.SHUT_RDWR)
                peer.close()
            self._proxy._forget(self)


class Proxy:
    """Listens on `port` (0: chosen) and forwards to `target_port` on loopback; until that is known (0), connections are
    refused. A context manager; `stop` ends all."""

    def __init__(self, port: int, target_port: int = 0) -> None:
        self.target_port = target_port
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._connections: set[_Connection] = set()
        self._seen: list[Seen] = []
        self._numbers = itertools.count(1)
        self._open = {"request": threading.Event(), "reply": threading.Event()}
        for way in self._open.values():
            way.set()
        self._accepting = True
        self._stopping = False
        self._listener = socket.create_server((LOOPBACK, port), reuse_port=False)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    @property
    def bootstrap_servers(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    # ---- faults

    def hold(self, api: Api, where: Where = "request", times: int = 1) -> Rule:
        """The next `times` frames wait until `release`; what follows them on the connection waits behind."""
        return self._add(Rule(api, where, "hold", times))

    def drop(self, api: Api, where: Where = "request", times: int = 1) -> Rule:
        """The next `times` frames vanish. A dropped reply belongs to a request that took effect."""
        return self._add(Rule(api, where, "drop", times))

    def delay(self, api: Api, delay_s: float, where: Where = "request", times: int = 1) -> Rule:
        return self._add(Rule(api, where, "delay", times, delay_s))

    def cut(self) -> None:
        """Resets every connection; clients may connect again."""
        for connection in self._live():
            connection.cut()

    @contextlib.contextmanager
    def partitioned(self, way: Where | Literal["both"] = "both") -> Iterator[None]:
        """Nothing passes this way until the block ends: a one-way partition where `way` names one. What was sent is
        delivered afterwards, as TCP does."""
        ways = list(self._open) if way == "both" else [way]
        for name in ways:
            self._open[name].clear()
        try:
            yield
        finally:
            for name in ways:
                self._open[name].set()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Connections are cut and new ones refused, until the block ends."""
        self._accepting = False
        self.cut()
        try:
            yield
        finally:
            self._accepting = True

    # ---- what happened

    def seen(self, api: Api) -> list[Seen]:
        with self._lock:
            return [seen for seen in self._seen if seen.api == api]

    def clear(self) -> None:
        """Releases every hold and forgets every rule."""
        with self._lock:
            rules, self._rules = self._rules, []
        for rule in rules:
            rule.release()

    def stop(self) -> None:
        """What is held goes nowhere any more."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        live = self._live()
        for connection in live:
            connection.cut()
        self.clear()
        for way in self._open.values():
            way.set()
        for connection in live:
            connection.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # ---- called by the connections' threads

    def _accept(self) -> None:
        while not self._stopping:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection((LOOPBACK, self.target_port), 30) if self._accepting else None
            except OSError:
                broker = None
            if broker is None:
                client.close()
                continue
            broker.settimeout(None)
            with self._lock:
                self._connections.add(_Connection(self, next(self._numbers), client, broker))

    def _live(self) -> list[_Connection]:
        with self._lock:
            return list(self._connections)

    def _add(self, rule: Rule) -> Rule:
        with self._lock:
            self._rules.append(rule)
        return rule

    def _note(self, seen: Seen) -> None:
        with self._lock:
            self._seen.append(seen)

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.discard(connection)

    def _pass(self, connection: _Connection, where: Where, api: int) -> bool:
        """Blocks as the rules say; whether the frame goes on."""
        self._open[where].wait()
        rule = self._take(where, api)
        if rule is None:
            return True
        rule._fire(connection)
        if rule.action == "drop":
            return False
        rule._released.wait(rule.delay_s if rule.action == "delay" else None)
        return not self._stopping

    def _take(self, where: Where, api: int) -> Rule | None:
        with self._lock:
            for rule in self._rules:
                if (rule.where, rule.api) == (where, api) and rule.remaining > 0:
                    rule.remaining -= 1
                    return rule
        return None


def _frames(peer: socket.socket) -> Iterator[bytes]:
    """Whole frames with their length prefix, until the peer closes."""
    while (prefix := _exactly(peer, 4)) is not None:
        body = _exactly(peer, struct.unpack(">i", prefix)[0])
        if body is None:
            return
        yield prefix + body


def _exactly(peer: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = peer.recv(min(size - len(parts), 1 << 16))
        if not part:
            return None
        parts += part
    return bytes(parts)

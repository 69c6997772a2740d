"""The proxy against a small echo server that speaks Kafka's frame: each fault happens, exactly as often as asked."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.harness.proxy import Api, Proxy


def request(api: Api, correlation: int, body: bytes = b"") -> bytes:
    content = struct.pack(">hhi", api, 0, correlation) + body
    return struct.pack(">i", len(content)) + content


def read_frame(peer: socket.socket) -> bytes:
    def exactly(size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            part = peer.recv(size - len(parts))
            if not part:
                raise ConnectionError
            parts += part
        return parts

    return exactly(struct.unpack(">i", exactly(4))[0])


def correlation_of(reply: bytes) -> int:
    return int(struct.unpack_from(">i", reply)[0])


class Echo:
    """Answers each request with its correlation id, and remembers which arrived."""

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self.changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.arrived) >= count, 30)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            while True:
                (correlation,) = struct.unpack_from(">i", read_frame(peer), 4)
                with self.changed:
                    self.arrived.append(correlation)
                    self.changed.notify_all()
                peer.sendall(struct.pack(">ii", 4, correlation))


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(0, echo.port) as running:
        yield running


def connect(proxy: Proxy) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", proxy.port), 30)
    peer.settimeout(30)
    return peer


def test_passes_everything_on_and_tells_what_it_saw(proxy: Proxy) -> None:
    with connect(proxy) as peer:
        for number in range(50):
            peer.sendall(request(Api.PRODUCE, number, b"x" * number * 1000))
            assert correlation_of(read_frame(peer)) == number
    assert len(proxy.seen(Api.PRODUCE)) == 50
    assert proxy.seen(Api.END_TXN) == []


def test_holds_one_request_until_released(proxy: Proxy, echo: Echo) -> None:
    held = proxy.hold(Api.END_TXN)
    with connect(proxy) as peer:
        peer.sendall(request(Api.PRODUCE, 1) + request(Api.END_TXN, 2))
        assert correlation_of(read_frame(peer)) == 1
        held.wait_hit()
        assert echo.arrived == [1]
        held.release()
        assert correlation_of(read_frame(peer)) == 2
        peer.sendall(request(Api.END_TXN, 3))  # the rule was for one
        assert correlation_of(read_frame(peer)) == 3
    assert held.hits == 1


def test_a_held_request_outlives_its_client(proxy: Proxy, echo: Echo) -> None:
    held = proxy.hold(Api.END_TXN)
    with connect(proxy) as peer:
        peer.sendall(request(Api.END_TXN, 1))
        held.wait_hit()
        held.cut_caught()
        assert peer.recv(1) == b""
    assert echo.arrived == []
    held.release()
    echo.wait_for(1)
    assert echo.arrived == [1]


def test_drops_a_reply_whose_request_took_effect(proxy: Proxy, echo: Echo) -> None:
    dropped = proxy.drop(Api.END_TXN, "reply", times=2)
    with connect(proxy) as peer:
        peer.sendall(request(Api.END_TXN, 1) + request(Api.END_TXN, 2) + request(Api.PRODUCE, 3))
        assert correlation_of(read_frame(peer)) == 3
    assert echo.arrived == [1, 2, 3]
    assert dropped.hits == 2


def test_drops_a_request(proxy: Proxy, echo: Echo) -> None:
    proxy.drop(Api.PRODUCE)
    with connect(proxy) as peer:
        peer.sendall(request(Api.PRODUCE, 1) + request(Api.PRODUCE, 2))
        assert correlation_of(read_frame(peer)) == 2
    assert echo.arrived == [2]


def test_a_one_way_partition_lets_requests_through_and_no_reply(proxy: Proxy, echo: Echo) -> None:
    with connect(proxy) as peer:
        with proxy.partitioned("reply"):
            peer.sendall(request(Api.PRODUCE, 1))
            echo.wait_for(1)
            peer.settimeout(0.2)
            with pytest.raises(TimeoutError):
                peer.recv(1)
        peer.settimeout(30)
        assert correlation_of(read_frame(peer)) == 1


def test_cut_ends_connections_and_away_refuses_new_ones(proxy: Proxy) -> None:
    peer = connect(proxy)
    peer.sendall(request(Api.PRODUCE, 1))
    read_frame(peer)
    with proxy.away():
        assert peer.recv(1) == b""
        with connect(proxy) as refused:
            assert refused.recv(1) == b""
    peer.close()
    with connect(proxy) as again:
        again.sendall(request(Api.PRODUCE, 2))
        assert correlation_of(read_frame(again)) == 2


def test_a_fault_that_did_not_happen_is_an_error(proxy: Proxy) -> None:
    rule = proxy.hold(Api.END_TXN)
    with pytest.raises(TimeoutError, match="END_TXN"):
        rule.wait_hit(timeout_s=0.05)


def test_stop_ends_every_thread(echo: Echo) -> None:
    proxy = Proxy(0, echo.port)

    def alive() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == f"proxy-{proxy.port}"]

    with connect(proxy) as peer:
        proxy.hold(Api.END_TXN)
        peer.sendall(request(Api.PRODUCE, 1) + request(Api.END_TXN, 2))
        read_frame(peer)
        assert len(alive()) == 3
        proxy.stop()
        assert peer.recv(1) == b""
    assert alive() == []

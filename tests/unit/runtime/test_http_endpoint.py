"""The server of probes: real sockets, whatever is sent to them."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from eventsrc.codes import Refusal, code_of
from eventsrc.errors import InvalidSettings
from eventsrc.runtime import http_server
from eventsrc.runtime.health import Observed
from eventsrc.runtime.http_address import HttpAddress
from eventsrc.runtime.http_endpoint import HttpEndpoint
from tests.harness.collect import wait_until


@pytest.fixture
def endpoint() -> Iterator[HttpEndpoint]:
    with HttpEndpoint(HttpAddress.parse("0"), None, lambda: [Observed("w-0", None, 0.1, os.getpid())]) as served:
        served.joined()
        yield served


def exchange(endpoint: HttpEndpoint, sent: bytes, *, half_close: bool = False) -> bytes:
    with socket.create_connection((endpoint.address.host, endpoint.address.port), 15) as connection:
        parts = []
        try:
            connection.sendall(sent)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has answered and closed before all was sent
        try:
            while part := connection.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass  # it did not read all that was sent
        return b"".join(parts)


def status(endpoint: HttpEndpoint, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(endpoint.address.host, endpoint.address.port, timeout=15)
    connection.request(method, path)
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


def test_get_and_head_are_answered_and_nothing_else(endpoint: HttpEndpoint) -> None:
    code, body = status(endpoint, "GET", "/healthz?verbose=1")
    assert (code, b'"healthy": true' in body) == (200, True)
    assert status(endpoint, "HEAD", "/readyz") == (503, b"")
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "NONSENSE"):
        code, body = status(endpoint, method, "/healthz")
        assert (code, body) == (405, b'{"error": "GET and HEAD alone"}\n')


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n",
        b"\x00" * 100 + b"\n\n",
        b"GET /healthz HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\nrest",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 150 + b"\r\n",
        b"GET \xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"x",
        b"",
    ],
    ids=range(13),
)
def test_garbage_harms_nobody(endpoint: HttpEndpoint, sent: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    answer = exchange(endpoint, sent, half_close=True)
    assert not answer or b'{"error": ' in answer or b'"healthy": true' in answer
    assert status(endpoint, "GET", "/healthz")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_request_that_is_too_large_is_told_so(endpoint: HttpEndpoint) -> None:
    assert exchange(endpoint, b"GET /" + b"a" * 17_000).startswith(b"HTTP/1.0 431 ")


def test_who_sends_slowly_or_nothing_holds_nobody_up(endpoint: HttpEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    place = (endpoint.address.host, endpoint.address.port)
    before = set(threading.enumerate())

    def idle(patience_s: float) -> list[socket.socket]:
        monkeypatch.setattr(http_server, "REQUEST_S", patience_s)
        opened = [socket.create_connection(place, 15) for _ in range(5)]
        opened[0].sendall(b"GET /healthz HT")
        return opened

    waited_for = idle(600.0)
    assert status(endpoint, "GET", "/healthz")[0] == 200
    for connection in waited_for:
        connection.close()
    given_up = idle(0.5)
    assert status(endpoint, "GET", "/healthz")[0] == 200  # taken after those
    wait_until(lambda: not set(threading.enumerate()) - before, 30, "their threads have ended")
    for connection in given_up:
        connection.close()


def test_more_connections_than_it_serves_at_once_are_closed(
    endpoint: HttpEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "REQUEST_S", 600.0)  # what is closed is not closed for having sent nothing
    place = (endpoint.address.host, endpoint.address.port)
    many = [socket.create_connection(place, 15) for _ in range(3 * http_server.AT_ONCE)]

    def refused() -> int:
        count = 0
        for connection in many:
            connection.settimeout(0.02)
            try:
                count += connection.recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                count += 1
        return count

    wait_until(lambda: refused() >= 2 * http_server.AT_ONCE, 30, "the rest is closed")
    for connection in many:
        connection.close()
    wait_until(lambda: status_or_none(endpoint) == 200, 30, "others are served again")


def status_or_none(endpoint: HttpEndpoint) -> int | None:
    try:
        return status(endpoint, "GET", "/healthz")[0]
    except (OSError, http.client.HTTPException):
        return None


def test_an_address_that_is_taken_is_told_before_anything_begins(endpoint: HttpEndpoint) -> None:
    with pytest.raises(InvalidSettings, match=rf"{endpoint.address}: .*in use") as refused:
        HttpEndpoint(endpoint.address, None, list)
    assert code_of(refused.value) == Refusal.HTTP_ADDRESS_TAKEN
    with pytest.raises(InvalidSettings, match="means nothing here"):
        HttpEndpoint(HttpAddress("no.such.host.invalid", 0), "token", list)


def test_nobody_else_is_served_after_its_end(endpoint: HttpEndpoint) -> None:
    assert status(endpoint, "GET", "/healthz")[0] == 200
    endpoint.__exit__()
    assert status_or_none(endpoint) is None


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("9100", "127.0.0.1", 9100), ("0.0.0.0:80", "0.0.0.0", 80), ("[::1]:9100", "::1", 9100), ("web-0:0", "web-0", 0)],
)
def test_an_address_is_a_port_with_or_without_its_host(text: str, host: str, port: int) -> None:
    assert HttpAddress.parse(text) == (host, port)
    assert str(HttpAddress.parse(text)).endswith(text)


@pytest.mark.parametrize(
    "text", ["", "http", ":9100", "::1:9100", "1.2.3.4", "localhost:", "localhost:65536", "-1", "a:b"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match=r"9100"):
        HttpAddress.parse(text)


def test_another_host_wants_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "web-0"):
        with pytest.raises(InvalidSettings, match="EVENTSRC_HTTP_TOKEN") as refused:
            HttpAddress(host, 80).require_token(None)
        assert code_of(refused.value) == Refusal.HTTP_TOKEN_MISSING
        HttpAddress(host, 80).require_token("secret")
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        HttpAddress(host, 80).require_token(None)


def test_its_end_is_never_waited_for_however_early_it_comes() -> None:
    def open_and_end() -> None:
        for turn in range(40):
            with HttpEndpoint(HttpAddress.parse("0"), None, list) as early:
                early.joined()
                time.sleep(turn * 0.00002)

    ending = threading.Thread(target=open_and_end, daemon=True)
    ending.start()
    ending.join(60)
    assert not ending.is_alive()

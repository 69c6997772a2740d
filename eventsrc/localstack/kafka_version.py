"""Asks a broker which Kafka it is: the ApiVersions request, which no client library passes on.

Kafka names no version on the wire. It tells the highest metadata.version it supports, and each release has its own.
Source of the request's form and of the table: Kafka's ApiVersionsRequest.json (version 3) and MetadataVersion.java.
"""

from __future__ import annotations

import socket
import struct

_API_VERSIONS_KEY = 18
_REQUEST_VERSION = 3
_MAXIMUM_ANSWER_BYTES = 1_000_000

# The last metadata.version of each release: a broker that supports up to 33 is 4.4.
_RELEASES = (
    (7, "3.3"), (8, "3.4"), (11, "3.5"), (14, "3.6"), (19, "3.7"), (20, "3.8"), (21, "3.9"),
    (25, "4.0"), (27, "4.1"), (29, "4.2"), (30, "4.3"), (33, "4.4"),
)  # fmt: skip


def broker_release(host: str, port: int, timeout_s: float = 5.0) -> str | None:
    """The release of a broker that speaks plain text, "4.4" say; None if it does not tell. Raises OSError."""
    with socket.create_connection((host, port), timeout_s) as connection:
        client = b"eventsrc"
        compact = bytes([len(client) + 1]) + client
        header = struct.pack(">hhih", _API_VERSIONS_KEY, _REQUEST_VERSION, 1, len(client)) + client + b"\0"
        body = header + compact + compact + b"\0"
        connection.sendall(struct.pack(">i", len(body)) + body)
        length = struct.unpack(">i", _receive(connection, 4))[0]
        if not 0 < length <= _MAXIMUM_ANSWER_BYTES:
            return None
        return release_in(_receive(connection, length))


def release_in(answer: bytes) -> str | None:
    """The release that an ApiVersions answer tells of."""
    # Among the supported features: the name as a compact string, then the lowest and highest level.
    name = b"metadata.version"
    at = answer.find(bytes([len(name) + 1]) + name)
    levels = answer[at + 1 + len(name) : at + 1 + len(name) + 4]
    if at < 0 or len(levels) < 4:
        return None
    _, highest = struct.unpack(">hh", levels)
    return release_of(highest)


def release_of(highest: int) -> str:
    for last, release in _RELEASES:
        if highest <= last:
            return release
    return f"newer than {_RELEASES[-1][1]}"


def _receive(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        chunk = connection.recv(count - len(received))
        if not chunk:
            raise ConnectionError("the broker closed the connection")
        received += chunk
    return received

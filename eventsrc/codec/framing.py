"""What stands before an Avro body: single-object encoding, and the registry's framing, which is told apart.

Knows no schema: a fingerprint is a number here.
"""

from __future__ import annotations

from eventsrc.errors import DecodingError

MARKER = b"\xc3\x01"
PREFIX_BYTES = 10
REGISTRY_MARKER = b"\x00"
REGISTRY_PREFIX_BYTES = 5


def framing_prefix(fingerprint: int) -> bytes:
    """C3 01 and the fingerprint, little-endian: the first 10 bytes of every record of that schema."""
    return MARKER + fingerprint.to_bytes(8, "little")


def registry_prefix(schema_id: int) -> bytes:
    """00 and the id, big-endian: the first 5 bytes of every record that is framed by a registry's id."""
    return REGISTRY_MARKER + schema_id.to_bytes(4, "big")


def prefix_of(value: bytes) -> bytes:
    """What stands before the body, and readers are found by: 5 bytes of a registry's framing, else the first 10."""
    return value[:REGISTRY_PREFIX_BYTES] if value[:1] == REGISTRY_MARKER else value[:PREFIX_BYTES]


def parse_prefix(value: bytes) -> bytes:
    """What names the writer schema: the 8 bytes of a fingerprint, or the 4 bytes of a registry's id.

    `DecodingError` where the value begins with neither.
    """
    if value[:2] == MARKER and len(value) >= PREFIX_BYTES:
        return value[2:PREFIX_BYTES]
    if value[:1] == REGISTRY_MARKER and len(value) >= REGISTRY_PREFIX_BYTES:
        return value[1:REGISTRY_PREFIX_BYTES]
    raise DecodingError(f"no Avro framing: the value begins with {value[:PREFIX_BYTES].hex() or 'nothing'}")

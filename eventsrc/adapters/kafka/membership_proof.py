"""What the bytes of librdkafka's consumer group metadata say: only whether they prove a membership at all."""

from __future__ import annotations

import struct

_MAGIC = b"CGMDv2:"


def generation_of(metadata: bytes) -> int | None:
    """The group generation; None where this worker is in no generation."""
    if not metadata.startswith(_MAGIC) or len(metadata) < len(_MAGIC) + 4:
        return None
    (generation,) = struct.unpack_from("<i", metadata, len(_MAGIC))
    return generation if generation >= 0 else None


def member_of(metadata: bytes) -> str | None:
    """The member id that the coordinator gave; None where there is none."""
    if not metadata.startswith(_MAGIC):
        return None
    group_and_member = metadata[len(_MAGIC) + 4 :].split(b"\0")
    return group_and_member[1].decode() or None if len(group_and_member) >= 2 else None


def is_member(metadata: bytes) -> bool:
    """False for a negative generation or an empty member id: the broker does not fence that pair."""
    return generation_of(metadata) is not None and member_of(metadata) is not None

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


def is_member(metadata: bytes) -> bool:
    """False for a negative generation or an empty member id: the broker does not fence that pair."""
    if generation_of(metadata) is None:
        return False
    group_and_member = metadata[len(_MAGIC) + 4 :].split(b"\0")
    return len(group_and_member) >= 2 and bool(group_and_member[1])

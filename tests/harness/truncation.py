"""Cuts committed records off the end of a partition's log on a broker's disk, as an unclean leader election does.

The broker must have been killed: it then trusts no index, and takes the files as it finds them.
"""

from __future__ import annotations

import struct
from pathlib import Path

from eventsrc.localstack.kafka import KafkaBroker

_CONTROL_BATCH = 1 << 5
_BEGINNING = "0" * 20


def truncate_log(broker: KafkaBroker, topic: str, partition: int, share: float) -> int:
    """Keeps about that share of its records, up to the end of a transaction; returns the offset where it ends now."""
    directory = broker.directory / "logs" / f"{topic}-{partition}"
    log = directory / f"{_BEGINNING}.log"
    content = log.read_bytes()
    ends = _ends_of_transactions(content)
    wanted = ends[-1][1] * share
    size, offset = max(end for end in ends if end[1] <= wanted)
    log.write_bytes(content[:size])
    for path in directory.iterdir():
        if path.suffix in (".index", ".timeindex", ".txnindex", ".snapshot"):
            path.unlink()
    _forget_recovery_point(broker.directory / "logs", directory.name)
    return offset


def _ends_of_transactions(content: bytes) -> list[tuple[int, int]]:
    """Size of the log and next offset after each control batch."""
    ends: list[tuple[int, int]] = []
    at = 0
    while at + 61 <= len(content):
        base, length = struct.unpack_from(">qi", content, at)
        attributes, last_delta = struct.unpack_from(">hi", content, at + 21)
        if length <= 0:
            break  # space that the broker had reserved
        at += 12 + length
        if attributes & _CONTROL_BATCH:
            ends.append((at, base + last_delta + 1))
    return ends


def _forget_recovery_point(logs: Path, name: str) -> None:
    """Nothing of it is known to be flushed: the broker looks at all of it."""
    checkpoint = logs / "recovery-point-offset-checkpoint"
    if not checkpoint.exists():
        return
    topic, _, partition = name.rpartition("-")
    version, _, *lines = checkpoint.read_text().splitlines()
    kept = [line for line in lines if line.split()[:2] != [topic, partition]]
    checkpoint.write_text("\n".join([version, str(len(kept)), *kept, ""]))

"""Which runs of a checkpoint to merge, so that a look-up touches few blocks and a recovery loads few bytes.

Tiered, as in a log-structured merge tree: a run is rewritten when many of its size have gathered, not at each
checkpoint. Source: universal compaction of RocksDB, with its two limits (runs, and bytes beside the oldest run).
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_RUNS = 8
MAX_NEWER_SHARE = 2.0
"""Of the oldest run's bytes: what the newer ones may hold together before all are merged."""


def newest_to_merge(sizes_bytes: Sequence[int]) -> int:
    """How many of the newest runs to merge into one (0: none). Sizes oldest first."""
    if len(sizes_bytes) < 2:
        return 0
    if sum(sizes_bytes[1:]) > MAX_NEWER_SHARE * sizes_bytes[0]:
        return len(sizes_bytes)
    if len(sizes_bytes) <= MAX_RUNS:
        return 0
    merged_bytes, count = sizes_bytes[-1], 1
    for older_bytes in reversed(sizes_bytes[:-1]):
        if count >= 2 and older_bytes > merged_bytes:
            break
        merged_bytes += older_bytes
        count += 1
    return count

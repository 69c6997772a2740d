"""Which runs are merged: few to look through, few bytes to load, and no run rewritten at each checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from eventsrc.engine.merging import MAX_NEWER_SHARE, MAX_RUNS, newest_to_merge


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ([], 0),
        ([10], 0),
        ([10, 20], 0),
        ([10, 21], 2),
        ([0, 1], 2),
        ([1000, 1, 1, 1, 1, 1, 1, 1], 0),
        ([1000, 1, 1, 1, 1, 1, 1, 1, 1], 8),
        ([1000, 500, 1, 1, 1, 1, 1, 1, 1], 7),
        ([1000, 1, 1, 1, 1, 1, 1, 1, 900], 8),
        ([9, 8, 1, 1, 1, 1, 1, 1, 1], 7),
    ],
)
def test_which_are_merged(sizes: Sequence[int], count: int) -> None:
    assert newest_to_merge(sizes) == count


@pytest.mark.parametrize("delta", [1, 10, 100, 5000])
def test_runs_and_bytes_stay_bounded_and_little_is_rewritten(delta: int) -> None:
    """A thousand checkpoints of the same size over a base of a thousand."""
    runs, written = [1000], 0
    for _ in range(1000):
        runs.append(delta)
        written += delta
        count = newest_to_merge(runs)
        if count:
            merged = sum(runs[-count:])
            merged = min(merged, 1000 + delta) if count == len(runs) else merged  # the same states over again
            runs[-count:] = [merged]
            written += merged
        assert len(runs) <= MAX_RUNS + 1
        assert sum(runs[1:]) <= MAX_NEWER_SHARE * runs[0]
    assert written <= 8 * 1000 * max(delta, 1) + 20_000

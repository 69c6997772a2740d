"""Hybrid logical time: microseconds of wall time that never repeat and never go back.

Never reads a clock: the caller passes the time in.
"""

from __future__ import annotations


class HybridClock:
    """One partition's. After Kulkarni et al., "Logical Physical Clocks" (2014), with the counter folded into the
    microseconds: a burst within one microsecond borrows from the next ones."""

    __slots__ = ("_last_us",)

    def __init__(self) -> None:
        self._last_us = 0

    @property
    def last_us(self) -> int:
        """The latest time given out or merged."""
        return self._last_us

    def before(self, wall_us: int) -> int:
        """The time just before the next to give out, which is `wall_us`, or later where that has been given out or merged.
        The caller counts on from there, and merges what it gave out last."""
        return max(self._last_us, wall_us - 1)

    def merge(self, time_us: int) -> None:
        """This time was seen, or given out: whatever is given out from here on is later."""
        self._last_us = max(self._last_us, time_us)

"""Hybrid logical time: microseconds of wall time that never repeat and never go back.

Never reads a clock: the caller passes the time in.
"""

from __future__ import annotations


class HybridClock:
    """One worker's. After Kulkarni et al., "Logical Physical Clocks" (2014), with the counter folded into the
    microseconds: a burst within one microsecond borrows from the next ones."""

    __slots__ = ("_last_us",)

    def __init__(self) -> None:
        self._last_us = 0

    def next(self, wall_us: int) -> int:
        """A time later than every one given out or merged before; `wall_us` itself where it is later already."""
        last = self._last_us + 1
        self._last_us = wall_us if wall_us > last else last
        return self._last_us

    @property
    def last_us(self) -> int:
        """The latest time given out or merged."""
        return self._last_us

    def merge(self, time_us: int) -> None:
        """Another worker's time was seen: whatever is given out from here on is later."""
        self._last_us = max(self._last_us, time_us)

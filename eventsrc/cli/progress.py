"""A bar on stderr that says how far a replay is: only for a terminal, and without colour."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from eventsrc.runtime import logs

if TYPE_CHECKING:
    from eventsrc.runtime.replaying import ReplayProgress

_CELLS = 38


class ProgressBar:
    """A context manager; the bar is gone when it ends."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty() and not logs.is_json() and os.environ.get("TERM") != "dumb"
        self._began = time.monotonic()
        self._width = 0

    def show(self, progress: ReplayProgress) -> None:
        if not self._shown:
            return
        line = bar_line(progress, time.monotonic() - self._began)
        self._stream.write(f"\r{line.ljust(self._width)}")
        self._stream.flush()
        self._width = len(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._width:
            self._stream.write(f"\r{' ' * self._width}\r")
            self._stream.flush()


def bar_line(progress: ReplayProgress, elapsed_s: float) -> str:
    """`  ####....  82 %   1.2 M events, 410 k/s, 0.6 s left`"""
    share = min(progress.passed / progress.total, 1.0) if progress.total else 1.0
    bar = "#" * round(share * _CELLS)
    line = f"  {bar.ljust(_CELLS, '.')}  {share:4.0%}   {_short(progress.events)} events"
    if elapsed_s <= 0 or not progress.passed:
        return line
    left_s = (progress.total - progress.passed) * elapsed_s / progress.passed
    return f"{line}, {_short(progress.events / elapsed_s)}/s, {max(left_s, 0.0):.1f} s left"


def _short(number: float) -> str:
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f}"

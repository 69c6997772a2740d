"""Imported by an interpreter at its start when this directory is on its path: shifts the clock of one process.

`EVENTSRC_TEST_CLOCK` names a file with the seconds to add to the wall clock; it may be replaced at any time. Only what Python
asks `time` for is shifted: the monotonic clock, the libraries in C and the servers keep theirs, as on a host whose clock
is set.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_file = os.environ.get("EVENTSRC_TEST_CLOCK")
_true_ns = time.time_ns
_read_again_s = 0.0
_shift_s = 0.0


def _shifted_ns() -> int:
    global _read_again_s, _shift_s  # noqa: PLW0603 - one clock for the process
    if time.monotonic() >= _read_again_s:
        _read_again_s = time.monotonic() + 0.05
        _shift_s = float(Path(_file or "").read_text())
    return _true_ns() + int(_shift_s * 1e9)


if _file:
    time.time_ns = _shifted_ns
    time.time = lambda: _shifted_ns() / 1e9

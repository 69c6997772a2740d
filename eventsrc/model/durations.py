"""Durations as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

Duration = str | int | float | timedelta
"""`"2s"`, `"500ms"`, `"10m"`, `"1h30m"`, `"7d"`; a number of seconds; or a timedelta."""

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def seconds(duration: Duration) -> float:
    """Raises `ValueError` with the forms that are understood."""
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, int | float) and not isinstance(duration, bool):
        return float(duration)
    if isinstance(duration, str):
        text = duration.replace(" ", "")
        if _WHOLE.fullmatch(text):
            return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    raise ValueError(
        f'{duration!r} is not a duration: write "500ms", "2s", "10m", "1h30m", "7d" or a number of seconds'
    )

"""Points in time as they are typed: `2026-11-22T10:00:00Z`, a local time, or `-15m` before now."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from eventsrc.cli.errors import UsageError

_AGO = re.compile(r"-(?P<amount>\d+(?:\.\d+)?)(?P<unit>ms|[smhdw])")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def parse_time(text: str, now: datetime) -> datetime:
    """Aware, in UTC. A time without an offset is in the local zone. Raises `UsageError`."""
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return (now - float(ago["amount"]) * _UNITS[ago["unit"]]).astimezone(UTC)
        if text.strip() == "now":
            return now.astimezone(UTC)
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is not a time: write 2026-11-22T10:00:00Z, a local 2026-11-22T10:00, or -15m (ms, s, m, h, d, w)"
        ) from error

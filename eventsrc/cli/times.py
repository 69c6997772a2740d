"""Moments of a pipeline's history as commands explain and show them."""

from __future__ import annotations

from eventsrc.cli.render import local_time
from eventsrc.model.moments import AtTime, Moment

MOMENTS = (
    "2026-11-22T10:00:00Z, a local 2026-11-22T10:00, -15m or -1h30m ago, #17 (a sequence of the one aggregate), "
    "@p0:123,p1:456 or @account/0:123 (positions), start, end"
)


def moment_text(moment: Moment) -> str:
    """As a person reads it: a time in the local zone, with its offset."""
    return local_time(moment.moment) if isinstance(moment, AtTime) else str(moment)

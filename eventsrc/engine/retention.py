"""Which checkpoints of a partition to keep, so that time travel starts near any point of the recent past."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from eventsrc.model.snapshot import Listed

ALL_OF = timedelta(hours=1)
HOURLY_FOR = timedelta(days=1)
DAILY_FOR = timedelta(days=30)


def kept(checkpoints: Sequence[Listed], now: datetime) -> set[uuid.UUID]:
    """Ids of those to keep: the newest, all of the last hour, the last of each hour for a day, of each day for a month.

    Of two at one position the later replaces the earlier: it is the same states, merged."""
    newest_first = sorted(checkpoints, key=lambda each: (each.position, each.taken_at), reverse=True)
    keep = {each.id for each in newest_first[:1]}
    slots: set[tuple[int, int]] = set()
    positions: set[int] = set()
    for each in newest_first:
        if each.position in positions:
            continue
        positions.add(each.position)
        age, epoch_s = now - each.taken_at, int(each.taken_at.timestamp())
        if age <= ALL_OF:
            keep.add(each.id)
        elif age <= DAILY_FOR:
            slot = (3600, epoch_s // 3600) if age <= HOURLY_FOR else (86_400, epoch_s // 86_400)
            if slot not in slots:
                slots.add(slot)
                keep.add(each.id)
    return keep

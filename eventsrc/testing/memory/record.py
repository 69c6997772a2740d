"""The record of the command being decided, in memory: `ports.DecidingRecord`, and what a later life learns from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from eventsrc.adapters.local.crash_record import ENDS_TO_ISOLATE, SUSPICIOUS_ENDS, Place


@dataclass(slots=True)
class MemorySlot:
    """What outlives a worker's lives."""

    running: bool = False
    ends: int = 0
    deciding: Place | None = None
    tries: Counter[Place] = field(default_factory=Counter)
    isolated: set[Place] = field(default_factory=set)
    overlong: dict[Place, int] = field(default_factory=dict)


class MemoryDecidingRecord:
    """Of one life. Made at start: that counts an unclean end of the life before."""

    def __init__(self, slot: MemorySlot) -> None:
        self._slot = slot
        if slot.running:
            self._unclean_end()
        slot.running = True

    @property
    def suspicious(self) -> bool:
        """Commands must go singly until some have been processed."""
        return self._slot.ends >= SUSPICIOUS_ENDS

    @property
    def isolated(self) -> set[Place]:
        """Commands to dead-letter without deciding them."""
        return set(self._slot.isolated)

    @property
    def overlong_before(self) -> dict[Place, int]:
        """How often deciding a command has taken too long, in earlier lives."""
        return dict(self._slot.overlong)

    def overlong(self, place: Place, times: int) -> None:
        self._slot.overlong[place] = times

    def deciding(self, place: Place | None) -> None:
        self._slot.deciding = place

    def progressed(self) -> None:
        self._slot.ends = 0
        self._slot.tries.clear()

    def close(self) -> None:
        """A clean end."""
        slot = self._slot
        slot.running, slot.ends, slot.deciding = False, 0, None
        slot.tries.clear()
        slot.isolated.clear()
        slot.overlong.clear()

    def _unclean_end(self) -> None:
        slot = self._slot
        slot.ends += 1
        place, slot.deciding = slot.deciding, None
        if place is not None:
            slot.tries[place] += 1
            if slot.tries[place] >= ENDS_TO_ISOLATE:
                slot.isolated.add(place)

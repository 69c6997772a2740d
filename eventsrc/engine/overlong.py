"""Sets a command aside that is decided so slowly, every time, that the worker has lost its place in the group meanwhile.

A worker that has not polled for `max_poll_interval` is given up by its group: the batch is refused, the worker joins anew
and reads the same command again, for ever. Which command it is costs the hot path nothing to know: a batch takes nothing
more once `transaction_interval` is over, so it is the last one of a batch that took so long. Each worker counts for
itself: a command may hold up each of several in turn, that often.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from dataclasses import dataclass

from eventsrc.engine.batch import Batch
from eventsrc.engine.effects import Effect, RecordOverlong
from eventsrc.engine.partition import CommandPlace

logger = logging.getLogger("eventsrc.engine")


@dataclass(slots=True)
class Overlong:
    """`tries`: how often so far, by command, in earlier lives too; it grows by one entry per `limit_s` at most.
    `isolated` is what deciding refuses, with the reason."""

    limit_s: float
    attempts: int
    tries: MutableMapping[CommandPlace, int]
    isolated: MutableMapping[CommandPlace, str]

    def __post_init__(self) -> None:
        for place, times in self.tries.items():
            if times >= self.attempts:
                self.isolated[place] = self._why(times, "each time")

    def decided(self, batch: Batch, took_s: float) -> list[Effect]:
        """A batch with commands in it was decided, in this time."""
        if took_s <= self.limit_s:
            return []
        *_, section = batch.sections.values()
        place = (*section.key, section.position - 1)
        self.tries[place] = times = self.tries.get(place, 0) + 1
        logger.warning(
            "deciding the command of partition %s at offset %d took %.0f s, longer than max_poll_interval (%g s): this worker "
            "has lost its partitions, and the command is decided again (%d of %d tries)",
            section.key, place[2], took_s, self.limit_s, times, self.attempts,
        )  # fmt: skip
        if times >= self.attempts:
            self.isolated[place] = self._why(times, f"{took_s:.0f} s at the last")
        return [RecordOverlong(place, times)]

    def _why(self, times: int, how_long: str) -> str:
        return (
            f"deciding this command took longer than max_poll_interval ({self.limit_s:g} s) at each of {times} tries "
            f"({how_long}); it was set aside"
        )

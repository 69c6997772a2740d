"""What a worker says aloud of its own accord: set-aside commands, recoveries under way, an objective that does not hold.

Each so that a log stays readable: once a second, every few seconds, at a change and then every minute.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from eventsrc.engine.batch import Batch
from eventsrc.engine.checkpoint import Checkpoints
from eventsrc.engine.effects import Instant
from eventsrc.engine.reporting import recovery_progress
from eventsrc.engine.takeover import Ownership

logger = logging.getLogger("eventsrc.engine")

AGAIN_S = 60.0
PROGRESS_S = 2.0
LETTERS_S = 1.0


@dataclass(slots=True)
class Announcements:
    """What was said last, and what there is to say."""

    _unheld_s: float | None = None
    _progress_s: float = 0.0
    _letters_s: float | None = None
    _letters: int = 0
    _first_letter: str = ""
    _about_letter: dict[str, object] = field(default_factory=dict)

    def dead_letters(self, batch: Batch, at: Instant) -> None:
        """They were committed. A line for each, or for each transaction, would cost more than the commands."""
        buried = [section for section in batch.sections.values() if section.dead_letters]
        if not buried:
            return
        if not self._letters:
            first = buried[0]
            offset = dict(first.dead_letters[0].headers)["eventsrc.offset"] or b""
            self._first_letter = f"{first.key} at offset {offset.decode()}: {first.first_refusal}"
            code = first.dead_letters[0].reason
            self._about_letter = {"partition": str(first.key), "offset": int(offset), "code": code}
        self._letters += sum(len(section.dead_letters) for section in buried)
        self.waiting_letters(at)

    def waiting_letters(self, at: Instant) -> None:
        """What was not said because of what was said just before."""
        if not self._letters or (self._letters_s is not None and at.monotonic_s - self._letters_s < LETTERS_S):
            return
        others = self._letters - 1
        logger.warning(
            "dead letter: command of partition %s%s", self._first_letter,
            f" (and {others} more, of this partition or others)" if others else "",
            extra=self._about_letter,
        )  # fmt: skip
        self._letters_s, self._letters = at.monotonic_s, 0

    def progress(self, owned: Iterable[Ownership], at: Instant) -> None:
        """Of recoveries that take longer than a moment."""
        if at.monotonic_s - self._progress_s < PROGRESS_S:
            return
        self._progress_s = at.monotonic_s
        for ownership in owned:
            progress = recovery_progress(ownership, at.monotonic_s)
            if progress is not None and at.monotonic_s - ownership.reading_since_s >= PROGRESS_S:
                left = "" if progress.left_s is None else f", {progress.left_s:.0f} s left"
                logger.info(
                    "partition %s is recovering: %d of %d offsets read, %.0f/s%s",
                    ownership.key, progress.have, progress.need, progress.rate, left,
                    extra={"partition": str(ownership.key), "term": ownership.term},
                )  # fmt: skip

    def objective(self, checkpoints: Checkpoints, at: Instant) -> None:
        """When a recovery would take longer than declared, and when it would not any more."""
        predicted_s, objective_s = checkpoints.predicted_s, checkpoints.cadence.objective_s
        if predicted_s <= objective_s:
            if self._unheld_s is not None:
                logger.info(
                    "the recovery time objective holds again: predicted %.1f s / %g s", predicted_s, objective_s
                )
            self._unheld_s = None
        elif self._unheld_s is None or at.monotonic_s - self._unheld_s >= AGAIN_S:
            self._unheld_s = at.monotonic_s
            logger.warning(
                "the recovery time objective does not hold: predicted %.1f s / %g s: %s",
                predicted_s, objective_s, checkpoints.why_not(),
                extra={"predicted_recovery_seconds": predicted_s, "recovery_objective_seconds": objective_s},
            )  # fmt: skip

"""When a checkpoint is due: the declared recovery time against the predicted one, within a budget of processing time.

    predicted = start-up + bytes of states / load rate + events after the checkpoints / replay rate

of the whole worker, since a worker that is killed recovers all of its partitions. The rates are measured at each
recovery of this process; until then they are careful guesses. Pure: clock readings are passed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

NEAR = 0.7
"""Share of the objective from which on a checkpoint is due: the time it takes is still to come."""
MENDABLE = 0.05
"""Share of the objective that the events after checkpoints must take, for a checkpoint to be worth it."""
STARTUP_S = 0.6
REPLAY_RATE = 40_000.0
LOAD_RATE = 100e6
_MEASURABLE_EVENTS = 2_000
_MEASURABLE_BYTES = 1_000_000
_SAVED_UP_S = 1.0


@dataclass(slots=True)
class Cadence:
    """`objective_s`: the declared recovery time. `interval_s`: no partition that changes goes longer without a checkpoint,
    as far as the budget allows. `budget`: the share of the loop's time that taking them may cost."""

    objective_s: float
    interval_s: float
    budget: float
    replay_rate: float = REPLAY_RATE
    load_rate: float = LOAD_RATE
    _credit_s: float = _SAVED_UP_S
    _credited_at_s: float | None = None

    def predicted_s(self, tail: int, size_bytes: int) -> float:
        """How long a recovery of so many events after checkpoints of so many bytes would take."""
        return STARTUP_S + self.partition_s(tail, size_bytes)

    def partition_s(self, tail: int, size_bytes: int) -> float:
        """What one partition adds to it."""
        return tail / self.replay_rate + size_bytes / self.load_rate

    def is_near(self, predicted_s: float, tail: int) -> bool:
        """Whether a checkpoint is due for the objective's sake: not where the events behind checkpoints are none of its
        trouble, since taking more of them would not mend it."""
        return predicted_s >= NEAR * self.objective_s and tail / self.replay_rate >= MENDABLE * self.objective_s

    def affords(self, now_s: float) -> bool:
        """Whether there is room in the budget. One that costs more than has been saved up delays the next."""
        earned = 0.0 if self._credited_at_s is None else (now_s - self._credited_at_s) * self.budget
        self._credited_at_s = now_s
        self._credit_s = min(_SAVED_UP_S, self._credit_s + earned)
        return self._credit_s > 0

    def spent(self, seconds: float) -> None:
        self._credit_s -= seconds

    def replayed(self, events: int, seconds: float) -> None:
        """A recovery has folded so many events in this time."""
        if events >= _MEASURABLE_EVENTS and seconds > 0:
            self.replay_rate = _between(self.replay_rate, events / seconds)

    def loaded(self, size_bytes: int, seconds: float) -> None:
        """A recovery has loaded so many bytes of states in this time."""
        if size_bytes >= _MEASURABLE_BYTES and seconds > 0:
            self.load_rate = _between(self.load_rate, size_bytes / seconds)


def _between(known: float, measured: float) -> float:
    """The geometric mean: one recovery on a machine in trouble must not be believed for days."""
    return math.sqrt(known * measured)

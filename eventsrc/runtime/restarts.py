"""When a worker that ended is started again. Pure: what ended it and how long it had lived are passed in."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass

EXIT_FENCED = 6
"""A worker's: another process has its instance id now. Not to be started again under it."""

DELAYS_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Before the start after the first short life in a row, after the second, and so on; the last one for all that follow."""
SHORT_LIFE_S = 5.0


@dataclass(slots=True)
class Restarts:
    """Of one worker. `never`: exit codes after which it must not come back, each with its reason."""

    never: Mapping[int, str]
    count: int = 0
    short_lives: int = 0

    def delay_after(self, code: int, lived_s: float) -> float | None:
        """How long to wait, from now; None: never again. At once, unless it dies again and again within seconds."""
        if code in self.never:
            return None
        self.count += 1
        if lived_s >= SHORT_LIFE_S:
            self.short_lives = 0
            return 0.0
        self.short_lives += 1
        return DELAYS_S[min(self.short_lives, len(DELAYS_S)) - 1]


def how_it_ended(code: int) -> str:
    """`code` as `subprocess` gives it: negative for a signal."""
    if code >= 0:
        return "drained by itself" if code == 0 else f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"

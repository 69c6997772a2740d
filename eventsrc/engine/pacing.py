"""How many commands a worker takes at once, whether beside a transaction, and when it sends nothing for a moment.

One at a time after unclean ends, until what was under way then is behind; half as many after a transaction that outlived its
timeout; none beside a transaction while batches are decided in no time; a pause while transactions abort one after the
other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from eventsrc.engine.batch import Batch, BatchKind
from eventsrc.engine.effects import Instant

LONG_S = 0.003
"""A batch that took so long is worth deciding while a transaction commits, which takes some milliseconds."""
FREE_ABORTS = 2
SETTLED_AFTER_S = 5.0


@dataclass(slots=True)
class Pacing:
    """`most`: commands in a batch. `suspicious`: earlier lives ended uncleanly."""

    most: int
    suspicious: bool
    _limit: int = field(init=False)
    _took_s: tuple[float, float] = (0.0, 0.0)
    _committed_commands: int = 0
    _quiet_since_s: float | None = None
    _settled: bool = False
    _aborts_in_a_row: int = 0
    _hold_until_s: float = 0.0

    def __post_init__(self) -> None:
        self._limit = self.most

    @property
    def record_limit(self) -> int:
        """How many commands to poll at once."""
        return 1 if self.singly else self._limit

    @property
    def singly(self) -> bool:
        """Earlier lives ended uncleanly: one command at a time, until what was under way then is behind."""
        return self.suspicious and not self.proved

    @property
    def proved(self) -> bool:
        """What was under way when an earlier life ended (one batch and one ahead at most) is behind, or nothing waits."""
        return self._settled or self._committed_commands > 2 * self.most

    @property
    def deciding_is_long(self) -> bool:
        """Of the latest two batches, since one that was decided early is small, and tells little of the next."""
        return max(self._took_s) >= LONG_S

    def decided(self, took_s: float) -> None:
        """A batch, in so many seconds."""
        self._took_s = (self._took_s[1], took_s)

    def holds_off(self, at: Instant) -> bool:
        """Nothing is to be sent yet."""
        return at.monotonic_s < self._hold_until_s

    def committed(self, batch: Batch) -> None:
        self._aborts_in_a_row = 0
        if batch.kind is BatchKind.COMMANDS:
            self._committed_commands += batch.commands
            self._limit = min(self.most, self._limit * 2)

    def not_committed(self, at: Instant) -> None:
        """One abort is normal (a rebalance); several in a row are a broker in trouble, which repeating at once feeds."""
        self._aborts_in_a_row += 1
        if self._aborts_in_a_row > FREE_ABORTS:
            self._hold_until_s = at.monotonic_s + min(1.0, 0.05 * 2 ** (self._aborts_in_a_row - FREE_ABORTS))

    def timed_out(self, batch: Batch) -> None:
        """It outlived the transaction timeout."""
        if batch.kind is BatchKind.COMMANDS:  # a barrier says nothing of how much is too much
            self._limit = max(1, min(self._limit, batch.commands) // 2)

    def looked(self, at: Instant, *, idle: bool) -> None:
        """Now and then. `idle`: every partition is open, and nothing is in flight or ahead."""
        if not idle:
            self._quiet_since_s = None
        elif self._quiet_since_s is None:
            self._quiet_since_s = at.monotonic_s
        elif at.monotonic_s - self._quiet_since_s > SETTLED_AFTER_S:
            self._settled = True

"""What a worker has done since it began, as numbers that only grow: committed work alone, each command once.

Counted per transaction, recovery and checkpoint, from what those hold anyway: nothing here is paid per command.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from eventsrc.engine.batch import Batch, BatchKind
from eventsrc.engine.counts import Counts
from eventsrc.engine.report import HistogramReport, TotalsReport

TRANSACTION_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BOUNDS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
CHECKPOINT_BOUNDS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Histogram:
    """How often values were at or below each bound, and what they add up to."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(map(float, bounds))
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def report(self) -> HistogramReport:
        return HistogramReport(self._bounds, tuple(self._counts), self._sum)


@dataclass(slots=True)
class Totals:
    """Of one process's life. Transactions that carry barriers count as transactions; only commands fill batches."""

    commands: Counts = field(default_factory=Counts)
    dead: Counter[str] = field(default_factory=Counter)
    events: int = 0
    committed: int = 0
    aborted: int = 0
    in_doubt: int = 0
    rebalances: int = 0
    producers_replaced: int = 0
    halts: int = 0
    recoveries: int = 0
    recovery_s: float = 0.0
    events_replayed: int = 0
    checkpoints: int = 0
    checkpoints_failed: int = 0
    checkpoint_bytes: int = 0
    _transactions: Histogram = field(default_factory=lambda: Histogram(TRANSACTION_BOUNDS_S))
    _batches: Histogram = field(default_factory=lambda: Histogram(BATCH_BOUNDS))
    _checkpoints: Histogram = field(default_factory=lambda: Histogram(CHECKPOINT_BOUNDS_S))
    _sent_s: float = 0.0

    def sent(self, now_s: float) -> None:
        """A transaction begins."""
        self._sent_s = now_s

    def transaction_committed(self, batch: Batch, now_s: float) -> None:
        self.committed += 1
        self._transactions.observe(now_s - self._sent_s)
        if batch.kind is not BatchKind.COMMANDS:
            return
        self._batches.observe(batch.commands)
        for section in batch.sections.values():
            self.events += len(section.records)
            before, after, total = section.counts_before, section.counts_after, self.commands
            total.applied += after.applied - before.applied
            total.rejected += after.rejected - before.rejected
            total.empty += after.empty - before.empty
            total.duplicate += after.duplicate - before.duplicate
            total.dead += after.dead - before.dead
            for letter in section.dead_letters:
                self.dead[letter.reason] += 1

    def recovered(self, took_s: float, events: int) -> None:
        """A partition opened."""
        self.recoveries += 1
        self.recovery_s += took_s
        self.events_replayed += events

    def checkpoint_written(self, size_bytes: int, took_s: float) -> None:
        """`size_bytes`: of the states that it added."""
        self.checkpoints += 1
        self._checkpoints.observe(took_s)
        self.checkpoint_bytes += size_bytes

    def report(self) -> TotalsReport:
        of = self.commands
        return TotalsReport(
            applied=of.applied,
            rejected=of.rejected,
            empty=of.empty,
            duplicate=of.duplicate,
            dead=of.dead,
            dead_by_reason=dict(self.dead),
            events=self.events,
            transactions_committed=self.committed,
            transactions_aborted=self.aborted,
            transactions_in_doubt=self.in_doubt,
            transaction_s=self._transactions.report(),
            batch_commands=self._batches.report(),
            rebalances=self.rebalances,
            producers_replaced=self.producers_replaced,
            halts=self.halts,
            recoveries=self.recoveries,
            recovery_s=self.recovery_s,
            events_replayed=self.events_replayed,
            checkpoints=self.checkpoints,
            checkpoints_failed=self.checkpoints_failed,
            checkpoint_bytes=self.checkpoint_bytes,
            checkpoint_s=self._checkpoints.report(),
        )

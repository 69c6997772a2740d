"""What a worker says of itself, for `status`, health checks and logs: plain values, taken between two steps.

Times are wall-clock microseconds since the epoch; durations are in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from eventsrc.engine.partition import PartitionKey


class RecoveryProgress(NamedTuple):
    """`need`: offsets of the events partition between where reading began and our own barrier; `have`: how many of these
    have been passed; `left_s` is None until a rate is known."""

    need: int
    have: int
    rate: float
    left_s: float | None


class CheckpointReport(NamedTuple):
    """The newest checkpoint that this partition can recover from."""

    position: int
    taken_us: int
    size_bytes: int
    states: int


class PartitionReport(NamedTuple):
    """`phase`: a `Phase`'s name in lower case. `reason`: why it is halted, or what it waits for. `commands_position`: the next
    command to decide. `events_position`: after the last event or barrier of our own that committed. `tail`: events since
    the newest checkpoint, or in all. `predicted_recovery_s`: what this partition adds to a recovery of its worker.
    `code`: of the reason, an anchor of docs/errors.md. `lag`: commands that wait, as far as the client knows without asking:
    None while nothing is fetched. `live`: aggregates that are objects now."""

    partition: PartitionKey
    phase: str
    reason: str | None
    commands_position: int | None
    events_position: int | None
    aggregates: int
    tail: int
    checkpoint: CheckpointReport | None
    predicted_recovery_s: float
    recovery: RecoveryProgress | None
    code: str | None = None
    lag: int | None = None
    live: int = 0


class HistogramReport(NamedTuple):
    """`counts`: of values above the bound before and at or below this one; the last of those above all."""

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    sum: float = 0.0


class TotalsReport(NamedTuple):
    """Since the worker's process began: committed work alone, so each command is counted once."""

    applied: int = 0
    rejected: int = 0
    empty: int = 0
    duplicate: int = 0
    dead: int = 0
    dead_by_reason: Mapping[str, int] = {}
    events: int = 0
    transactions_committed: int = 0
    transactions_aborted: int = 0
    transactions_in_doubt: int = 0
    transaction_s: HistogramReport = HistogramReport()
    batch_commands: HistogramReport = HistogramReport()
    rebalances: int = 0
    producers_replaced: int = 0
    halts: int = 0
    recoveries: int = 0
    recovery_s: float = 0.0
    events_replayed: int = 0
    checkpoints: int = 0
    checkpoints_failed: int = 0
    checkpoint_bytes: int = 0
    checkpoint_s: HistogramReport = HistogramReport()


class WorkerReport(NamedTuple):
    """`predicted_recovery_s`: of the whole worker, were it killed now. `snapshots`: what is wrong with the snapshot store
    (None: nothing), and since when. `member`: the group has given it its share, which may be no partition at all.
    `stalled_after_s`: a loop that does not turn for longer than this has lost its membership (`max_poll_interval`)."""

    instance: str
    at_us: int
    predicted_recovery_s: float
    objective_s: float
    snapshots: str | None
    snapshots_failing_since_us: int | None
    partitions: tuple[PartitionReport, ...]
    pipeline: str = ""
    member: bool = True
    draining: bool = False
    stalled_after_s: float = 300.0
    totals: TotalsReport = TotalsReport()

    @property
    def objective_held(self) -> bool:
        return self.predicted_recovery_s <= self.objective_s

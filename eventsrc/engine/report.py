"""What a worker says of itself, for `status`, health checks and logs: plain values, taken between two steps.

Times are wall-clock microseconds since the epoch; durations are in seconds.
"""

from __future__ import annotations

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
    the newest checkpoint, or in all. `predicted_recovery_s`: what this partition adds to a recovery of its worker."""

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


class WorkerReport(NamedTuple):
    """`predicted_recovery_s`: of the whole worker, were it killed now. `snapshots`: what is wrong with the snapshot store
    (None: nothing), and since when."""

    instance: str
    at_us: int
    predicted_recovery_s: float
    objective_s: float
    snapshots: str | None
    snapshots_failing_since_us: int | None
    partitions: tuple[PartitionReport, ...]

    @property
    def objective_held(self) -> bool:
        return self.predicted_recovery_s <= self.objective_s

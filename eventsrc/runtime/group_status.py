"""How a pipeline stands: what Kafka, the snapshot store and the workers of this host say, put together per partition.

Each source may be away; what the others say is told all the same. `look` asks them, `put_together` is pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from eventsrc.adapters.kafka.group_offsets import GroupOffsets, PartitionOffsets
from eventsrc.engine.cadence import STARTUP_S, Cadence
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.report import PartitionReport, RecoveryProgress, WorkerReport
from eventsrc.errors import NotAuthorized, SnapshotsUnavailable, TopicsInvalid, Unreachable
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.snapshot import StoredCheckpoint
from eventsrc.ports import SnapshotStore
from eventsrc.runtime.kept_checkpoints import newest_first
from eventsrc.runtime.status_file import UnreadableStatus, WorkerStatus

SILENT_AFTER_S = 10.0
"""A worker writes its status every second. One that has not for this long is stuck, or stopped."""


class NewestCheckpoint(NamedTuple):
    """What a partition would recover from. `id` is None where only its worker has told of it."""

    id: str | None
    position: int
    taken_us: int
    size_bytes: int
    states: int


class PartitionStatus(NamedTuple):
    """None is what no source told. `owner`: an instance id; `owner_known_by` says how: "worker" (of this host), "group"
    (its note, and the group has it), None (it has left). `phase` and `recovery` come from a worker of this host alone.
    `recovery_s`: from a kill of its worker until this partition were open, if it were the worker's only one."""

    key: PartitionKey
    owner: str | None
    owner_known_by: str | None
    phase: str | None
    reason: str | None
    code: str | None
    position: int | None
    lag: int | None
    events_start: int | None
    events_end: int | None
    tail: int | None
    checkpoint: NewestCheckpoint | None
    recovery_s: float | None
    recovery: RecoveryProgress | None

    @property
    def halted(self) -> bool:
        return self.phase == "halted"


class OwnerStatus(NamedTuple):
    """A worker, or who would be: partitions without an owner are taken for one worker's. `measured`: it said so itself;
    else the prediction is made with defaults. `snapshots`: what is wrong with its snapshot store, and since when.
    `silent_s`: it runs, and has said nothing for so long."""

    instance: str | None
    partitions: int
    recovery_s: float
    measured: bool
    snapshots: str | None = None
    snapshots_since_us: int | None = None
    silent_s: float | None = None


class GroupStatus(NamedTuple):
    """`problems`: sources that did not answer, by name, with the reason. `at_us`: when all this was put together."""

    pipeline: str
    group_id: str
    at_us: int
    objective_s: float
    partitions: tuple[PartitionStatus, ...]
    owners: tuple[OwnerStatus, ...]
    members: frozenset[str] | None
    problems: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def objective_held(self) -> bool:
        return all(owner.recovery_s <= self.objective_s for owner in self.owners)

    @property
    def halted(self) -> bool:
        return any(partition.halted for partition in self.partitions)


class ReadsOffsets(Protocol):
    def read(self) -> GroupOffsets: ...


class Told(NamedTuple):
    """By each source; None: it did not answer, or there is none. `checkpoints`: of the partitions that have one."""

    offsets: GroupOffsets | None
    statuses: Sequence[WorkerStatus | UnreadableStatus]
    checkpoints: Mapping[PartitionKey, NewestCheckpoint] | None
    problems: Mapping[str, str]


def look(
    offsets: ReadsOffsets | Exception,
    statuses: Sequence[WorkerStatus | UnreadableStatus],
    store: SnapshotStore | None,
    keys: Collection[PartitionKey],
) -> Told:
    """Asks them all. `offsets` may be why Kafka cannot be asked; no store: no database is configured. `keys`: whose
    checkpoints, where Kafka does not say which partitions there are."""
    problems: dict[str, str] = {}
    found: GroupOffsets | None = None
    checkpoints: Mapping[PartitionKey, NewestCheckpoint] | None = None
    try:
        if isinstance(offsets, Exception):
            raise offsets
        found = offsets.read()
    except Unreachable as error:
        problems["kafka"] = str(error)
    except (TopicsInvalid, NotAuthorized) as error:
        problems["topics"] = "; ".join(error.problems or [str(error)])
    try:
        if store is not None:
            checkpoints = newest_checkpoints(store, [*(found.partitions if found else keys)])
    except SnapshotsUnavailable as error:
        problems["postgres"] = str(error)
    return Told(found, statuses, checkpoints, problems)


def newest_checkpoints(store: SnapshotStore, keys: Iterable[PartitionKey]) -> dict[PartitionKey, NewestCheckpoint]:
    """The newest sound row of each partition that has one. Raises SnapshotsUnavailable."""
    heads = store.heads(list(keys))
    found = {}
    for key, head in heads.items():
        if head.checkpoint is None:
            continue
        newest = next((each for each in newest_first(store, key) if isinstance(each, StoredCheckpoint)), None)
        if newest is not None:
            found[key] = NewestCheckpoint(
                str(newest.id), newest.checkpoint.position, in_us(newest.taken_at), newest.size_bytes, newest.states
            )
    return found


def in_us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


def put_together(pipeline: Pipeline, told: Told, now_us: int) -> GroupStatus:
    """One picture of what was told."""
    keys = _keys(pipeline, told.offsets)
    cadence = Cadence(pipeline.settings.recovery_time_objective, 0.0, 0.0)
    alive = [each for each in told.statuses if isinstance(each, WorkerStatus) and each.alive]
    reports = sorted((each.report for each in alive), key=lambda report: report.at_us)
    by_key: dict[PartitionKey, tuple[WorkerReport, PartitionReport]] = {
        partition.partition: (report, partition)
        for report in reports
        if not _is_out(report, told, now_us)
        for partition in report.partitions
    }
    partitions = tuple(_partition(key, told, by_key.get(key), cadence) for key in keys)
    return GroupStatus(
        pipeline.name,
        pipeline.settings.group_id,
        now_us,
        pipeline.settings.recovery_time_objective,
        partitions,
        tuple(_owners(partitions, reports, now_us)),
        None if told.offsets is None else told.offsets.members,
        told.problems,
        tuple(_notes(told)),
    )


def _is_out(report: WorkerReport, told: Told, now_us: int) -> bool:
    """It has said nothing for long, and the group has its instance no more: what it said then holds for others now."""
    members = None if told.offsets is None else told.offsets.members
    silent = now_us - report.at_us > SILENT_AFTER_S * 1e6
    return silent and members is not None and report.instance not in members


def _notes(told: Told) -> Iterable[str]:
    if told.checkpoints is None and "postgres" not in told.problems:
        yield "no database is configured (DATABASE_URL): no checkpoint is shown"
    for each in told.statuses:
        if isinstance(each, UnreadableStatus):
            yield f"{each.path}: {each.reason}"


def _keys(pipeline: Pipeline, offsets: GroupOffsets | None) -> list[PartitionKey]:
    if offsets is not None:
        return sorted(offsets.partitions)
    return [
        PartitionKey(name, number)
        for name in sorted(pipeline.aggregates)
        for number in range(pipeline.settings.partitions)
    ]


def _partition(
    key: PartitionKey, told: Told, said: tuple[WorkerReport, PartitionReport] | None, cadence: Cadence
) -> PartitionStatus:
    offsets = told.offsets.partitions.get(key) if told.offsets is not None else None
    stored = None if told.checkpoints is None else told.checkpoints.get(key)
    owner, known_by = _owner(said, offsets, None if told.offsets is None else told.offsets.members)
    report = None if said is None else said[1]
    lag = events_start = events_end = tail = adds_s = position = None
    if offsets is not None:
        position, lag = offsets.committed, offsets.lag
        events_start, events_end = offsets.events_start, offsets.events_end
        tail = _tail(offsets, stored)
        adds_s = cadence.partition_s(tail, stored.size_bytes if stored else 0)
    if report is not None and report.commands_position is not None:  # it is open: its worker knows best
        position = report.commands_position if position is None else position
        discarded = report.checkpoint is not None and told.checkpoints is not None and stored is None
        if not discarded:
            tail, adds_s = report.tail, report.predicted_recovery_s
            stored = stored or (NewestCheckpoint(None, *report.checkpoint) if report.checkpoint else None)
    return PartitionStatus(
        key=key,
        owner=owner,
        owner_known_by=known_by,
        phase=report and report.phase,
        reason=report and report.reason,
        code=report and report.code,
        position=position,
        lag=lag,
        events_start=events_start,
        events_end=events_end,
        tail=tail,
        checkpoint=stored,
        recovery_s=None if adds_s is None else STARTUP_S + adds_s,
        recovery=report and report.recovery,
    )


def _tail(offsets: PartitionOffsets, checkpoint: NewestCheckpoint | None) -> int:
    """Offsets to read, which are at least as many as events."""
    start = offsets.events_start if checkpoint is None else max(checkpoint.position, offsets.events_start)
    return max(0, offsets.events_end - start)


def _owner(
    said: tuple[WorkerReport, PartitionReport] | None, offsets: PartitionOffsets | None, members: frozenset[str] | None
) -> tuple[str | None, str | None]:
    if said is not None:
        return said[0].instance, "worker"
    if offsets is None or offsets.note is None:
        return None, None
    instance = offsets.note.instance
    return instance, "group" if members is not None and instance in members else None


def _owners(
    partitions: Sequence[PartitionStatus], reports: Sequence[WorkerReport], now_us: int
) -> Iterable[OwnerStatus]:
    """Those of this host as they predict themselves; the others' partitions by owner."""
    for report in sorted(reports, key=lambda each: each.instance):
        silent_s = (now_us - report.at_us) / 1e6
        owned = sum(each.owner == report.instance and each.owner_known_by == "worker" for each in partitions)
        yield OwnerStatus(
            report.instance, owned, report.predicted_recovery_s, True, report.snapshots,
            report.snapshots_failing_since_us, silent_s if silent_s > SILENT_AFTER_S else None,
        )  # fmt: skip
    others: dict[str | None, list[PartitionStatus]] = {}
    for each in partitions:
        if each.owner_known_by != "worker" and each.recovery_s is not None:
            others.setdefault(each.owner if each.owner_known_by == "group" else None, []).append(each)
    for instance, owned_by in sorted(others.items(), key=lambda item: (item[0] is None, item[0] or "")):
        added_s = sum(each.recovery_s - STARTUP_S for each in owned_by if each.recovery_s is not None)
        yield OwnerStatus(instance, len(owned_by), STARTUP_S + added_s, False)

"""What a worker knows of one partition, as a report."""

from __future__ import annotations

from eventsrc.codes import code_of
from eventsrc.engine.cadence import Cadence
from eventsrc.engine.effects import Instant
from eventsrc.engine.lineage import Lineage
from eventsrc.engine.report import CheckpointReport, PartitionReport, RecoveryProgress
from eventsrc.engine.takeover import Ownership, Phase
from eventsrc.errors import UnknownSchema


def report_of(
    ownership: Ownership, lineage: Lineage | None, cadence: Cadence, at: Instant, end: int | None = None
) -> PartitionReport:
    """`lineage`: of the partition, if it is open. `end`: of its commands topic, where it is known."""
    phase, reason = ownership.phase.name.lower(), _reason(ownership)
    if lineage is None:
        progress = recovery_progress(ownership, at.monotonic_s)
        return PartitionReport(ownership.key, phase, reason, None, None, 0, 0, None, 0.0, progress, _code(ownership))
    newest = lineage.newest
    checkpoint = None
    if newest is not None:
        taken_us = int(newest.taken_at.timestamp() * 1_000_000)
        checkpoint = CheckpointReport(newest.checkpoint.position, taken_us, newest.size_bytes, newest.states)
    return PartitionReport(
        ownership.key,
        phase,
        reason,
        lineage.partition.position,
        lineage.committed.offset + 1,
        lineage.committed.aggregates,
        lineage.tail,
        checkpoint,
        cadence.partition_s(lineage.tail, lineage.size_bytes),
        None,
        _code(ownership),
        None if end is None or ownership.phase is not Phase.OPEN else max(0, end - lineage.partition.position),
        len(lineage.partition.live),
    )


def recovery_progress(ownership: Ownership, now_s: float) -> RecoveryProgress | None:
    """None where nothing is being read."""
    fold = ownership.fold
    if fold is None or ownership.term is None:
        return None
    need = ownership.term + 1 - ownership.reading_from
    have = fold.position - ownership.reading_from
    took_s = now_s - ownership.reading_since_s
    rate = have / took_s if took_s > 0 else 0.0
    return RecoveryProgress(need, have, rate, (need - have) / rate if rate else None)


def _code(ownership: Ownership) -> str | None:
    match ownership.phase:
        case Phase.HALTED:
            return ownership.code
        case Phase.WAITING | Phase.BLOCKED:
            return code_of(UnknownSchema)
        case _:
            return None


def _reason(ownership: Ownership) -> str | None:
    match ownership.phase:
        case Phase.OPEN:
            return None
        case Phase.HALTED:
            return ownership.reason
        case Phase.WAITING if ownership.partition is not None and ownership.partition.waiting_for is not None:
            waiting = ownership.partition.waiting_for
            name = UnknownSchema.name_of(waiting.fingerprint)
            return f"the command at offset {waiting.offset} is of a schema not known here ({name})"
        case _:
            return str(ownership.phase.value)

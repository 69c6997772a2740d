"""Whether workers live and are ready, from what they last said: the answers of `/healthz` and `/readyz`.

Pure: reads reports, no clock and no file. A report is a worker's loop's own word; how old it is shows whether the loop turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from eventsrc.engine.report import PartitionReport, WorkerReport

UNHEARD_STALLED_AFTER_S = 300.0


class Observed(NamedTuple):
    """One worker: `report` is None where it has not said anything yet; `age_s`: how long ago it said it, or began;
    `pid` is None where no process of it runs."""

    instance: str
    report: WorkerReport | None
    age_s: float
    pid: int | None

    @property
    def stalled(self) -> bool:
        """Its loop has not turned for so long that the group has given its partitions away."""
        return self.age_s > (UNHEARD_STALLED_AFTER_S if self.report is None else self.report.stalled_after_s)

    @property
    def why_not_ready(self) -> str | None:
        """None: ready. Of a partition that is not open, `not_open` tells."""
        report = self.report
        if self.pid is None:
            return "no process of it runs: the supervisor starts it again"
        if self.stalled:
            return f"its loop has not turned for {self.age_s:.0f} s"
        if report is None:
            return "it has not joined its group yet"
        if report.draining:
            return "it drains"
        if not report.member:
            return "it is not in its group: no share of the partitions was given to it yet, or it was lost"
        if any(each.phase != "open" for each in report.partitions):
            return "partitions are not open"
        return None


def health(workers: Sequence[Observed]) -> tuple[bool, dict[str, Any]]:
    """Whether every loop turns. A process that a supervisor is about to start again is no sign of ill health."""
    healthy = not any(each.pid is not None and each.stalled for each in workers)
    told = [
        {"instance": each.instance, "running": each.pid is not None, "loop_turned_s_ago": round(each.age_s, 3)}
        for each in workers
    ]
    return healthy, {"healthy": healthy, "workers": told}


def readiness(workers: Sequence[Observed]) -> tuple[bool, dict[str, Any]]:
    """Whether every assigned partition of every worker is open, and what keeps those that are not."""
    told = [_worker_as_json(each) for each in workers]
    ready = all(each["ready"] for each in told)
    return ready, {"ready": ready, "workers": told}


def _worker_as_json(worker: Observed) -> dict[str, Any]:
    reason = worker.why_not_ready
    partitions = () if worker.report is None else worker.report.partitions
    not_open = [_partition_as_json(each) for each in partitions if each.phase != "open"]
    return {
        "instance": worker.instance,
        "ready": reason is None,
        "reason": reason,
        "partitions": len(partitions),
        "open": len(partitions) - len(not_open),
        "not_open": not_open,
    }


def _partition_as_json(partition: PartitionReport) -> dict[str, Any]:
    recovery = partition.recovery
    return {
        "partition": str(partition.partition),
        "phase": partition.phase,
        "reason": partition.reason,
        "code": partition.code,
        "recovery": None if recovery is None else recovery._asdict(),
    }

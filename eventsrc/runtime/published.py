"""What a worker last said of itself, for other threads of its process: one value that the loop replaces, never changes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from eventsrc.engine.report import WorkerReport
from eventsrc.runtime.health import Observed
from eventsrc.runtime.status_file import StatusFile


class Published:
    """A `Status` that passes reports on to a file. `observed` may be called from any thread, at any time; before the first
    report the age is that of this object."""

    def __init__(self, instance: str, onwards: StatusFile, now_s: Callable[[], float] = time.monotonic) -> None:
        self._instance = instance
        self._onwards = onwards
        self._now_s = now_s
        self._latest: tuple[WorkerReport | None, float] = (None, now_s())

    def write(self, report: WorkerReport) -> None:
        self._latest = (report, self._now_s())
        self._onwards.write(report)

    def remove(self) -> None:
        """After a completed drain."""
        self._onwards.remove()

    def observed(self) -> Observed:
        report, at_s = self._latest
        return Observed(self._instance, report, max(0.0, self._now_s() - at_s), os.getpid())

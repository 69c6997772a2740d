"""What a worker last said of itself, as a file in its slot: `status`, and a supervisor's progress line, read it there.

Owns the file's form and nothing of what it means. The file is replaced as a whole, so a reader never sees half of one;
it is not synced, as it says nothing that outlives the machine. The process is named by its pid and its start, so that
what a dead worker left is not taken for a living one's.

Written every second on the loop's thread. ext4 flushes a new file when it is renamed over an old one (0.3-0.7 ms seen):
so two files that keep their blocks take turns, and the one just written gets the name by a hard link (0.02 ms).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from eventsrc.adapters.local.processes import started_at
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.report import (
    CheckpointReport,
    HistogramReport,
    PartitionReport,
    RecoveryProgress,
    TotalsReport,
    WorkerReport,
)

_Plain = TypeVar("_Plain")

logger = logging.getLogger("eventsrc.worker")

FORMAT = 1
NAME = "status.json"
_LARGEST_BYTES = 16_000_000


class StatusFile:
    """One worker's, in its slot's directory. One writer at a time, which the slot's lock sees to."""

    def __init__(self, directory: Path) -> None:
        self._path = str(directory / NAME)
        self._turns = [f"{self._path}.0", f"{self._path}.1"]
        self._link = f"{self._path}.new"
        pid = os.getpid()
        self._process = {"format": FORMAT, "pid": pid, "started": started_at(pid)}
        self._failing = False
        for left in (*self._turns, self._link):  # by an earlier life; one of the two is what readers have before them
            Path(left).unlink(missing_ok=True)

    def write(self, report: WorkerReport) -> None:
        """Replaces what was said before. Never raises: what the disk refuses is logged, once until it takes it again."""
        said = self._process | report._asdict()
        said["partitions"] = [_partition_as_json(each) for each in report.partitions]
        said["totals"] = _totals_as_json(report.totals)
        try:
            self._replace(json.dumps(said).encode())
            self._failing = False
        except OSError as error:
            with contextlib.suppress(OSError):
                Path(self._link).unlink(missing_ok=True)  # half done, it would be in the way of every later one
            if not self._failing:
                logger.warning(
                    "%s cannot be written, `eventsrc status` will not know this worker: %s", self._path, error
                )
            self._failing = True

    def _replace(self, content: bytes) -> None:
        turn = self._turns[0]
        descriptor = os.open(turn, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            if os.pwrite(descriptor, content, 0) < len(content):
                raise OSError(errno.ENOSPC, "the disk took half of it")
            os.ftruncate(descriptor, len(content))
        finally:
            os.close(descriptor)
        os.link(turn, self._link)
        os.replace(self._link, self._path)  # noqa: PTH105 - half the time of Path's
        self._turns.reverse()  # only now: the other is what readers have, if this one was not written

    def remove(self) -> None:
        """After a completed drain: this worker owns nothing any more."""
        Path(self._path).unlink(missing_ok=True)


class WorkerStatus(NamedTuple):
    """What a worker of this host last said. `alive`: its process still runs; else this is what it left."""

    report: WorkerReport
    pid: int
    alive: bool


class UnreadableStatus(NamedTuple):
    """A file that this version does not understand: another version wrote it, or it is damaged."""

    path: Path
    reason: str


def read_status(directory: Path) -> WorkerStatus | UnreadableStatus | None:
    """None where no worker has ever said anything in this slot."""
    path = directory / NAME
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(_LARGEST_BYTES))
        if said["format"] != FORMAT:
            return UnreadableStatus(path, f"it has the form {said['format']!r} of another version")
        return _as_status(said)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return UnreadableStatus(path, f"it cannot be read: {type(error).__name__}: {error}")


def read_statuses(state_dir: Path, group_id: str) -> list[WorkerStatus | UnreadableStatus]:
    """Of all workers of this group that keep their slots in this state directory, in the order of their instance ids."""
    root = state_dir / "workers" / group_id
    try:
        directories = sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:
        return []
    return [status for directory in directories if (status := read_status(directory)) is not None]


def _partition_as_json(report: PartitionReport) -> dict[str, Any]:
    said = report._asdict()
    said["partition"] = list(report.partition)
    said["checkpoint"] = report.checkpoint and report.checkpoint._asdict()
    said["recovery"] = report.recovery and report.recovery._asdict()
    return said


def _as_status(said: dict[str, Any]) -> WorkerStatus:
    pid, started = int(said["pid"]), str(said["started"])
    partitions = tuple(_as_partition(each) for each in said["partitions"])
    totals = _as_totals(said.get("totals", {}))
    report = _as(WorkerReport, said | {"partitions": partitions, "totals": totals})
    return WorkerStatus(report, pid, bool(started) and started_at(pid) == started)


def _as_partition(said: dict[str, Any]) -> PartitionReport:
    name, number = said["partition"]
    checkpoint, recovery = said["checkpoint"], said["recovery"]
    read = {
        "partition": PartitionKey(str(name), int(number)),
        "checkpoint": None if checkpoint is None else _as(CheckpointReport, checkpoint),
        "recovery": None if recovery is None else _as(RecoveryProgress, recovery),
    }
    return _as(PartitionReport, said | read)


def _totals_as_json(report: TotalsReport) -> dict[str, Any]:
    said = report._asdict()
    return said | {name: value._asdict() for name, value in said.items() if isinstance(value, HistogramReport)}


def _as_totals(said: dict[str, Any]) -> TotalsReport:
    read = {name: _as_histogram(value) for name, value in said.items() if isinstance(value, dict) and "bounds" in value}
    return _as(TotalsReport, said | read)


def _as_histogram(said: dict[str, Any]) -> HistogramReport:
    return _as(HistogramReport, said | {"bounds": tuple(said["bounds"]), "counts": tuple(said["counts"])})


def _as(kind: Callable[..., _Plain], said: dict[str, Any]) -> _Plain:
    """A named tuple of the fields it has; others may stand beside them. Raises KeyError where one is missing that has no
    default, TypeError where a value is of another type than declared."""
    defaults = vars(kind)["_field_defaults"]
    values = {
        name: said.get(name, defaults[name]) if name in defaults else said[name] for name in vars(kind)["_fields"]
    }
    for name, declared in _declared(kind).items():
        if not isinstance(values[name], declared):
            raise TypeError(f"{name} is {values[name]!r}")
    return kind(**values)


@functools.cache
def _declared(kind: Callable[..., Any]) -> dict[str, tuple[type, ...]]:
    """The types of its fields, for `isinstance`: JSON has no tuples of a kind, and writes a whole float like an int."""
    found = {}
    for name, hint in get_type_hints(kind).items():
        plain = tuple(get_origin(each) or each for each in (get_args(hint) if isinstance(hint, UnionType) else (hint,)))
        found[name] = (*plain, int) if float in plain else plain
    return found

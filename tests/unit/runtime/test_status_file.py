"""A worker's status as a file: whole or not there, told from what a dead worker left."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.report import CheckpointReport, PartitionReport, RecoveryProgress, WorkerReport
from eventsrc.runtime.status_file import NAME, StatusFile, UnreadableStatus, WorkerStatus, read_status, read_statuses


def report(at_us: int = 7, partitions: int = 2, reason: str | None = None) -> WorkerReport:
    opened = PartitionReport(
        PartitionKey("account", 0), "open", reason, 10, 20, 3, 4, CheckpointReport(16, 5, 2048, 3), 0.25, None
    )
    reading = PartitionReport(
        PartitionKey("account", 1), "reading", "reading its events", None, None, 0, 0, None, 0, RecoveryProgress(9, 3, 1.5, None)
    )  # fmt: skip
    return WorkerReport("host-0", at_us, 0.85, 2, "Postgres is away", 3, (opened, reading)[:partitions])


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    for at_us in range(5):
        file.write(report(at_us, reason="\ud800 and ü"))
        assert read_status(tmp_path) == WorkerStatus(report(at_us, reason="\ud800 and ü"), os.getpid(), alive=True)
    file.write(report(9, partitions=0))
    found = read_status(tmp_path)
    assert isinstance(found, WorkerStatus)
    assert found.report.partitions == ()
    file.remove()
    assert read_status(tmp_path) is None


def test_what_a_dead_worker_left_is_not_taken_for_a_living_ones(tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from tests.unit.runtime.test_status_file import report\n"
            "from eventsrc.runtime.status_file import StatusFile; StatusFile(Path(sys.argv[1])).write(report())",
            str(tmp_path),
        ],
        check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    found = read_status(tmp_path)
    assert isinstance(found, WorkerStatus)
    assert (found.report, found.alive) == (report(), False)
    said = json.loads((tmp_path / NAME).read_text())
    (tmp_path / NAME).write_text(json.dumps(said | {"pid": os.getpid()}))  # its pid is another process's now
    again = read_status(tmp_path)
    assert isinstance(again, WorkerStatus)
    assert not again.alive
    StatusFile(tmp_path).write(report(8))
    assert read_status(tmp_path) == WorkerStatus(report(8), os.getpid(), alive=True)


def test_a_reader_never_sees_half_of_it(tmp_path: Path) -> None:
    file, stop, seen = StatusFile(tmp_path), threading.Event(), 0

    def write() -> None:
        at_us = 0
        while not stop.wait(0.005):  # two hundred times as often as a worker
            at_us += 1
            file.write(report(at_us, partitions=at_us % 3, reason="x" * (at_us % 5000)))

    file.write(report())
    writer = threading.Thread(target=write)
    writer.start()
    try:
        while seen < 300:
            assert json.loads((tmp_path / NAME).read_bytes())["instance"] == "host-0"
            seen += 1
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize(
    "changed",
    [
        {"format": 2}, {"pid": "x"}, {"instance": 5}, {"at_us": None}, {"objective_s": "2"}, {"partitions": 5},
        {"partitions": [{}]}, {"partitions": [[]]}, {"snapshots": 3},
    ],
)  # fmt: skip
def test_what_is_not_understood_is_said_so(changed: dict[str, Any], tmp_path: Path) -> None:
    StatusFile(tmp_path).write(report())
    said = json.loads((tmp_path / NAME).read_text())
    (tmp_path / NAME).write_text(json.dumps(said | {"a later field": 1}))
    assert isinstance(read_status(tmp_path), WorkerStatus)
    (tmp_path / NAME).write_text(json.dumps(said | changed))
    found = read_status(tmp_path)
    assert isinstance(found, UnreadableStatus)
    assert found.reason


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_bytes_that_are_no_status_are_said_so(content: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert isinstance(read_status(tmp_path), UnreadableStatus)


def test_all_slots_of_a_group_are_read(tmp_path: Path) -> None:
    assert read_statuses(tmp_path, "bank") == []
    for instance in ("host-1", "host-0", "host-2"):
        (tmp_path / "workers" / "bank" / instance).mkdir(parents=True)
    for instance in ("host-1", "host-0"):
        StatusFile(tmp_path / "workers" / "bank" / instance).write(report()._replace(instance=instance))
    found = read_statuses(tmp_path, "bank")
    assert [each.report.instance for each in found if isinstance(each, WorkerStatus)] == ["host-0", "host-1"]


def test_a_disk_that_refuses_ends_no_worker(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "slot"
    directory.mkdir()
    file = StatusFile(directory)
    directory.rmdir()
    with caplog.at_level(logging.WARNING):
        file.write(report())
        file.write(report())
    assert len(caplog.records) == 1
    directory.mkdir()
    file.write(report())
    assert isinstance(read_status(directory), WorkerStatus)


def test_writing_costs_the_loop_next_to_nothing(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    eight = report()._replace(partitions=report().partitions * 4)
    took = []
    for _ in range(200):
        began = time.perf_counter()
        file.write(eight)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.3e-3


def test_a_write_that_failed_is_in_the_way_of_no_later_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = StatusFile(tmp_path)
    for failing in ("pwrite", "link", "replace"):
        for at_us in range(3):
            file.write(report(at_us))
        with monkeypatch.context() as patch:

            def full(*_: Any) -> int:
                raise OSError(errno.ENOSPC, "no space left")

            patch.setattr(os, failing, full)
            file.write(report(8))
        for at_us in range(10, 14):
            file.write(report(at_us))
            found = read_status(tmp_path)
            assert isinstance(found, WorkerStatus)
            assert found.report.at_us == at_us, failing

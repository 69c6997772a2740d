"""What a worker says, some seconds after its start, of classes that do not read what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventsrc.codec import schema_files
from eventsrc.codec.schema_files import schema_file
from eventsrc.runtime.worker import warn_of_classes
from tests.unit.engine.shop import catalog, pipeline


def test_what_a_class_takes_no_more_is_told_before_a_recovery_meets_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = catalog.schemas()
    now = next(file for file in files if (file.folder, file.name) == ("shop/account", "Deposited"))
    was = {**now.schema, "fields": [each for each in now.schema["fields"] if each["name"] != "amount"]}
    schema_files.export(tmp_path, [*files, schema_file(now.folder, "Deposited", was)])
    warn_of_classes(pipeline, tmp_path)
    (line,) = caplog.messages
    assert "Deposited.amount" in line
    assert "will halt; see eventsrc check" in line


def test_nothing_is_said_of_classes_that_read_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    schema_files.export(tmp_path, catalog.schemas())
    warn_of_classes(pipeline, tmp_path)
    assert caplog.messages == []


def test_damaged_files_keep_no_worker_from_running(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (written, *_) = schema_files.export(tmp_path, catalog.schemas())
    written.write_text("{")
    with caplog.at_level("INFO"):
        warn_of_classes(pipeline, tmp_path)
    assert "were not held against the classes" in caplog.text

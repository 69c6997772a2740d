"""The bank's schemas, and the framework's own, stand in the repository as an application's do: exported and current."""

from __future__ import annotations

from pathlib import Path

from eventsrc.codec.compatibility import check, missing
from examples.bank.app import pipeline

SCHEMAS = Path(__file__).parents[3] / "schemas"


def test_every_schema_that_the_code_writes_has_its_file() -> None:
    assert missing(pipeline, SCHEMAS) == []


def test_the_code_reads_every_version_that_was_written() -> None:
    assert check(pipeline, SCHEMAS) == []

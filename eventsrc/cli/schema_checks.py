"""Compares the schemas that the code writes with the files of everything that was ever written.

What is found is said in sentences; exit codes and printing are the commands'.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from eventsrc.codec.catalog import Catalog
from eventsrc.codec.framing import framing_prefix
from eventsrc.codec.schema_files import SchemaFile, clashes_with_file, read_all
from eventsrc.errors import DecodingError, InvalidSchema
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.pipeline import Pipeline


@dataclass(slots=True)
class SchemaReport:
    """`problems` break reading what was written; `notes` do not. `files` and `current` count what was compared."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: int = 0
    current: int = 0


def compare_schemas(pipeline: Pipeline, catalog: Catalog, directory: Path) -> SchemaReport:
    """Every file of the pipeline must be readable by today's classes, and no fingerprint may stand for two types."""
    report = SchemaReport()
    current = catalog.schemas()
    report.current = len(current)
    try:
        files = read_all(directory)
        for schema in current:
            report.problems += clashes_with_file(directory, schema)
    except InvalidSchema as error:
        report.problems.append(str(error))
        return report
    report.files = len(files)
    for file in files:
        if file.folder.partition("/")[0] == pipeline.name:
            _compare(pipeline, catalog, file, report)
    missing = [schema for schema in current if not (directory / schema.relative_path).exists()]
    if missing:
        names = ", ".join(f"{schema.folder}/{schema.name}" for schema in missing)
        report.notes.append(f"not in {directory} yet: {names}; write them with `eventsrc schema export`")
    return report


def _compare(pipeline: Pipeline, catalog: Catalog, file: SchemaFile, report: SchemaReport) -> None:
    aggregate = pipeline.aggregates.get(file.folder.partition("/")[2])
    if aggregate is None:
        report.notes.append(f"{file.relative_path}: the pipeline has no such aggregate any more")
        return
    problem = _unreadable(catalog, aggregate, file)
    if problem is None:
        return
    if file.kind == "command" and catalog.message_record(aggregate, file) is None:
        report.notes.append(f"{problem}: commands of it that still wait would be dead-lettered")
    else:
        report.problems.append(problem)


def _unreadable(catalog: Catalog, aggregate: AggregateType, file: SchemaFile) -> str | None:
    reader = catalog.command_reader if file.kind == "command" else catalog.event_reader
    try:
        reader(aggregate, framing_prefix(file.fingerprint))
    except DecodingError as error:
        text = str(error)
        return text if str(file.relative_path) in text else f"{file.relative_path}: {text}"
    return None

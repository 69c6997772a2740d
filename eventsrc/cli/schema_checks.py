"""Code against schema files, as `check` and `schema check` report it. What is compatible is the codec's to say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eventsrc.codec import compatibility, schema_files
from eventsrc.errors import InvalidSchema
from eventsrc.model.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class SchemaReport:
    """`problems` break reading what was written; `notes` do not. `files` is how many were compared."""

    problems: list[str]
    notes: list[str]
    files: int


def compare_schemas(pipeline: Pipeline, directory: Path) -> SchemaReport:
    """A damaged file is a problem too."""
    try:
        problems = [str(problem) for problem in compatibility.check(pipeline, directory)]
        missing = compatibility.missing(pipeline, directory)
        files = len(schema_files.find(directory))
    except InvalidSchema as error:
        return SchemaReport([str(error)], [], 0)
    names = ", ".join(f"{schema.folder}/{schema.name}" for schema in missing)
    notes = [f"not in {directory} yet: {names}; write them with `eventsrc schema export`"] if missing else []
    return SchemaReport(problems, notes, files)

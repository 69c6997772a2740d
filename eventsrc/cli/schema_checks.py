"""Code against schema files, as `check` and `schema check` report it. What is compatible is the codec's to say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eventsrc.codec import compatibility, fold_files, schema_files
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
        folds = fold_files.compare(pipeline, directory)
    except InvalidSchema as error:
        return SchemaReport([str(error)], [], 0)
    names = [f"{schema.folder}/{schema.name}" for schema in missing]
    names += [f"{pipeline.name}/{name}/{fold_files.NAME}" for name in folds.unwritten]
    notes = [f"not in {directory} yet: {', '.join(names)}; write them with `eventsrc schema export`"] if names else []
    return SchemaReport([*problems, *folds.changed], notes, files)

"""Whether the code reads everything that was written: the code's schemas against the files.

The rules are Avro's. Our own resolution finds what breaks them, with the path to the field, and what Avro's canonical
form drops, such as a change of logical type; Apache avro's checker, imported only when asked, has the last word on what
ours let pass. Changes no file.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventsrc.codec import control, schema_files
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.resolution import Unresolvable, losses
from eventsrc.codec.schema import Json
from eventsrc.codec.schema_files import SchemaFile
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.types import RecordType


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing on which code and files disagree. `path` leads from the record to the field; empty for the whole."""

    file: Path
    message: str
    path: str
    reason: str
    mend: str

    def __str__(self) -> str:
        where = f"{self.message}.{self.path}" if self.path else self.message
        return f"{self.file}: {where}: {self.reason}. {self.mend}."


def check(pipeline: Pipeline, directory: Path) -> list[Problem]:
    """Every place where the code could not read what a file says was written, or would read it as something else.
    Files are named relative to `directory`. Empty: all fits. `InvalidSchema` for a damaged file."""
    catalog = Catalog(pipeline, directory)
    current = {file.fingerprint: file for file in catalog.schemas()}
    problems: list[Problem] = []
    files = list(schema_files.read_all(directory))
    for written in files:
        own = current.get(written.fingerprint)
        if own is None:
            problems += _older(pipeline, catalog, written)
        else:
            problems += _clashes(own, written)
            problems += _other_defaults(own, written, files)
    return problems


def missing(pipeline: Pipeline, directory: Path) -> list[SchemaFile]:
    """What the code writes and no file holds yet; `schema_files.export` writes these."""
    known = schema_files.find(directory)
    return [file for file in Catalog(pipeline, None).schemas() if file.fingerprint not in known]


def _clashes(own: SchemaFile, written: SchemaFile) -> Iterator[Problem]:
    for path, before, after in schema_files.logical_differences(written.node, own.node):
        reason = f"{after} in the code, {before} in the file: Avro's fingerprint does not tell them apart"
        mend = "Leave the field as it was, and add one of another name, with a default, for the new type"
        yield Problem(written.relative_path, own.name, path, reason, mend)


def _other_defaults(own: SchemaFile, written: SchemaFile, files: list[SchemaFile]) -> Iterator[Problem]:
    """Of an event: records that lack a field are folded with its default, and checkpoints hold what came of the one before.
    The fingerprint does not tell; where every record has the field, nothing comes of it."""
    if written.kind != "event":
        return
    before, after = _defaults(written.schema), _defaults(own.schema)
    older = [_defaults(each.schema) for each in files if (each.folder, each.name) == (written.folder, written.name)]
    for path, default in after.items():
        lacking = any(path not in each for each in older)
        if lacking and path in before and before[path] != default:
            reason = (
                f"the default is {json.dumps(default)} in the code, {json.dumps(before[path])} in the file: events written "
                "before there was this field would come to another state than they have"
            )
            mend = "Leave the default as it was; what new events need, their handler can give"
            yield Problem(written.relative_path, own.name, path, reason, mend)


def _defaults(schema: Json, within: str = "") -> dict[str, Json]:
    """Of every field, by its path; None where there is none."""
    if isinstance(schema, list):
        return {path: default for member in schema for path, default in _defaults(member, within).items()}
    if not isinstance(schema, dict):
        return {}
    found: dict[str, Json] = {}
    for field in schema.get("fields", ()):
        path = f"{within}.{field['name']}" if within else field["name"]
        found[path] = field.get("default")
        found |= _defaults(field["type"], path)
    for inner in ("items", "values", "type"):
        found |= _defaults(schema.get(inner), within)
    return found


def _older(pipeline: Pipeline, catalog: Catalog, written: SchemaFile) -> Iterator[Problem]:
    if written.folder == control.NAMESPACE:
        if written.name in control.NAMES:
            own = schema_files.schema_file("eventsrc", written.name, control.control_type(written.name).schema)
            yield from _losses(control.record_type(written.name), own, written)
        return
    folder, _, name = written.folder.partition("/")
    aggregate = pipeline.aggregates.get(name)
    if aggregate is None:
        if folder == pipeline.name:
            yield _unread(written, f"the pipeline has no aggregate {name!r}")
        return
    found = catalog.reads(aggregate, written)
    if found is None:
        yield _unread(written, f"no {written.kind} of {aggregate.cls.__name__} has this name, or has it as an alias")
    else:
        yield from _losses(*found, written)


def _unread(written: SchemaFile, reason: str) -> Problem:
    mend = "Keep the class, or name it as an alias of the one that replaces it"
    return Problem(written.relative_path, written.name, "", reason, mend)


def _losses(record: RecordType, own: SchemaFile, written: SchemaFile) -> Iterator[Problem]:
    found = losses(record, own.node, written.node)
    for loss in found:
        yield Problem(written.relative_path, own.name, loss.path, loss.reason, _mend(loss))
    if not found:
        for location, message in _apache_problems(own.schema, written.schema):
            yield Problem(written.relative_path, own.name, location, message, _MEND)


_MEND = "Leave the field as it was, and add one of another name, with a default"


def _mend(loss: Unresolvable) -> str:
    if "no such field" in loss.reason:
        return "Give the field a default; if it was renamed, the old name as an alias"
    if "alias" in loss.reason or "may hold" in loss.reason:
        return "What is in the log cannot be read otherwise"
    return _MEND


def _apache_problems(reader: Json, writer: Json) -> list[tuple[str, str]]:
    """Location and words of each incompatibility, by Apache avro's checker."""
    from avro.compatibility import ReaderWriterCompatibilityChecker

    checker: Any = ReaderWriterCompatibilityChecker
    result = checker().get_compatibility(_parsed(reader), _parsed(writer))
    if result.compatibility.value == "compatible":
        return []
    return [(" ".join(sorted(result.locations - {"/"})), "; ".join(sorted(result.messages)))]


def _parsed(schema: Json) -> Any:
    import avro.errors
    import avro.schema

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", avro.errors.IgnoredLogicalType)  # it does not know two of ours
        return avro.schema.parse(json.dumps(schema))

"""What each aggregate's fold is, as a file beside its schemas, so that a changed @apply method does not go unnoticed.

Checkpoints hold states that an earlier version of the code folded. If @apply methods change under one version number,
such states and those of a replay part ways. The file keeps the version with a hash of the methods' code; comments,
docstrings and layout do not count. What the methods call is not followed: raise the version where that changes.
`<directory>/<pipeline>/<aggregate>/fold.json`
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from eventsrc.codec.schema_files import write_whole
from eventsrc.errors import InvalidSchema, SchemaIncompatible
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.pipeline import Pipeline

NAME = "fold.json"


class Fold(NamedTuple):
    """The aggregate's declared version, and a hash of its @apply methods in hexadecimal."""

    version: int
    apply: str


@dataclass(frozen=True, slots=True)
class FoldReport:
    """`changed`: a line for each aggregate whose fold is another under the same version. `unwritten`: names of those whose
    file is missing, or of another version."""

    changed: list[str]
    unwritten: list[str]


def fold_of(aggregate: AggregateType) -> Fold | None:
    """None where the source of its methods cannot be had: a class that was typed into an interpreter."""
    by_event = sorted(aggregate.appliers.items(), key=lambda each: each[0].__name__)
    try:
        code = "\n".join(f"{event.__name__}: {_code(applier.function)}" for event, applier in by_event)
    except (OSError, TypeError, SyntaxError):
        return None
    return Fold(aggregate.version, hashlib.sha256(code.encode()).hexdigest())


def compare(pipeline: Pipeline, directory: Path) -> FoldReport:
    """The code against the files. Raises InvalidSchema for a file that cannot be read."""
    report = FoldReport([], [])
    for aggregate in pipeline.aggregates.values():
        now, path = fold_of(aggregate), _path(directory, pipeline, aggregate)
        before = _read(path)
        if now is None:
            continue
        if before is None or before.version != now.version:
            report.unwritten.append(aggregate.name)
        elif before.apply != now.apply:
            report.changed.append(
                f"{aggregate.cls.__name__}: its @apply methods are others than those of version {now.version} in {path}, so "
                f"its checkpoints may hold other states than a replay: declare @pipeline.aggregate(version={now.version + 1}), "
                "which folds the log anew once; or, if they fold every event to the same state, say so with "
                "`eventsrc schema export --same-fold`"
            )
    return report


def warnings(pipeline: Pipeline, directory: Path) -> list[str]:
    """A line for each aggregate whose checkpoints may hold other states than the code folds, or whose file is damaged: for
    those that use checkpoints and are not to be stopped by it."""
    try:
        return compare(pipeline, directory).changed
    except InvalidSchema as damaged:
        return [str(damaged)]


def export(pipeline: Pipeline, directory: Path, *, same_fold: bool = False) -> list[Path]:
    """Writes what is missing or of another version, and, where the caller vouches for the same fold, what has changed.
    Returns their paths. Raises SchemaIncompatible for a change that nobody vouches for, before anything is written."""
    report = compare(pipeline, directory)
    if report.changed and not same_fold:
        raise SchemaIncompatible("@apply methods changed under the same version:", report.changed)
    written = []
    for aggregate in pipeline.aggregates.values():
        now, path = fold_of(aggregate), _path(directory, pipeline, aggregate)
        if now is not None and _read(path) != now:
            write_whole(path, json.dumps(now._asdict(), indent=2) + "\n")
            written.append(path)
    return written


def _path(directory: Path, pipeline: Pipeline, aggregate: AggregateType) -> Path:
    return directory / pipeline.name / aggregate.name / NAME


def _read(path: Path) -> Fold | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Fold(int(found["version"]), str(found["apply"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidSchema(f"{path} cannot be read: {error}; restore it from version control") from error


def _code(function: Callable[..., Any]) -> str:
    """The function's statements, as they are written when layout, comments and docstrings are left out."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    if not isinstance(tree, ast.FunctionDef):
        raise TypeError(f"{function!r} is not written as a function")
    tree.decorator_list = []
    tree.name = "apply"
    body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    tree.body = body or [ast.Pass()]
    tree.returns = None
    return ast.unparse(ast.fix_missing_locations(tree))

"""Where `eventsrc replay --into` writes states: JSON lines, CSV, or a SQLite database.

A file appears whole or not at all: it is written beside its place and renamed.
"""

from __future__ import annotations

import contextlib
import csv
import math
import os
import sqlite3
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventsrc.cli.errors import UsageError
from eventsrc.cli.render import dump, record_to_json, to_json

if TYPE_CHECKING:
    from eventsrc.model.aggregate import AggregateType
    from eventsrc.runtime.replaying import State

_SQLITE = "sqlite:"
_ROWS = 10_000


def state_object(aggregate: AggregateType, aggregate_id: str, instance: Any | None, at: str | None) -> dict[str, Any]:
    """An aggregate's state as one JSON object, as the public contract has it; `instance` None: it never existed."""
    return {
        "aggregate": aggregate.name,
        "id": aggregate_id,
        "sequence": 0 if instance is None else instance.sequence,
        "state": None if instance is None else record_to_json(aggregate.record, instance),
        "at": at,
    }


def open_output(target: str, aggregates: Sequence[AggregateType], force: bool) -> Output:
    """Nothing is written yet. Raises `UsageError` where the target cannot be written, or would be overwritten."""
    kind: Callable[[Path, tuple[AggregateType, ...]], Output]
    if target.startswith(_SQLITE):
        path, kind = Path(target.removeprefix(_SQLITE)), SqliteOutput
    else:
        path = Path(target)
        found = {".jsonl": JsonLinesOutput, ".csv": CsvOutput}.get(path.suffix.lower())
        if found is None:
            raise UsageError(f"--into {target}: write a path that ends with .jsonl or .csv, or sqlite:PATH")
        kind = found
    if kind is CsvOutput and len(aggregates) != 1:
        names = ", ".join(each.name for each in aggregates)
        raise UsageError(f"--into {target}: a CSV file has the columns of one aggregate: add --aggregate ({names})")
    if not path.name or path.is_dir():
        raise UsageError(f"--into {target}: that is a directory, not a file")
    if not path.parent.is_dir():
        raise UsageError(f"--into {target}: there is no directory {path.parent}")
    if path.exists() and not force:
        raise UsageError(f"--into {target}: {path} exists already; --force overwrites it")
    return kind(path, tuple(aggregates))


@dataclass(frozen=True)
class Output(ABC):
    path: Path
    aggregates: tuple[AggregateType, ...]

    def write(self, states: Iterable[State], at: str) -> None:
        """Every state, in the order given. On failure nothing is left behind."""
        partial = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}.partial")
        try:
            self._write(partial, states, at)
            partial.replace(self.path)
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"{self.path} cannot be written: {error}") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()

    @abstractmethod
    def _write(self, path: Path, states: Iterable[State], at: str) -> None: ...


class JsonLinesOutput(Output):
    """Each state a line, as `show --json` prints it."""

    def _write(self, path: Path, states: Iterable[State], at: str) -> None:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            for aggregate, key, instance in states:
                file.write(dump(state_object(aggregate, _text(key), instance, at)) + "\n")
            _flush(file)


class CsvOutput(Output):
    """One aggregate: `id`, `sequence`, then a column per field. Nested values are JSON, nothing is an empty cell."""

    def _write(self, path: Path, states: Iterable[State], at: str) -> None:
        names = [field.name for field in self.aggregates[0].record.fields]
        with path.open("x", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "sequence", *names])
            for _, key, instance in states:
                cells = (_cell(to_json(getattr(instance, name))) for name in names)
                rows.writerow([_text(key), instance.sequence, *cells])
            _flush(file)


class SqliteOutput(Output):
    """One table per aggregate, by its name: `id` (primary key), `sequence`, then a column per field."""

    def _write(self, path: Path, states: Iterable[State], at: str) -> None:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = OFF")  # a file of our own, which nobody sees before it is whole
            database.execute("BEGIN")
            for aggregate in self.aggregates:
                names = ", ".join(map(_quoted, _column_names(aggregate)))
                database.execute(
                    f"CREATE TABLE {_quoted(aggregate.name)} "
                    f"(id TEXT PRIMARY KEY, sequence INTEGER NOT NULL{', ' if names else ''}{names}) WITHOUT ROWID"
                )
            for name, group in groupby(states, key=lambda state: state.aggregate.name):
                self._insert(database, name, group)
            database.execute("COMMIT")

    def _insert(self, database: sqlite3.Connection, name: str, states: Iterator[State]) -> None:
        aggregate = next(each for each in self.aggregates if each.name == name)
        names = [field.name for field in aggregate.record.fields]
        statement = f"INSERT INTO {_quoted(name)} VALUES ({', '.join('?' * (len(names) + 2))})"
        rows = (
            (_text(key), instance.sequence, *(_stored(getattr(instance, each)) for each in names))
            for _, key, instance in states
        )
        while batch := list(islice(rows, _ROWS)):
            database.executemany(statement, batch)


def _column_names(aggregate: AggregateType) -> list[str]:
    """SQLite tells no upper from lower case: a name that is taken gets underscores."""
    taken = {"id", "sequence"}
    names = []
    for field in aggregate.record.fields:
        name = field.name
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        names.append(name)
    return names


def _text(key: bytes) -> str:
    return key.decode(errors="backslashreplace")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _stored(value: Any) -> str | int | float | bytes | None:
    """As SQLite keeps it: numbers, text and bytes as they are, nested values as JSON, anything else as its text."""
    if value is None or isinstance(value, bytes):
        return value
    shown = to_json(value)
    if isinstance(shown, float) and not math.isfinite(shown):
        return str(shown)
    return dump(shown) if isinstance(shown, dict | list) else shown


def _cell(shown: Any) -> Any:
    if shown is None:
        return ""
    if isinstance(shown, bool):
        return "true" if shown else "false"
    return dump(shown) if isinstance(shown, dict | list) else shown


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())

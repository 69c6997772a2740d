"""Writer schemas as files under version control: one self-contained record each, every version ever written.

`<directory>/<pipeline>/<aggregate>/<Name>.<fingerprint, 16 hex digits>.avsc`, the framework's own under
`<directory>/eventsrc/`. Knows files and schemas, no class.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eventsrc.codec.nodes import Node, RecordNode, fingerprint, parse, parse_text
from eventsrc.codec.schema import Json
from eventsrc.errors import InvalidSchema, SchemaIncompatible

_FILE_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\.([0-9a-f]{16})\.avsc")

SchemaKind = Literal["command", "event", "control"]


@dataclass(frozen=True, slots=True)
class SchemaFile:
    """One version of one record. `folder` is `bank/account`, or `eventsrc` for the framework's own."""

    folder: str
    name: str
    fingerprint: int
    schema: Json
    node: RecordNode

    @property
    def relative_path(self) -> Path:
        return Path(self.folder) / f"{self.name}.{self.fingerprint:016x}.avsc"

    @property
    def kind(self) -> SchemaKind:
        """By its first field: the meta of a command, that of an event, or none."""
        first = self.node.fields[0] if self.node.fields else None
        meta = first.node.name if first is not None and isinstance(first.node, RecordNode) else ""
        kinds: dict[str, SchemaKind] = {"eventsrc.EventMeta": "event", "eventsrc.CommandMeta": "command"}
        return kinds.get(meta, "control")

    def text(self) -> str:
        return json.dumps(self.schema, indent=2, ensure_ascii=False) + "\n"


def schema_file(folder: str, name: str, schema: Json) -> SchemaFile:
    """From a schema that the code derives."""
    node = _record(parse(schema))
    return SchemaFile(folder, name, fingerprint(node), schema, node)


def find(directory: Path) -> dict[int, Path]:
    """Every schema file by the fingerprint in its name, unread. A directory that does not exist holds none.

    `InvalidSchema` for a file that is named otherwise.
    """
    return {_from_name(path)[1]: path for path in _paths(directory)}


def read(directory: Path, path: Path) -> SchemaFile:
    """One file, checked against its own name. `InvalidSchema` names the file and the mend."""
    name, expected = _from_name(path)
    try:
        text = path.read_text(encoding="utf-8")
        node = _record(parse_text(text))
    except (OSError, UnicodeDecodeError, InvalidSchema) as error:
        raise InvalidSchema(f"{path}: {error}; restore it from version control") from error
    number = fingerprint(node)
    if number != expected or node.name.rpartition(".")[2] != name:
        raise InvalidSchema(
            f"{path}: holds {node.name} with the fingerprint {number:016x}, not what its name says: "
            "schema files are never edited; restore it from version control"
        )
    return SchemaFile(path.parent.relative_to(directory).as_posix(), name, number, json.loads(text), node)


def read_all(directory: Path) -> list[SchemaFile]:
    """Every file, in the order of the paths."""
    return [read(directory, path) for path in _paths(directory)]


def export(directory: Path, schemas: Iterable[SchemaFile]) -> list[Path]:
    """Writes those that are missing and returns their paths; what exists stays as it is.

    Each file appears whole or not at all. `SchemaIncompatible`, before anything is written, where a file has the
    fingerprint of one of `schemas` but other logical types: bytes could not tell the two apart.
    """
    wanted = list(schemas)
    clashes = [clash for schema in wanted for clash in clashes_with_file(directory, schema)]
    if clashes:
        raise SchemaIncompatible("schemas that bytes cannot tell apart", clashes)
    missing = [schema for schema in wanted if not (directory / schema.relative_path).exists()]
    for schema in missing:
        write_whole(directory / schema.relative_path, schema.text())
    return [directory / schema.relative_path for schema in missing]


def clashes_with_file(directory: Path, schema: SchemaFile) -> Iterator[str]:
    """One line for each place where the file of this fingerprint has another logical type."""
    path = directory / schema.relative_path
    if path.exists():
        was = read(directory, path)
        for where, before, after in logical_differences(was.node, schema.node):
            yield (
                f"{schema.folder}/{schema.name}.{where}: {after} in the code, {before} in {path}; Avro's fingerprint "
                "does not tell them apart. Give the field another name and a default, and keep the old one for reading"
            )


def logical_differences(before: Node, after: Node, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Path and both logical types, for every difference between two trees of one canonical form."""
    if before.logical != after.logical:
        yield path, before.logical or "no logical type", after.logical or "no logical type"
    for (name, old), (_, new) in zip(_children(before), _children(after), strict=False):
        yield from logical_differences(old, new, f"{path}.{name}".lstrip("."))


def _children(node: Node) -> list[tuple[str, Node]]:
    if node.type == "record":
        assert isinstance(node, RecordNode)
        return [(field.name, field.node) for field in node.fields]
    inner = getattr(node, "items", None) or getattr(node, "values", None)
    if inner is not None:
        return [("[]", inner)]
    return [(str(index), branch) for index, branch in enumerate(getattr(node, "branches", ()))]


def _paths(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*.avsc") if not path.name.startswith("."))


def _from_name(path: Path) -> tuple[str, int]:
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise InvalidSchema(f"{path}: a schema file is named <Name>.<fingerprint, 16 hex digits>.avsc")
    return match[1], int(match[2], 16)


def _record(node: Node) -> RecordNode:
    if not isinstance(node, RecordNode):
        raise InvalidSchema(f"a {node.type} where a record is expected")
    return node


def write_whole(path: Path, text: str) -> None:
    """The file, and its directories; a reader, or whoever looks after a crash, sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

"""The wire contract read by a stranger: framing, keys, ids and schema files, with fastavro and the standard library.

Knows contract.md section 3 and nothing of the product: no import of `eventsrc` may ever appear here, otherwise the
checker would agree with the product's mistakes.
"""

from __future__ import annotations

import io
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import fastavro
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

SINGLE_OBJECT_MARKER = b"\xc3\x01"
CONTROL_PREFIX = b"\0"
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "eventsrc")

_EVENT_KEY = re.compile(rb"(?s)\A(.+)@([1-9][0-9]*)#(0|[1-9][0-9]*)\Z")
_SCHEMA_FILE = re.compile(r"\A.+\.([0-9a-f]{16})\.avsc\Z")

Body = Mapping[str, Any]


class Undecodable(ValueError):  # noqa: N818 - a verdict about bytes
    """Bytes are not what the wire contract says."""


class SchemaUnknown(LookupError):  # noqa: N818 - a verdict about bytes
    """A well-framed value names a fingerprint that no schema file has."""


@dataclass(frozen=True, slots=True)
class EventKey:
    id: bytes
    sequence: int
    term: int


def parse_event_key(key: bytes) -> EventKey | None:
    """None where the key is not `<id>@<sequence>#<term>`; read from the right, so an id may hold `@` and `#`."""
    found = _EVENT_KEY.match(key)
    if found is None or key.startswith(CONTROL_PREFIX):
        return None
    return EventKey(found[1], int(found[2]), int(found[3]))


def event_key(id: bytes, sequence: int, term: int) -> bytes:
    return b"%b@%d#%d" % (id, sequence, term)


def barrier_key(identity: uuid.UUID) -> bytes:
    return b"\0barrier@" + str(identity).encode()


def event_id(aggregate: str, id: bytes, sequence: int) -> bytes:
    """The 16 bytes by which a causation id names an event."""
    return uuid.uuid5(NAMESPACE, f"{aggregate}/{id.decode()}@{sequence}").bytes


def frame(schema_fingerprint: int, body: bytes) -> bytes:
    return SINGLE_OBJECT_MARKER + schema_fingerprint.to_bytes(8, "little") + body


@dataclass(frozen=True, slots=True)
class Decoded:
    """`name` is the writer's full name (`bank.account.Deposited`), `fields` the record with `meta` first."""

    name: str
    fields: Body

    @property
    def short_name(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def meta(self) -> Body:
        return cast(Body, self.fields["meta"])


@dataclass
class Schemas:
    """Writer schemas by fingerprint, from files as `schema export` writes them (or given, in a test)."""

    by_fingerprint: dict[int, tuple[str, Any]] = field(default_factory=dict)
    by_name: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_directory(cls, directory: Path) -> Schemas:
        """Raises `Undecodable` where a file's name does not say its content's fingerprint."""
        schemas = cls()
        for path in sorted(directory.rglob("*.avsc")):
            named = _SCHEMA_FILE.match(path.name)
            if named is None:
                raise Undecodable(f"{path}: not <Name>.<16 hex digits>.avsc")
            computed = schemas.add(json.loads(path.read_text()))
            if computed != int(named[1], 16):
                raise Undecodable(f"{path}: the content's fingerprint is {computed:016x}")
        return schemas

    @classmethod
    def of(cls, definitions: Iterable[Mapping[str, Any]]) -> Schemas:
        schemas = cls()
        for definition in definitions:
            schemas.add(definition)
        return schemas

    def add(self, definition: Mapping[str, Any]) -> int:
        raw = dict(definition)
        canonical = to_parsing_canonical_form(raw)
        value = int.from_bytes(bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO")), "little")
        parsed = parse_schema(raw)
        name = str(cast(Body, parsed)["name"])
        self.by_fingerprint[value] = (name, parsed)
        self.by_name[name] = value
        return value

    def encode(self, name: str, fields: Body) -> bytes:
        """A framed value, by the schema last added under that full name."""
        value = self.by_name[name]
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self.by_fingerprint[value][1], fields, strict=True)
        return frame(value, out.getvalue())

    def decode(self, value: bytes) -> Decoded:
        """Raises `Undecodable` (framing, truncation, trailing bytes) or `SchemaUnknown`."""
        if len(value) < 10 or value[:2] != SINGLE_OBJECT_MARKER:
            raise Undecodable(f"no single-object framing in {value[:12]!r}")
        number = int.from_bytes(value[2:10], "little")
        if number not in self.by_fingerprint:
            raise SchemaUnknown(f"{number:016x}")
        name, schema = self.by_fingerprint[number]
        body = io.BytesIO(value[10:])
        try:
            fields = cast(Body, fastavro.schemaless_reader(body, schema, None))
        except (EOFError, IndexError, ValueError, TypeError, UnicodeDecodeError, OverflowError) as problem:
            raise Undecodable(f"{name}: {problem!r}") from problem
        if body.read(1):
            raise Undecodable(f"{name}: trailing bytes")
        return Decoded(name, fields)

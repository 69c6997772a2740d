"""Records of the framework's own: barriers and pruning records in events partitions, replies to callers.

Their values, their Avro schemas and their readers and writers. What they mean is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, Literal, NamedTuple, cast

from eventsrc.codec.framing import PREFIX_BYTES, framing_prefix, parse_prefix
from eventsrc.codec.nodes import RecordNode, fingerprint, parse
from eventsrc.codec.reader import compile_reader
from eventsrc.codec.resolution import build
from eventsrc.codec.schema import Json, state_schema
from eventsrc.codec.writer import compile_writer
from eventsrc.errors import NotThisKind, UnknownSchema
from eventsrc.model.types import DictOf, Field, FieldType, Fixed, ListOf, LiteralOf, Primitive, RecordType, UnionOf

NAMESPACE = "eventsrc"
Scalar = str | int | float | bool | None
ReplyStatus = Literal["ok", "rejected", "failed", "duplicate", "conflict"]


class Barrier(NamedTuple):
    """Written by an owner that takes a partition over. What is the same for all events of its term stands here;
    the term is this record's offset. `time` is hybrid logical time in microseconds."""

    instance: str
    transactional_id: str
    deployment: str
    events_topic_id: str
    commands_topic_id: str
    commands_position: int
    time: int


class Pruned(NamedTuple):
    """The aggregate's events up to `sequence` may be gone: `state` is what they folded to, written by the state
    schema whose fingerprint (8 bytes, little-endian) is given."""

    id: str
    sequence: int
    state: bytes
    state_fingerprint: bytes


_SHORT_CHARACTERS = 1000
_SHORT_DETAILS = 16


class Reply(NamedTuple):
    """What became of a command. `events` are framed. `reason` and `details`: of a rejection, what the handler gave;
    of a failure, the dead letter's word, with its `message` and `dead_letter` (where it is) as details."""

    command_id: bytes
    status: ReplyStatus
    sequence: int
    events: list[bytes]
    reason: str | None
    details: dict[str, Scalar]


def shortened(reply: Reply) -> Reply:
    """What fits into one record, where it did not. To send the command again would not help: the answer would be as large."""
    if reply.status == "ok":  # too many events: as for a duplicate, the caller reads them back from history
        return reply._replace(status="duplicate", events=[])
    said = islice(reply.details.items(), _SHORT_DETAILS)
    details = {_cut(name): _cut(told) if isinstance(told, str) else told for name, told in said}
    return reply._replace(reason=reply.reason and _cut(reply.reason), details=details)


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT_CHARACTERS else f"{text[:_SHORT_CHARACTERS]}..."


_NULL, _STR, _INT, _BYTES = (Primitive(kind) for kind in ("null", "str", "int", "bytes"))
_SCALAR = UnionOf((_NULL, Primitive("bool"), _INT, Primitive("float"), _STR))


def _record(cls: type, **fields: FieldType) -> RecordType:
    return RecordType(cls, cls.__name__, tuple(Field(name, declared) for name, declared in fields.items()))


_RECORDS = {
    "Barrier": _record(
        Barrier,
        instance=_STR,
        transactional_id=_STR,
        deployment=_STR,
        events_topic_id=_STR,
        commands_topic_id=_STR,
        commands_position=_INT,
        time=_INT,
    ),
    "Pruned": _record(Pruned, id=_STR, sequence=_INT, state=_BYTES, state_fingerprint=Fixed(8)),
    "Reply": _record(
        Reply,
        command_id=Fixed(16),
        status=LiteralOf(("ok", "rejected", "failed", "duplicate", "conflict")),
        sequence=_INT,
        events=ListOf(_BYTES),
        reason=UnionOf((_NULL, _STR)),
        details=DictOf(_SCALAR),
    ),
}
NAMES = tuple(_RECORDS)


@dataclass(frozen=True, slots=True)
class ControlType:
    """One of the framework's records, with its schema and its compiled functions."""

    name: str
    schema: Json
    node: RecordNode
    fingerprint: int
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


def record_type(name: str) -> RecordType:
    return _RECORDS[name]


@cache
def control_type(name: str) -> ControlType:
    record = _RECORDS[name]
    schema = state_schema(NAMESPACE, name, record)
    node = cast(RecordNode, parse(schema))
    number = fingerprint(node)
    full_name = f"{NAMESPACE}.{name}"
    write = compile_writer(full_name, record, node, "value", framing_prefix(number))
    read = compile_reader(full_name, build(record, node, node), "value", PREFIX_BYTES)
    return ControlType(name, schema, node, number, write, read)


def control_reader_from(name: str, writer: RecordNode, start: int) -> Callable[[bytes], Any]:
    """Reads what this or an older version of eventsrc wrote under this name, from `start` on. Raises `Unresolvable`."""
    plan = build(_RECORDS[name], control_type(name).node, writer)
    return compile_reader(writer.name, plan, "value", start)


def control_writer_with(name: str, prefix: bytes) -> Callable[[Any], bytes]:
    """As the type's own `write`, behind another prefix."""
    return compile_writer(f"{NAMESPACE}.{name}", _RECORDS[name], control_type(name).node, "value", prefix)


def write_barrier(barrier: Barrier) -> bytes:
    return control_type("Barrier").write(barrier)


def read_barrier(value: bytes) -> Barrier:
    return cast(Barrier, _read("Barrier", value))


def write_pruned(pruned: Pruned) -> bytes:
    return control_type("Pruned").write(pruned)


def read_pruned(value: bytes) -> Pruned:
    return cast(Pruned, _read("Pruned", value))


def write_reply(reply: Reply) -> bytes:
    return control_type("Reply").write(reply)


def read_reply(value: bytes) -> Reply:
    return cast(Reply, _read("Reply", value))


def _read(name: str, value: bytes) -> Any:
    """By this version's schema alone; a catalog also knows older ones."""
    own = control_type(name)
    if value[:PREFIX_BYTES] == framing_prefix(own.fingerprint):
        return own.read(value)
    prefix = parse_prefix(value)
    other = next((o for o in NAMES if framing_prefix(control_type(o).fingerprint)[2:] == prefix), None)
    if other is not None:
        raise NotThisKind(f"a record of type {NAMESPACE}.{other} where {NAMESPACE}.{name} was expected")
    raise UnknownSchema(prefix)


def reply_reason(reason: object) -> str | None:
    """Whatever a handler gave as its reason, as text that a reply can carry."""
    return None if reason is None else _text(reason)


def reply_details(details: Mapping[str, Any]) -> dict[str, Scalar]:
    """What a reply can carry: JSON's scalars as they are, anything else as text."""
    return {_text(key): _detail(value) for key, value in details.items()}


def _detail(value: Any) -> Scalar:
    if value is None or type(value) in {bool, float}:
        return cast(Scalar, value)
    if type(value) is int and -(1 << 63) <= value < 1 << 63:
        return value
    return _text(value)


def _text(value: Any) -> str:
    """As text that UTF-8 takes, of exactly the class `str`."""
    return str(value).encode("utf-8", "backslashreplace").decode()

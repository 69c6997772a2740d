"""The first field of every message, as the codec's types: which values of which classes stand in it."""

from __future__ import annotations

from eventsrc.codec.framing import MARKER, REGISTRY_MARKER, prefix_of
from eventsrc.codec.resolution import MOMENT
from eventsrc.model.message import MessageKind
from eventsrc.model.recorded import CommandMeta, EventMeta
from eventsrc.model.types import Field, Fixed, Primitive, RecordOf, RecordType, UnionOf

_ID = Fixed(16)
_INT = Primitive("int")
_OPTIONAL_ID = UnionOf((Primitive("null"), _ID))

_EVENT_META = RecordType(
    EventMeta,
    "EventMeta",
    (
        Field("command_id", _ID),
        Field("correlation_id", _OPTIONAL_ID, default=None),
        Field("causation_id", _OPTIONAL_ID, default=None),
        Field("source_offset", _INT),
        Field("index", _INT),
        Field("count", _INT),
        Field("time", MOMENT),
        Field("payload_hash", Fixed(8)),
    ),
)
# `reply` is a record of one int on the wire, and that int here: a union looks into such a record
_COMMAND_META = RecordType(
    CommandMeta,
    "CommandMeta",
    (
        Field("id", _ID),
        Field("correlation_id", _OPTIONAL_ID, default=None),
        Field("causation_id", _OPTIONAL_ID, default=None),
        Field("time", MOMENT),
        Field("reply", UnionOf((Primitive("null"), _INT)), default=None),
    ),
)


def with_meta(kind: MessageKind, record: RecordType) -> RecordType:
    """The record as it stands on the wire: `meta` before the class's own fields."""
    meta = Field("meta", RecordOf(_EVENT_META if kind == "event" else _COMMAND_META))
    return RecordType(record.cls, record.name, (meta, *record.fields), record.aliases)


def command_meta_alone(value: bytes) -> CommandMeta | None:
    """The meta of a framed command, read by hand: of one whose body must not be decoded, because that ended the process.
    None where these are not the bytes of this version's meta."""
    at = len(prefix_of(value))

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return value[at - size : at]

    def number() -> int:
        found = shift = 0
        while (byte := take(1)[0]) & 0x80:
            found |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise IndexError
        found |= byte << shift
        return (found >> 1) ^ -(found & 1)

    def optional_id() -> bytes | None:
        return take(16) if number() else None

    if not value.startswith((MARKER, REGISTRY_MARKER)):
        return None
    try:
        return CommandMeta(take(16), optional_id(), optional_id(), number(), number() if number() else None)
    except IndexError:  # it ends too soon, or holds a number that is none
        return None

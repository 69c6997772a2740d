"""Random field types, values of them, and the same values as other Avro libraries take them."""

from __future__ import annotations

import dataclasses
import datetime as clock
import enum
import itertools
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from eventsrc.codec import scalars
from eventsrc.codec.nodes import ArrayNode, EnumNode, FixedNode, MapNode, Node, PrimitiveNode, RecordNode, UnionNode
from eventsrc.codec.resolution import is_wrapper
from eventsrc.codec.schema import is_of, python_class, wire_type
from eventsrc.codec.wire import double_bytes, long_bytes
from eventsrc.model.types import (
    DecimalScaled,
    DictOf,
    EnumOf,
    Field,
    FieldType,
    ListOf,
    LiteralOf,
    Primitive,
    PrimitiveKind,
    RecordOf,
    RecordType,
    SetOf,
    TupleOf,
    UnionOf,
)


class Colour(enum.Enum):
    RED = "r"
    GREEN = "g"
    CRIMSON = "r"  # an alias of RED


class Étage(enum.IntEnum):  # noqa: PLC2401 - names that Avro does not take
    PREMIÈRE = 1  # noqa: PLC2401 - as above
    DEUXIÈME = 2  # noqa: PLC2401 - as above


KINDS: tuple[PrimitiveKind, ...] = (
    "bool",
    "int",
    "float",
    "str",
    "bytes",
    "uuid",
    "datetime",
    "date",
    "time",
    "timedelta",
    "decimal-text",
)
LONGS = st.one_of(st.integers(-70, 70), st.integers(-(1 << 14), 1 << 14), st.integers(-(1 << 63), (1 << 63) - 1))
TEXTS = st.one_of(st.text(max_size=8), st.text("ab", max_size=200))
ZONES = st.sampled_from([clock.UTC, clock.timezone(clock.timedelta(hours=5, minutes=45))])

_PRIMITIVE_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "bool": st.booleans(),
    "int": LONGS,
    "float": st.floats(allow_nan=False),
    "str": TEXTS,
    "bytes": st.binary(max_size=80),
    "uuid": st.uuids(),
    "datetime": st.datetimes(clock.datetime(2, 1, 1), clock.datetime(9998, 1, 1), timezones=ZONES),
    "date": st.dates(),
    "time": st.times(),
    "timedelta": st.timedeltas(clock.timedelta(days=-90_000_000), clock.timedelta(days=90_000_000)),
    "decimal-text": st.decimals(allow_nan=False, allow_infinity=False),
}

SCALARS: st.SearchStrategy[FieldType] = st.one_of(
    st.sampled_from([Primitive(kind) for kind in KINDS]),
    st.integers(0, 12).map(DecimalScaled),
    st.sampled_from(
        [
            EnumOf(Colour),
            EnumOf(Étage),
            LiteralOf(("new", "open", "shut")),
            LiteralOf(("two words", "")),
            LiteralOf((1, 5, -700)),
            LiteralOf((True,)),
        ]
    ),
)


def _is_hashable(declared: FieldType) -> bool:
    return not isinstance(declared, ListOf | DictOf | RecordOf | TupleOf | UnionOf | SetOf)


@st.composite
def field_types(draw: st.DrawFn, depth: int, names: itertools.count[int]) -> FieldType:
    if depth == 0 or draw(st.integers(0, 2)) == 0:
        return draw(SCALARS)
    inner = field_types(depth - 1, names)
    match draw(st.integers(0, 6)):
        case 0:
            return ListOf(draw(inner))
        case 1:
            return DictOf(draw(inner))
        case 2:
            return SetOf(draw(SCALARS.filter(_is_hashable)), draw(st.booleans()))
        case 3:
            return TupleOf((draw(inner),), True)
        case 4:
            return TupleOf(tuple(draw(st.lists(inner, min_size=1, max_size=3))), False)
        case 5:
            return RecordOf(draw(records(depth - 1, names)))
    return draw(unions(depth - 1, names))


@st.composite
def unions(draw: st.DrawFn, depth: int, names: itertools.count[int]) -> FieldType:
    members: list[FieldType] = [Primitive("null")] if draw(st.booleans()) else []
    for member in draw(st.lists(field_types(depth, names), min_size=1, max_size=4)):
        taken = {python_class(other) for other in members}
        if not isinstance(member, UnionOf) and python_class(member) not in taken:
            members.append(member)
    return UnionOf(tuple(members)) if len(members) > 1 else draw(SCALARS)


@st.composite
def records(draw: st.DrawFn, depth: int = 3, names: itertools.count[int] | None = None) -> RecordType:
    """Classes of 0 to 5 fields, some with defaults, in layers of at most `depth`."""
    names = itertools.count() if names is None else names
    name = f"R{next(names)}"
    types = draw(st.lists(field_types(depth, names), max_size=5))
    fields = [Field(f"f{index}", declared) for index, declared in enumerate(types)]
    if draw(st.booleans()):  # defaults at the end, as a dataclass has them
        fields[-1:] = [with_default(field, draw(values(field.type))) for field in fields[-1:]]
    return made(name, fields)


def with_default(field: Field, value: Any) -> Field:
    if isinstance(field.type, Primitive | DecimalScaled | EnumOf | LiteralOf):
        return dataclasses.replace(field, default=value)
    if isinstance(field.type, ListOf | DictOf):
        return dataclasses.replace(field, default_factory=python_class(field.type))
    return field


def made(name: str, fields: list[Field]) -> RecordType:
    return RecordType(dataclasses.make_dataclass(name, [f.name for f in fields], slots=True), name, tuple(fields))


def values(declared: FieldType) -> st.SearchStrategy[Any]:
    """Values of a type that a writer takes."""
    if isinstance(declared, Primitive):
        return _PRIMITIVE_VALUES[declared.kind]
    if isinstance(declared, DecimalScaled):
        return st.integers(-(10**38) + 1, 10**38 - 1).map(_scaled(declared.places))
    if isinstance(declared, EnumOf):
        return st.sampled_from(list(declared.cls))
    if isinstance(declared, LiteralOf):
        return st.sampled_from(declared.values)
    if isinstance(declared, ListOf):
        return st.lists(values(declared.item), max_size=4)
    if isinstance(declared, SetOf):
        items = st.sets(values(declared.item), max_size=4)
        return items.map(frozenset) if declared.frozen else items
    if isinstance(declared, DictOf):
        return st.dictionaries(TEXTS, values(declared.value), max_size=4)
    if isinstance(declared, TupleOf):
        if declared.variadic:
            return st.lists(values(declared.items[0]), max_size=4).map(tuple)
        return st.tuples(*map(values, declared.items))
    if isinstance(declared, UnionOf):
        return st.one_of(*map(values, declared.members))
    assert isinstance(declared, RecordOf)
    return instances(declared.record)


def instances(record: RecordType) -> st.SearchStrategy[Any]:
    return st.builds(record.cls, *(values(field.type) for field in record.fields))


def _scaled(places: int) -> Any:
    return lambda whole: Decimal((int(whole < 0), tuple(map(int, str(abs(whole)))), -places))


# ---- the same values for other libraries


@dataclasses.dataclass(frozen=True)
class Branch:
    """A union's value with the branch it is written by."""

    index: int
    node: Node
    value: Any


def plain(declared: FieldType, node: Node, value: Any) -> Any:
    """Records as dicts, enums as symbols, sets in the order they are written; union values marked with `Branch`."""
    if isinstance(declared, UnionOf):
        assert isinstance(node, UnionNode)
        index = next(i for i, member in enumerate(declared.members) if is_of(member, value))
        member, branch = declared.members[index], node.branches[index]
        if is_wrapper(member, branch):
            assert isinstance(branch, RecordNode)
            return Branch(index, branch, {"value": plain(member, branch.fields[0].node, value)})
        return Branch(index, branch, plain(member, branch, value))
    if isinstance(declared, RecordOf):
        return plain_record(declared.record, node, value)
    if isinstance(declared, TupleOf) and not declared.variadic:
        assert isinstance(node, RecordNode)
        parts = zip(declared.items, node.fields, value, strict=True)
        return {field.name: plain(item, field.node, part) for item, field, part in parts}
    if isinstance(declared, DictOf):
        assert isinstance(node, MapNode)
        return {key: plain(declared.value, node.values, item) for key, item in value.items()}
    if isinstance(declared, ListOf | SetOf | TupleOf):
        assert isinstance(node, ArrayNode)
        item_type = declared.items[0] if isinstance(declared, TupleOf) else declared.item
        items = [plain(item_type, node.items, item) for item in value]
        return sorted(items, key=lambda item: reference(node.items, item)) if isinstance(declared, SetOf) else items
    if isinstance(declared, EnumOf):
        return value.name
    if isinstance(declared, Primitive) and declared.kind == "timedelta":
        return scalars.timedelta_of(value)
    if isinstance(declared, Primitive) and declared.kind == "decimal-text":
        return str(value)
    return value


def plain_record(record: RecordType, node: Node, value: Any) -> dict[str, Any]:
    assert isinstance(node, RecordNode)
    nodes = {field.name: field.node for field in node.fields}
    return {f.name: plain(wire_type(f), nodes[f.name], getattr(value, f.name)) for f in record.fields}


def reference(node: Node, value: Any) -> bytes:
    """Avro's specification, word by word: a second encoder to compare with."""
    if isinstance(value, Branch):
        return long_bytes(value.index) + reference(value.node, value.value)
    if isinstance(node, RecordNode):
        return b"".join(reference(field.node, value[field.name]) for field in node.fields)
    if isinstance(node, ArrayNode):
        items = b"".join(reference(node.items, item) for item in value)
        return (long_bytes(len(value)) + items if value else b"") + b"\0"
    if isinstance(node, MapNode):
        entries = b"".join(_sized(key.encode()) + reference(node.values, item) for key, item in value.items())
        return (long_bytes(len(value)) + entries if value else b"") + b"\0"
    if isinstance(node, EnumNode):
        return long_bytes(node.symbols.index(value))
    if isinstance(node, FixedNode):
        return bytes(value)
    assert isinstance(node, PrimitiveNode)
    return _primitive(node, value)


def _primitive(node: PrimitiveNode, value: Any) -> bytes:
    if node.type == "null":
        return b""
    if node.type == "boolean":
        return b"\1" if value else b"\0"
    if node.type == "double":
        return double_bytes(value)
    if isinstance(value, Decimal):
        whole = int(value.scaleb(int((node.logical or "").partition(":")[2]), scalars._WIDE))
        return _sized(whole.to_bytes((abs(whole).bit_length() + 8) // 8, "big", signed=True))
    if isinstance(value, UUID | str):
        return _sized(str(value).encode())
    if isinstance(value, bytes):
        return _sized(value)
    return long_bytes(_number(value))


def _number(value: Any) -> int:
    if isinstance(value, clock.datetime):
        return scalars.microseconds_of(value)
    if isinstance(value, clock.date):
        return value.toordinal() - 719163
    if isinstance(value, clock.time):
        return scalars.time_of_day_of(value)
    assert isinstance(value, int)
    return value


def _sized(octets: bytes) -> bytes:
    return long_bytes(len(octets)) + octets


def for_fastavro(value: Any) -> Any:
    """Union values as (type, value), which fastavro takes as the branch to write."""
    if isinstance(value, Branch):
        name = value.node.name if isinstance(value.node, RecordNode | EnumNode | FixedNode) else value.node.type
        return (name, for_fastavro(value.value))
    return _mapped(value, for_fastavro)


def for_avro(value: Any) -> Any:
    """Apache avro takes a UUID as text, and finds a union's branch by itself."""
    if isinstance(value, Branch):
        return for_avro(value.value)
    return str(value) if isinstance(value, UUID) else _mapped(value, for_avro)


def has_wide_union(declared: FieldType) -> bool:
    """Whether a union with more than null and one other member is in there: for those Apache avro guesses."""
    if isinstance(declared, UnionOf):
        return len(declared.members) > 2 or any(map(has_wide_union, declared.members)) or not _has_null(declared)
    if isinstance(declared, RecordOf):
        return any(has_wide_union(field.type) for field in declared.record.fields)
    if isinstance(declared, TupleOf):
        return any(map(has_wide_union, declared.items))
    if isinstance(declared, DictOf):
        return has_wide_union(declared.value)
    return isinstance(declared, ListOf) and has_wide_union(declared.item)


def _has_null(union: UnionOf) -> bool:
    return Primitive("null") in union.members


def without_branches(value: Any) -> Any:
    """As any library gives decoded values."""
    return without_branches(value.value) if isinstance(value, Branch) else _mapped(value, without_branches)


def _mapped(value: Any, function: Any) -> Any:
    if isinstance(value, dict):
        return {key: function(item) for key, item in value.items()}
    if isinstance(value, list):
        return [function(item) for item in value]
    return value

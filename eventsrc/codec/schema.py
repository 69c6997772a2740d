"""Field types -> Avro schemas, as JSON values. Deterministic: equal declarations give equal text.

Owns every choice of how a Python type looks in Avro: names of nested types, which enums and literals are Avro enums,
what a union does with two members of one Avro type, defaults. Knows no bytes and reads no annotation.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from eventsrc.codec.nodes import FULL_NAME, NAME
from eventsrc.codec.scalars import days_of, microseconds_of, scaled_bytes, time_of_day_of, timedelta_of
from eventsrc.errors import DeclarationError
from eventsrc.model.types import (
    MISSING,
    DecimalScaled,
    DictOf,
    EnumOf,
    Field,
    FieldType,
    Fixed,
    ListOf,
    LiteralOf,
    Primitive,
    RecordOf,
    RecordType,
    SetOf,
    TupleOf,
    UnionOf,
)

Json = Any
"""A JSON value that json.dumps takes; `nodes.parse` checks it."""

DECIMAL_PRECISION = 38

_PRIMITIVES: dict[str, Json] = {
    "null": "null",
    "bool": "boolean",
    "int": "long",
    "float": "double",
    "str": "string",
    "bytes": "bytes",
    "uuid": {"type": "string", "logicalType": "uuid"},
    "datetime": {"type": "long", "logicalType": "timestamp-micros"},
    "date": {"type": "int", "logicalType": "date"},
    "time": {"type": "long", "logicalType": "time-micros"},
    # two logical types of our own: other readers see the plain type
    "timedelta": {"type": "long", "logicalType": "timedelta-micros"},
    "decimal-text": {"type": "string", "logicalType": "decimal-text"},
}

_FIXED16: Json = {"type": "fixed", "name": "fixed16", "namespace": "eventsrc", "size": 16}
_FIXED8: Json = {"type": "fixed", "name": "fixed8", "namespace": "eventsrc", "size": 8}

EVENT_META: Json = {
    "type": "record",
    "name": "EventMeta",
    "namespace": "eventsrc",
    "fields": [
        {"name": "command_id", "type": _FIXED16},
        {"name": "correlation_id", "type": ["null", "eventsrc.fixed16"], "default": None},
        {"name": "causation_id", "type": ["null", "eventsrc.fixed16"], "default": None},
        {"name": "source_offset", "type": "long"},
        {"name": "index", "type": "int"},
        {"name": "count", "type": "int"},
        {"name": "time", "type": "long"},
        {"name": "payload_hash", "type": _FIXED8},
    ],
}

COMMAND_META: Json = {
    "type": "record",
    "name": "CommandMeta",
    "namespace": "eventsrc",
    "fields": [
        {"name": "id", "type": _FIXED16},
        {"name": "correlation_id", "type": ["null", "eventsrc.fixed16"], "default": None},
        {"name": "causation_id", "type": ["null", "eventsrc.fixed16"], "default": None},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {
            "name": "reply",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "ReplyTo",
                    "namespace": "eventsrc",
                    "fields": [{"name": "partition", "type": "int"}],
                },
            ],
            "default": None,
        },
    ],
}


def message_schema(
    namespace: str, name: str, record: RecordType, kind: Literal["command", "event"], aliases: tuple[str, ...] = ()
) -> Json:
    """The schema of a command or an event of one aggregate: `meta` first, then the class's own fields."""
    meta = {"name": "meta", "type": COMMAND_META if kind == "command" else EVENT_META}
    return _Derivation(namespace, name, aliases).top(record, [meta])


def state_schema(namespace: str, name: str, record: RecordType) -> Json:
    """The schema of an aggregate's state: its fields alone."""
    return _Derivation(namespace, name, ()).top(record, [])


def wire_type(field: Field) -> FieldType:
    """The field's type as it is written: Avro wants the union member that the default belongs to first."""
    declared = field.type
    if not isinstance(declared, UnionOf):
        return declared
    value = default_of(field)
    if value is MISSING:
        return declared
    first = [member for member in declared.members if is_of(member, value)][:1]
    return UnionOf((*first, *(member for member in declared.members if member not in first)))


def default_of(field: Field) -> Any:
    """The default's value, a fresh one from a factory; `MISSING` if there is none."""
    return field.default if field.default_factory is None else field.default_factory()


def literal_symbols(literal: LiteralOf) -> tuple[str, ...] | None:
    """The literal's values, if an Avro enum can hold them."""
    symbols = tuple(value for value in literal.values if isinstance(value, str) and NAME.fullmatch(value))
    return symbols if len(symbols) == len(literal.values) else None


def enum_symbols(cls: type[enum.Enum]) -> tuple[str, ...] | None:
    """The names of the enum's members, if an Avro enum can hold them."""
    names = tuple(member.name for member in cls)
    return names if all(NAME.fullmatch(name) for name in names) else None


def is_of(declared: FieldType, value: Any) -> bool:
    """Whether `value` is of this type, looking no deeper than its class: what tells a union's members apart."""
    if isinstance(declared, LiteralOf):
        return any(type(value) is type(known) and value == known for known in declared.values)
    if isinstance(declared, UnionOf):
        return any(is_of(member, value) for member in declared.members)
    return type(value) is python_class(declared)


def python_class(declared: FieldType) -> type:
    """The exact class that values of this type have."""
    if isinstance(declared, Primitive):
        return _CLASSES[declared.kind]
    if isinstance(declared, LiteralOf):
        return type(declared.values[0])
    if isinstance(declared, RecordOf):
        return declared.record.cls
    if isinstance(declared, EnumOf):
        return declared.cls
    if isinstance(declared, SetOf):
        return frozenset if declared.frozen else set
    if isinstance(declared, UnionOf):
        raise DeclarationError("a union within a union: flatten it")
    return _CLASSES[type(declared).__name__]


def _classes() -> dict[str, type]:
    import datetime as clock
    import decimal
    import uuid

    return {
        "null": type(None),
        "bool": bool,
        "int": int,
        "float": float,
        "str": str,
        "bytes": bytes,
        "uuid": uuid.UUID,
        "datetime": clock.datetime,
        "date": clock.date,
        "time": clock.time,
        "timedelta": clock.timedelta,
        "decimal-text": decimal.Decimal,
        "DecimalScaled": decimal.Decimal,
        "Fixed": bytes,
        "ListOf": list,
        "TupleOf": tuple,
        "DictOf": dict,
    }


_CLASSES = _classes()


@dataclass(frozen=True, slots=True)
class _Path:
    """Names for the types that have none of their own: by their place, and by the places of older names."""

    names: tuple[str, ...]

    def then(self, *steps: str) -> _Path:
        return _Path(tuple(f"{name}_{step}" for name in self.names for step in steps))


class _Derivation:
    """One schema. A nested type is defined where it is met first, and named from then on."""

    def __init__(self, namespace: str, name: str, aliases: tuple[str, ...]) -> None:
        if not FULL_NAME.fullmatch(f"{namespace}.{name}"):
            raise DeclarationError(f"{namespace}.{name} is not a name that Avro takes: letters, digits, underscores")
        self.namespace = namespace
        self.name = name
        self.aliases = aliases
        self.defined: dict[str, object] = {}  # simple name -> what it stands for

    def top(self, record: RecordType, before: list[Json]) -> Json:
        fields = before + self.fields(record, _Path((self.name, *self.aliases)))
        aliases = [alias if "." in alias else f"{self.namespace}.{alias}" for alias in self.aliases]
        return _named("record", self.name, self.namespace, aliases, fields=fields)

    def fields(self, record: RecordType, path: _Path) -> list[Json]:
        return [self.field(record, field, path) for field in record.fields]

    def field(self, record: RecordType, field: Field, path: _Path) -> Json:
        if not NAME.fullmatch(field.name):
            raise DeclarationError(f"{record.name}.{field.name}: Avro takes letters, digits and underscores in a name")
        declared = wire_type(field)
        out: dict[str, Json] = {"name": field.name, "type": self.type(declared, path.then(field.name, *field.aliases))}
        value = default_of(field)
        if value is not MISSING and is_of(declared, value) and _finite(value):
            out["default"] = default_json(declared, value)
        if field.aliases:
            out["aliases"] = list(field.aliases)
        return out

    def type(self, declared: FieldType, path: _Path) -> Json:
        if isinstance(declared, Primitive):
            return _PRIMITIVES[declared.kind]
        if isinstance(declared, DecimalScaled):
            return {
                "type": "bytes",
                "logicalType": "decimal",
                "precision": DECIMAL_PRECISION,
                "scale": declared.places,
            }
        if isinstance(declared, ListOf | SetOf):
            return {"type": "array", "items": self.type(declared.item, path.then("item"))}
        if isinstance(declared, DictOf):
            return {"type": "map", "values": self.type(declared.value, path.then("value"))}
        if isinstance(declared, UnionOf):
            return self.union(declared, path)
        if isinstance(declared, TupleOf) and declared.variadic:
            return {"type": "array", "items": self.type(declared.items[0], path.then("item"))}
        if isinstance(declared, LiteralOf) and literal_symbols(declared) is None:
            return _PRIMITIVES[type(declared.values[0]).__name__]
        if isinstance(declared, EnumOf) and enum_symbols(declared.cls) is None:
            return "string"
        return self.named(declared, path)

    def union(self, union: UnionOf, path: _Path) -> Json:
        """Two members may be one Avro type (`str | UUID`): the later is put into a record of one field, which adds
        no byte but a name."""
        branches: list[Json] = []
        kinds: set[str | None] = {None}
        for member in union.members:
            kind = _unnamed_kind(member)
            wrap = kind in kinds and kind is not None
            branches.append(self.wrapped(member, path) if wrap else self.type(member, path))
            kinds.add(kind)
        return branches

    def wrapped(self, member: FieldType, path: _Path) -> Json:
        own = python_class(member).__name__
        inside = path.then(own if NAME.fullmatch(own) else "enum")
        name = self.unique(inside.names[0], object())
        aliases = [f"{self.nested}.{alias}" for alias in inside.names[1:]]
        fields = [{"name": "value", "type": self.type(member, inside)}]
        return _named("record", name, self.nested, aliases, fields=fields)

    @property
    def nested(self) -> str:
        return f"{self.namespace}.{self.name}"

    def named(self, declared: FieldType, path: _Path) -> Json:
        if isinstance(declared, Fixed):
            return self.once(f"fixed{declared.size}", declared, lambda name: _fixed(name, declared.size))
        if isinstance(declared, EnumOf):
            symbols = list(enum_symbols(declared.cls) or ())
            return self.once(declared.cls.__name__, declared.cls, lambda name: self.enum(name, symbols, ()))
        if isinstance(declared, RecordOf):
            return self.once(declared.record.name, declared.record.cls, lambda _: self.record(declared.record))
        names = path.then("literal" if isinstance(declared, LiteralOf) else "tuple").names
        if isinstance(declared, LiteralOf):
            literal = list(literal_symbols(declared) or ())
            return self.once(names[0], object(), lambda name: self.enum(name, literal, names[1:]))
        assert isinstance(declared, TupleOf)
        return self.once(names[0], object(), lambda name: self.tuple(name, names[1:], declared, path))

    def once(self, name: str, meaning: object, define: Callable[[str], Json]) -> Json:
        if self.defined.get(name) is meaning or (isinstance(meaning, Fixed) and self.defined.get(name) == meaning):
            return f"eventsrc.{name}" if isinstance(meaning, Fixed) else f"{self.nested}.{name}"
        return define(self.unique(name, meaning))

    def unique(self, name: str, meaning: object) -> str:
        if not NAME.fullmatch(name):
            raise DeclarationError(f"{self.name}: Avro takes no type named {name!r}: letters, digits, underscores")
        if name in self.defined:
            raise DeclarationError(f"{self.name}: two nested types are named {name!r}: rename one of the classes")
        self.defined[name] = meaning
        return name

    def enum(self, name: str, symbols: list[str], aliases: tuple[str, ...]) -> Json:
        return _named("enum", name, self.nested, [f"{self.nested}.{alias}" for alias in aliases], symbols=symbols)

    def record(self, record: RecordType) -> Json:
        fields = self.fields(record, _Path((record.name, *record.aliases)))
        aliases = [alias if "." in alias else f"{self.nested}.{alias}" for alias in record.aliases]
        return _named("record", record.name, self.nested, aliases, fields=fields)

    def tuple(self, name: str, aliases: tuple[str, ...], declared: TupleOf, path: _Path) -> Json:
        fields = [
            {"name": f"item_{index}", "type": self.type(item, path.then(f"item_{index}"))}
            for index, item in enumerate(declared.items)
        ]
        return _named("record", name, self.nested, [f"{self.nested}.{alias}" for alias in aliases], fields=fields)


def _named(kind: str, name: str, namespace: str, aliases: list[str], **rest: Json) -> Json:
    out = {"type": kind, "name": name, "namespace": namespace, **rest}
    if aliases:
        out["aliases"] = aliases
    return out


def _fixed(name: str, size: int) -> Json:
    return {"type": "fixed", "name": name, "namespace": "eventsrc", "size": size}


def _unnamed_kind(declared: FieldType) -> str | None:
    """What Avro allows once in a union: a primitive, an array, a map. None for named types, of which it allows any."""
    if isinstance(declared, Primitive):
        schema = _PRIMITIVES[declared.kind]
        return schema if isinstance(schema, str) else str(schema["type"])
    if isinstance(declared, LiteralOf):
        return None if literal_symbols(declared) is not None else str(_PRIMITIVES[type(declared.values[0]).__name__])
    if isinstance(declared, EnumOf):
        return None if enum_symbols(declared.cls) is not None else "string"
    if isinstance(declared, ListOf | SetOf) or (isinstance(declared, TupleOf) and declared.variadic):
        return "array"
    return {DecimalScaled: "bytes", DictOf: "map"}.get(type(declared))


def _finite(value: Any) -> bool:
    """JSON has no number for the others: such a default stands in the code alone."""
    return not isinstance(value, float) or math.isfinite(value)


def default_json(declared: FieldType, value: Any) -> Json:
    """A default as Avro writes it into a schema."""
    if isinstance(declared, Primitive):
        return _SCALAR_DEFAULTS.get(declared.kind, _unchanged)(value)
    if isinstance(declared, DecimalScaled):
        return scaled_bytes(declared.places)(value).decode("latin-1")
    if isinstance(declared, Fixed):
        return value.decode("latin-1")
    if isinstance(declared, EnumOf):
        return value.name
    if isinstance(declared, LiteralOf):
        return value
    if isinstance(declared, ListOf | SetOf):
        return [default_json(declared.item, item) for item in value]
    if isinstance(declared, DictOf):
        return {key: default_json(declared.value, item) for key, item in value.items()}
    if isinstance(declared, TupleOf):
        items = [default_json(declared.items[0 if declared.variadic else i], item) for i, item in enumerate(value)]
        return items if declared.variadic else {f"item_{index}": item for index, item in enumerate(items)}
    if isinstance(declared, UnionOf):
        return default_json(next(member for member in declared.members if is_of(member, value)), value)
    return {field.name: default_json(wire_type(field), getattr(value, field.name)) for field in declared.record.fields}


def _unchanged(value: Any) -> Json:
    return value


_SCALAR_DEFAULTS: dict[str, Callable[[Any], Json]] = {
    "bytes": lambda value: value.decode("latin-1"),
    "uuid": str,
    "decimal-text": str,
    "datetime": microseconds_of,
    "date": days_of,
    "time": time_of_day_of,
    "timedelta": timedelta_of,
}

"""The types that a field of a command, an event or an aggregate may have.

This is the seam between the two halves of declaration: `model` reads annotations into these
descriptions, `codec` turns descriptions into Avro schemas and generated code. Nothing here knows
Avro, and nothing in `codec` reads an annotation.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

PrimitiveKind = Literal[
    "null", "bool", "int", "float", "str", "bytes", "uuid", "datetime", "date", "time", "timedelta", "decimal-text"
]


@dataclass(frozen=True, slots=True)
class Primitive:
    """A type without parameters. `int` is 64-bit; `datetime` is aware, to the microsecond;
    `decimal-text` is a Decimal that keeps its exact scale."""

    kind: PrimitiveKind


@dataclass(frozen=True, slots=True)
class Fixed:
    """Exactly `size` bytes. Used by the framework's own records; no annotation maps to it."""

    size: int


@dataclass(frozen=True, slots=True)
class DecimalScaled:
    """A Decimal with a fixed number of decimal places, at most 38 digits."""

    places: int


@dataclass(frozen=True, slots=True)
class EnumOf:
    """An `enum.Enum` class; written by member name."""

    cls: type[enum.Enum]


@dataclass(frozen=True, slots=True)
class LiteralOf:
    """`Literal[...]` whose values are all `str`, or all `int`, or all `bool`."""

    values: tuple[str | int | bool, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    item: FieldType


@dataclass(frozen=True, slots=True)
class TupleOf:
    """`tuple[A, B]`: one item type a place. `tuple[A, ...]` is `variadic` with one item."""

    items: tuple[FieldType, ...]
    variadic: bool


@dataclass(frozen=True, slots=True)
class SetOf:
    """Written in the order of the encoded items, so that equal sets have equal bytes."""

    item: FieldType
    frozen: bool


@dataclass(frozen=True, slots=True)
class DictOf:
    """Keys are `str`; written in insertion order, so that a decoded copy iterates alike."""

    value: FieldType


@dataclass(frozen=True, slots=True)
class UnionOf:
    """`A | B`, `Optional[A]`. Members are distinguishable by their Python class; null, if any, is first."""

    members: tuple[FieldType, ...]


@dataclass(frozen=True, slots=True)
class RecordOf:
    record: RecordType


FieldType = (
    Primitive | Fixed | DecimalScaled | EnumOf | LiteralOf | ListOf | TupleOf | SetOf | DictOf | UnionOf | RecordOf
)


class Missing(enum.Enum):
    """The default of a field that has none."""

    MISSING = enum.auto()


MISSING = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Field:
    """One field. At most one of `default` and `default_factory` is given (`list`, `dict`, `set` or a
    nested class). `aliases` are the names that older writers used."""

    name: str
    type: FieldType
    default: Any = MISSING
    default_factory: Callable[[], Any] | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordType:
    """A class with fields, in declaration order. `cls(*values)` in that order constructs it."""

    cls: type
    name: str
    fields: tuple[Field, ...]
    aliases: tuple[str, ...] = ()

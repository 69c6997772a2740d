"""What a writer does not take, and where it says the mistake is."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from eventsrc.codec.nodes import RecordNode, parse
from eventsrc.codec.reader import compile_reader
from eventsrc.codec.resolution import build
from eventsrc.codec.schema import state_schema
from eventsrc.codec.writer import compile_writer
from eventsrc.errors import EncodingError
from eventsrc.model.types import (
    DecimalScaled,
    DictOf,
    EnumOf,
    Field,
    FieldType,
    Fixed,
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
    RED = 1


class Other(enum.Enum):
    RED = 1


class Text(str): ...


class Number(int): ...


@dataclass
class Inner:
    price: int


@dataclass
class SubInner(Inner): ...


@dataclass
class Outer:
    f: Any
    rest: list[Any] = field(default_factory=list)


INNER = RecordOf(RecordType(Inner, "Inner", (Field("price", Primitive("int")),)))


def of(kind: PrimitiveKind) -> Primitive:
    return Primitive(kind)


def outer(declared: FieldType) -> tuple[RecordType, RecordNode]:
    record = RecordType(Outer, "Outer", (Field("f", declared),))
    node = parse(state_schema("test.things", "Outer", record))
    assert isinstance(node, RecordNode)
    return record, node


REFUSED: list[tuple[FieldType, Any, str]] = [
    (of("int"), True, "Outer.f: bool where int is declared: the subclass would be lost; convert it to int"),
    (of("int"), 1 << 63, "Outer.f: 9223372036854775808 does not fit in 64 bits"),
    (of("int"), -(1 << 63) - 1, "Outer.f: -9223372036854775809 does not fit in 64 bits"),
    (of("int"), 1.0, "Outer.f: float where int is declared"),
    (of("int"), Number(1), "Outer.f: Number where int is declared: the subclass would be lost; convert it to int"),
    (of("int"), None, "Outer.f: None where int is declared"),
    (of("float"), 1, "Outer.f: int where float is declared: it would come back as a float; write 1.0 or float(...)"),
    (of("bool"), 1, "Outer.f: int where bool is declared"),
    (of("str"), b"a", "Outer.f: bytes where str is declared"),
    (of("str"), Text("a"), "Outer.f: Text where str is declared: the subclass would be lost; convert it to str"),
    (of("str"), "a\ud800", "Outer.f: 'a\\ud800' holds a lone surrogate at 1, which UTF-8 refuses"),
    (of("bytes"), "a", "Outer.f: str where bytes is declared"),
    (of("bytes"), bytearray(b"a"), "Outer.f: bytearray where bytes is declared"),
    (of("datetime"), datetime(2026, 1, 1), "a datetime without a time zone"),
    (of("datetime"), date(2026, 1, 1), "Outer.f: date where datetime is declared"),
    (of("date"), datetime(2026, 1, 1, tzinfo=UTC), "Outer.f: datetime where date is declared: the subclass"),
    (of("time"), time(1, tzinfo=UTC), "a time with a time zone, which time-micros does not keep"),
    (of("timedelta"), timedelta.max, "in microseconds does not fit in 64 bits"),
    (of("uuid"), "00000000-0000-0000-0000-000000000000", "Outer.f: str where UUID is declared"),
    (of("decimal-text"), Decimal("NaN"), "Outer.f: Decimal('NaN'): not a finite number"),
    (of("decimal-text"), Decimal("Infinity"), "not a finite number"),
    (of("decimal-text"), 1, "Outer.f: int where Decimal is declared"),
    (DecimalScaled(2), Decimal("1.001"), "Outer.f: Decimal('1.001') is not a number of at most 2 decimal places"),
    (DecimalScaled(2), Decimal("NaN"), "is not a number of at most 2 decimal places and 38 digits"),
    (DecimalScaled(2), Decimal("sNaN"), "is not a number of at most 2 decimal places and 38 digits"),
    (DecimalScaled(2), Decimal("-Infinity"), "is not a number of at most 2 decimal places and 38 digits"),
    (DecimalScaled(2), Decimal("1E+36"), "is not a number of at most 2 decimal places and 38 digits"),
    (Fixed(3), b"ab", "Outer.f: 2 bytes where 3 are declared"),
    (EnumOf(Colour), Other.RED, "Outer.f: Other where Colour is declared"),
    (EnumOf(Colour), 1, "Outer.f: int where Colour is declared"),
    (LiteralOf(("a", "b")), "c", "Outer.f: 'c' is none of 'a', 'b'"),
    (LiteralOf((1, 2)), True, "Outer.f: True is none of 1, 2"),
    (LiteralOf((True,)), 1, "Outer.f: 1 is none of True"),
    (ListOf(of("int")), (1, 2), "Outer.f: tuple where list is declared"),
    (ListOf(of("int")), [1, "2"], "Outer.f[1]: str where int is declared"),
    (ListOf(INNER), [Inner(1), Inner(1.5)], "Outer.f[1].price: float where int is declared"),  # type: ignore[arg-type]
    (SetOf(of("int"), False), frozenset({1}), "Outer.f: frozenset where set is declared"),
    (SetOf(of("int"), True), {1}, "Outer.f: set where frozenset is declared"),
    (SetOf(of("int"), False), {"a"}, "Outer.f{}: str where int is declared"),
    (TupleOf((of("int"), of("str")), False), (1, "a", 2), "Outer.f: 3 items where 2 are declared"),
    (TupleOf((of("int"), of("str")), False), (1, 2), "Outer.f[1]: int where str is declared"),
    (TupleOf((of("int"),), True), (1, None), "Outer.f[1]: None where int is declared"),
    (DictOf(of("int")), {"a": 1, 2: 2}, "Outer.f[2]: a key of type int where str is declared"),
    (DictOf(of("int")), {"a": "b"}, "Outer.f['a']: str where int is declared"),
    (DictOf(of("int")), {"\ud800": 1}, "holds a lone surrogate"),
    (UnionOf((of("null"), of("int"))), "a", "Outer.f: str where None | int is declared"),
    (UnionOf((of("null"), of("int"))), True, "Outer.f: bool where None | int is declared"),
    (UnionOf((of("null"), DictOf(INNER))), {"k": Inner(None)}, "Outer.f['k'].price: None where int"),  # type: ignore[arg-type]
    (INNER, SubInner(1), "Outer.f: SubInner where Inner is declared: the subclass would be lost; convert it to Inner"),
    (INNER, None, "Outer.f: None where Inner is declared"),
    (ListOf(of("null")), [None] * 5000, "more than 4096 items that take no bytes"),
]


@pytest.mark.parametrize(("declared", "value", "message"), REFUSED)
def test_the_message_says_where_and_why(declared: FieldType, value: Any, message: str) -> None:
    record, node = outer(declared)
    write = compile_writer("test.things.Outer", record, node, "value")
    with pytest.raises(EncodingError) as refused:
        write(Outer(value))
    assert message in str(refused.value)
    assert len(str(refused.value)) < 300


TAKEN: list[tuple[FieldType, Any]] = [
    (of("float"), float("inf")),
    (of("float"), -0.0),
    (DecimalScaled(2), Decimal("1.5000")),
    (DecimalScaled(2), Decimal("1E+3")),
    (DecimalScaled(2), Decimal("-0.00")),
    (DecimalScaled(0), Decimal(10**38 - 1)),
    (of("decimal-text"), Decimal("-1.50E-7")),
    (of("int"), -(1 << 63)),
    (of("datetime"), datetime(2026, 11, 22, 12, tzinfo=UTC)),
    (of("str"), "\U0001f600\0"),
]


@pytest.mark.parametrize(("declared", "value"), TAKEN)
def test_what_comes_back_equal_is_taken(declared: FieldType, value: Any) -> None:
    record, node = outer(declared)
    written = compile_writer("Outer", record, node, "value")(Outer(value))
    back = compile_reader("Outer", build(record, node, node), "value", 0)(written)
    assert back.f == value
    assert type(back.f) is type(value)


def test_nan_comes_back_as_nan() -> None:
    record, node = outer(of("float"))
    written = compile_writer("Outer", record, node, "value")(Outer(float("nan")))
    back = compile_reader("Outer", build(record, node, node), "value", 0)(written)
    assert back.f != back.f


def test_a_field_that_was_deleted_is_named() -> None:
    record, node = outer(of("uuid"))
    value = Outer(UUID(int=1))
    del value.f
    with pytest.raises(EncodingError, match=r"Outer\.f: it is not set"):
        compile_writer("Outer", record, node, "value")(value)


def test_a_number_too_long_to_print_is_refused_like_any_other() -> None:
    record, node = outer(of("int"))
    with pytest.raises(EncodingError, match=r"Outer\.f: a value of type int does not fit in 64 bits"):
        compile_writer("Outer", record, node, "value")(Outer(10**5000))

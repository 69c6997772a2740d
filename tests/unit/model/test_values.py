from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from eventsrc.model import types
from eventsrc.model.values import misfit

INT, STR = types.Primitive("int"), types.Primitive("str")
MONEY = types.DecimalScaled(2)


class Colour(enum.Enum):
    RED = 1


@dataclass
class Line:
    sku: str


LINE = types.RecordOf(types.RecordType(Line, "Line", (types.Field("sku", STR),)))


@pytest.mark.parametrize(
    ("field_type", "value"),
    [
        (INT, 2**63 - 1),
        (INT, -(2**63)),
        (types.Primitive("datetime"), datetime(2026, 1, 1, tzinfo=UTC)),
        (types.Primitive("null"), None),
        (types.Fixed(2), b"ab"),
        (MONEY, Decimal("1.50")),
        (MONEY, Decimal("1.500")),
        (MONEY, Decimal("1E+3")),
        (MONEY, Decimal("0E-10")),
        (MONEY, Decimal("9" * 36 + ".99")),
        (types.EnumOf(Colour), Colour.RED),
        (types.LiteralOf((1, 2)), 2),
        (types.TupleOf((INT, STR), variadic=False), (1, "a")),
        (types.SetOf(STR, frozen=True), frozenset({"a"})),
        (types.DictOf(INT), {"a": 1}),
        (LINE, Line("tea")),
        (types.UnionOf((INT, STR)), "a"),
    ],
)
def test_what_fits(field_type: types.FieldType, value: Any) -> None:
    assert misfit(field_type, value) is None


@pytest.mark.parametrize(
    ("field_type", "value", "reason"),
    [
        (INT, 2**63, "has more than 64 bits"),
        (INT, True, "is no int"),
        (INT, 1.0, "is no int"),
        (types.Primitive("float"), 1, "is no float"),
        (types.Primitive("null"), 0, "is not None"),
        (types.Primitive("datetime"), datetime(2026, 1, 1), "has no time zone"),
        (types.Primitive("time"), time(1, tzinfo=UTC), "has a time zone, which a time of day does not keep"),
        (types.Primitive("decimal-text"), Decimal("Infinity"), "is not finite"),
        (STR, "\ud800", "holds a lone surrogate, which UTF-8 refuses"),
        (types.Fixed(2), b"abc", "is not 2 bytes"),
        (MONEY, 1, "is no Decimal"),
        (MONEY, Decimal("NaN"), "is not finite"),
        (MONEY, Decimal("1.005"), "has more than 2 decimal places"),
        (MONEY, Decimal("9" * 37), "has more than 38 digits"),
        (types.EnumOf(Colour), 1, "is no member of Colour"),
        (types.LiteralOf((1, 2)), True, "is none of 1, 2"),
        (types.ListOf(INT), (1,), "is no list"),
        (types.ListOf(INT), [1, "a"], "holds 'a', which is no int"),
        (types.ListOf(types.ListOf(INT)), [["a"]], "holds ['a'], which holds 'a', which is no int"),
        (types.TupleOf((INT,), variadic=True), [1], "is no tuple"),
        (types.TupleOf((INT, STR), variadic=False), (1,), "has 1 items instead of 2"),
        (types.SetOf(STR, frozen=False), frozenset(), "is no set"),
        (types.DictOf(INT), {1: 1}, "has the key 1, which is no str"),
        (types.DictOf(INT), {"a": "b"}, "holds 'b', which is no int"),
        (types.DictOf(INT), [], "is no dict"),
        (LINE, "tea", "is no Line"),
        (LINE, Line(5), "holds sku=5, which is no str"),  # type: ignore[arg-type]  # what an untyped caller may do
        (types.UnionOf((INT, STR)), 1.5, "fits no member of the union"),
        (types.UnionOf((INT, STR)), 2**64, "has more than 64 bits"),
    ],
)
def test_what_does_not_fit(field_type: types.FieldType, value: Any, reason: str) -> None:
    assert misfit(field_type, value) == reason

"""Which annotation becomes which field type."""

from __future__ import annotations

import enum
import typing
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NewType, Optional, Union
from uuid import UUID

import pytest
from annotated_types import Gt
from pydantic import AfterValidator, Field, PositiveInt, conint

from eventsrc.model import types
from eventsrc.model.annotations import TypeReader
from eventsrc.model.refusals import Unreadable
from eventsrc.model.scope import Scope
from eventsrc.model.spelling import described

INT, STR, NULL = types.Primitive("int"), types.Primitive("str"), types.Primitive("null")
CustomerId = NewType("CustomerId", str)


class Colour(enum.StrEnum):
    RED = "r"
    BLUE = "b"


@dataclass
class Line:
    sku: str
    quantity: int = 1
    tags: list[str] = field(default_factory=list, metadata={"aliases": ["labels"]})


LINE = types.RecordType(
    Line,
    "Line",
    (
        types.Field("sku", STR),
        types.Field("quantity", INT, default=1),
        types.Field("tags", types.ListOf(STR), default_factory=list, aliases=("labels",)),
    ),
)


def read(annotation: Any) -> tuple[types.FieldType, bool]:
    reader = TypeReader(Scope(globals(), {}), {})
    return reader.read(annotation), reader.constrained


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, STR),
        (int, INT),
        (float, types.Primitive("float")),
        (bool, types.Primitive("bool")),
        (bytes, types.Primitive("bytes")),
        (Decimal, types.Primitive("decimal-text")),
        (datetime, types.Primitive("datetime")),
        (date, types.Primitive("date")),
        (time, types.Primitive("time")),
        (timedelta, types.Primitive("timedelta")),
        (UUID, types.Primitive("uuid")),
        (Colour, types.EnumOf(Colour)),
        (Literal["a", "b"], types.LiteralOf(("a", "b"))),
        (Literal[1, 2], types.LiteralOf((1, 2))),
        (Literal[True], types.LiteralOf((True,))),
        (list[int], types.ListOf(INT)),
        (typing.List[int], types.ListOf(INT)),  # noqa: UP006 - the old spelling is the point
        (tuple[int, str], types.TupleOf((INT, STR), variadic=False)),
        (tuple[int, ...], types.TupleOf((INT,), variadic=True)),
        (set[str], types.SetOf(STR, frozen=False)),
        (frozenset[str], types.SetOf(STR, frozen=True)),
        (dict[str, list[int]], types.DictOf(types.ListOf(INT))),
        (int | None, types.UnionOf((NULL, INT))),
        (Optional[int], types.UnionOf((NULL, INT))),  # noqa: UP045 - the old spelling is the point
        (Union[int, Union[str, None]], types.UnionOf((NULL, INT, STR))),  # noqa: UP007 - as above
        (int | float | bool, types.UnionOf((INT, types.Primitive("float"), types.Primitive("bool")))),
        (list[int] | tuple[int, ...], types.UnionOf((types.ListOf(INT), types.TupleOf((INT,), variadic=True)))),
        (Line, types.RecordOf(LINE)),
        (Line | Colour | None, types.UnionOf((NULL, types.RecordOf(LINE), types.EnumOf(Colour)))),
        (CustomerId, STR),
        (Final[int], INT),
        (Annotated[int, "documented"], INT),
    ],
)
def test_unconstrained(annotation: Any, expected: types.FieldType) -> None:
    assert read(annotation) == (expected, False)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Annotated[int, Field(gt=0)], INT),
        (Annotated[Decimal, Field(decimal_places=2)], types.DecimalScaled(2)),
        (Annotated[Decimal | None, Field(decimal_places=2)], types.UnionOf((NULL, types.DecimalScaled(2)))),
        (list[Annotated[Decimal, Field(decimal_places=0)]], types.ListOf(types.DecimalScaled(0))),
        (Annotated[int, Gt(0)], INT),
        (PositiveInt, INT),
        (conint(gt=0), INT),
        (Annotated[str, AfterValidator(str.strip)], STR),
        (list[Annotated[str, Field(min_length=1)]], types.ListOf(STR)),
        (Annotated[int, Field(gt=0)] | None, types.UnionOf((NULL, INT))),
    ],
)
def test_constrained(annotation: Any, expected: types.FieldType) -> None:
    assert read(annotation) == (expected, True)


def test_a_description_is_no_constraint() -> None:
    assert read(Annotated[int, Field(description="how many")]) == (INT, False)


@pytest.mark.parametrize(
    "annotation",
    [
        *(list, dict, Any, object, complex, dict[int, str], tuple[()], typing.Sequence[int], "int", Literal[1, "a"], 5),
        *(Annotated[int, Field(default=5)], Annotated[int, Field(alias="old")], dict[str, Any], list[dict[int, int]]),
    ],
)
def test_refused(annotation: Any) -> None:
    with pytest.raises(Unreadable):
        read(annotation)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (dict[str, list[Line | None]], "dict[str, list[None | Line]]"),
        (tuple[Decimal, ...], "tuple[Decimal, ...]"),
        (frozenset[UUID], "frozenset[UUID]"),
        (Literal["a", "b"], "Literal['a', 'b']"),
    ],
)
def test_described_as_people_write_it(annotation: Any, text: str) -> None:
    assert described(read(annotation)[0]) == text


def test_neither_a_field_nor_a_method_hides_a_type_of_its_name() -> None:
    class Nested: ...

    body = {"date": None, "set": len, "Nested": Nested, "Warning": Nested}
    scope = Scope(globals(), {})
    assert scope.resolve("date | None", body) == date | None
    assert scope.resolve("set[str]", body) == set[str]
    assert (scope.resolve("Nested", body), scope.resolve("Warning", body)) == (Nested, Nested)

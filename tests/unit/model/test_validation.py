"""Constraints, and messages from JSON."""

from __future__ import annotations

import enum
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AfterValidator, Field

from eventsrc import DeclarationError, InvalidCommand, Pipeline
from eventsrc.model.constraints import surely_valid

pipeline = Pipeline("shop")


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Line:
    sku: Annotated[str, Field(min_length=2)]
    quantity: Annotated[int, Field(gt=0)] = 1


@pipeline.command
class Everything:
    integer: int
    real: float
    yes: bool
    text: str
    raw: bytes
    money: Annotated[Decimal, Field(decimal_places=2)]
    exact: Decimal
    at: datetime
    on: date
    when: time
    lasting: timedelta
    key: UUID
    colour: Colour
    mode: Literal["a", "b"]
    many: tuple[int, ...]
    pair: tuple[int, str]
    tags: set[str]
    by_name: dict[str, int]
    lines: Annotated[list[Line], Field(min_length=1)]
    either: int | str | None = None
    copy: frozenset[int] = frozenset()  # a name that a pydantic model would refuse


JSON = {
    "integer": 5,
    "real": 2,
    "yes": True,
    "text": "t",
    "raw": "+/8=",
    "money": "1.50",
    "exact": 0.1,
    "at": "2026-11-22T10:00:00.000001+02:00",
    "on": "2026-11-22",
    "when": "10:00:00",
    "lasting": "PT1.5S",
    "key": "00000000-0000-0000-0000-000000000005",
    "colour": "red",
    "mode": "a",
    "many": [1, 2],
    "pair": [1, "x"],
    "tags": ["x", "x"],
    "by_name": {"a": 1},
    "lines": [{"sku": "tea", "quantity": 2}, {"sku": "milk"}],
    "copy": [1],
}
everything = pipeline.commands[Everything]


def test_from_json_takes_what_json_carries() -> None:
    assert everything.from_json(JSON) == Everything(
        integer=5,
        real=2.0,
        yes=True,
        text="t",
        raw=b"\xfb\xff",
        money=Decimal("1.50"),
        exact=Decimal("0.1"),
        at=datetime(2026, 11, 22, 8, 0, 0, 1, tzinfo=UTC),
        on=date(2026, 11, 22),
        when=time(10),
        lasting=timedelta(seconds=1.5),
        key=UUID(int=5),
        colour=Colour.RED,
        mode="a",
        many=(1, 2),
        pair=(1, "x"),
        tags={"x"},
        by_name={"a": 1},
        lines=[Line("tea", 2), Line("milk")],
        either=None,
        copy=frozenset({1}),
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("integer", "5", "Everything.integer: input should be a valid integer, not '5'"),
        ("integer", 2**63, "Everything.integer: 9223372036854775808 has more than 64 bits"),
        ("yes", 1, "Everything.yes: input should be a valid boolean, not 1"),
        ("raw", "!", "Everything.raw: data should be valid base64: Invalid symbol 33, offset 0., not '!'"),
        ("money", "1.555", "Everything.money: decimal input should have no more than 2 decimal places, not '1.555'"),
        ("exact", "NaN", "Everything.exact: input should be a finite number, not 'NaN'"),
        ("at", "2026-11-22T10:00:00", "Everything.at: '2026-11-22T10:00:00' has no time zone"),
        ("colour", "blue", "Everything.colour: input should be 'red', not 'blue'"),
        ("mode", "c", "Everything.mode: input should be 'a' or 'b', not 'c'"),
        ("many", [1, "2"], "Everything.many[1]: input should be a valid integer, not '2'"),
        ("by_name", {"a": None}, "Everything.by_name.a: input should be a valid integer, not None"),
        ("lines", [{"sku": "tea", "count": 2}], "Everything.lines[0].count: there is no such field"),
        ("lines", [{"sku": "t"}], "Everything.lines[0].sku: string should have at least 2 characters, not 't'"),
    ],
)
def test_from_json_names_the_field_and_the_value(field: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidCommand) as raised:
        everything.from_json({**JSON, field: value})
    assert str(raised.value) == message


@pipeline.command
class Transfer:
    to: Annotated[str, Field(min_length=1)]
    amount: Annotated[int, Field(gt=0, le=100)]
    note: str = ""


transfer = pipeline.commands[Transfer]


def test_from_json_says_what_it_takes() -> None:
    with pytest.raises(InvalidCommand) as raised:
        transfer.from_json({"amuont": 5, "to": "bob"})
    assert str(raised.value) == (
        "Transfer.amount: missing; Transfer.amuont: there is no such field; "
        'it takes {"to", "amount", "note" (optional)}'
    )
    with pytest.raises(InvalidCommand, match="5 is no JSON object; it takes"):
        transfer.from_json(5)  # type: ignore[arg-type]  # what a JSON text may hold


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Transfer("bob", 0), "Transfer.amount: input should be greater than 0, not 0"),
        (Transfer("bob", 101), "Transfer.amount: input should be less than or equal to 100, not 101"),
        (Transfer("", 5), "Transfer.to: string should have at least 1 character, not ''"),
        (Transfer("bob", True), "Transfer.amount: input should be a valid integer, not True"),
    ],
)
def test_validate_words_what_is_broken(command: Transfer, message: str) -> None:
    with pytest.raises(InvalidCommand) as raised:
        transfer.validate(command)
    assert str(raised.value) == message


def test_validate_passes_what_holds() -> None:
    transfer.validate(Transfer("bob", 100))
    everything.validate(everything.from_json(JSON))


@pytest.mark.parametrize("constraint", [Field(min_length=3), Field(pattern="[")], ids=["misfit", "broken"])
def test_a_constraint_that_does_not_fit_its_field_is_named(constraint: Any) -> None:
    made = type("Odd", (), {"__annotations__": {"number": Annotated[int, constraint]}})
    message = pipeline.commands[pipeline.command(made)]
    with pytest.raises(DeclarationError, match=r"class Odd: the constraints of number cannot be checked"):
        message.validate(message.cls(5))


def test_check_finds_a_constraint_that_cannot_be_made() -> None:
    made = type("Broken", (), {"__annotations__": {"text": Annotated[str, Field(pattern="[")]}})
    with pytest.raises(DeclarationError, match=r"class Broken: the constraints of text cannot be checked"):
        pipeline.commands[pipeline.command(made)].check_constraints()


def test_validate_looks_into_nested_classes() -> None:
    command = everything.from_json(JSON)
    command.lines[1].quantity = 0
    with pytest.raises(InvalidCommand, match=r"Everything.lines\[1\].quantity: input should be greater than 0, not 0"):
        everything.validate(command)


def fast(annotation: Any) -> Callable[[Any], bool] | None:
    check = surely_valid({"it": annotation}, ["it"])
    return check and (lambda value: check(type("Holder", (), {"it": value})()))


@pytest.mark.parametrize(
    ("annotation", "valid", "unsure"),
    [
        (Annotated[int, Field(gt=0)], [1, 2**70], [0, True, "1", 1.0]),
        (Annotated[float, Field(ge=0, lt=1)], [0.0, 0.5], [1.0, float("nan"), 0]),
        (Annotated[str, Field(min_length=1, max_length=3)], ["a", "abc"], ["", "abcd", b"a"]),
        (Annotated[list[int], Field(max_length=1)], [[], [1]], [[1, 2], (1,)]),
        (
            Annotated[Decimal, Field(gt=0, decimal_places=2)],
            [Decimal("0.01"), Decimal("5")],
            [Decimal(0), Decimal("0.001"), Decimal("NaN"), Decimal("sNaN"), 1],
        ),
        (Annotated[int, Field(gt=0)] | None, [None, 1], [0, "x"]),
    ],
)
def test_the_fast_path_is_sure_only_of_what_is_valid(annotation: Any, valid: list[Any], unsure: list[Any]) -> None:
    sure = fast(annotation)
    assert sure is not None
    assert [sure(value) for value in valid] == [True] * len(valid)
    assert [sure(value) for value in unsure] == [False] * len(unsure)


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[str, Field(pattern="^a")],
        Annotated[str, AfterValidator(str.strip)],
        Annotated[int, Field(multiple_of=2)],
        Annotated[Decimal, Field(max_digits=3)],
        list[Annotated[int, Field(gt=0)]],
        list[Line],
        Annotated[int | None, Field(gt=0)],
        Annotated[int, Field(gt=0)] | str,
    ],
)
def test_the_fast_path_leaves_the_rest_to_pydantic(annotation: Any) -> None:
    assert fast(annotation) is None


PROGRAM = """
import sys
from eventsrc import Pipeline, apply, handle
pipeline = Pipeline("bank")
@pipeline.command
class Open: owner: str
@pipeline.event
class Opened: owner: str
@pipeline.aggregate
class Account:
    owner: str = ""
    @handle
    def open(self, command: Open) -> Opened: return Opened(command.owner)
    @apply
    def opened(self, event: Opened) -> None: self.owner = event.owner
pipeline.commands[Open].validate(Open("alice"))
heavy = {"pydantic", "sqlalchemy", "typer", "rich", "fastavro", "confluent_kafka"}
print(sorted(heavy & set(sys.modules)))
"""


def test_an_application_without_constraints_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_was_found_is_told_once() -> None:
    payload = {**JSON, "lines": []}
    with pytest.raises(InvalidCommand, match=r"Everything.lines: list should have at least 1 item .*, not 0$"):
        everything.from_json(payload)

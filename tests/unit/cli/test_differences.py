"""`log --diff` as a person reads it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from eventsrc import Pipeline, apply, handle
from eventsrc.cli.differences import differences, shown_fields

pipeline = Pipeline("differences")


class Status(enum.Enum):
    NEW = "new"
    PAID = "paid"


@dataclass
class Line:
    quantity: int = 0
    price: Decimal = Decimal("0")


@pipeline.command
class Do:
    pass


@pipeline.event
class Happened:
    pass


@pipeline.aggregate
class Order:
    sku: str = ""
    due: Decimal = Decimal("0")
    status: Status = Status.NEW
    main: Line = field(default_factory=Line)
    lines: dict[str, Line] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    coupon: str | None = None

    @handle
    def do(self, command: Do) -> Happened:
        return Happened()

    @apply
    def happened(self, event: Happened) -> None: ...


def changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    aggregate = pipeline.aggregates["order"]

    def shown(values: dict[str, object]) -> dict[str, object]:
        instance = aggregate.new(b"x")
        for name, value in values.items():
            setattr(instance, name, value)
        return shown_fields(aggregate.record, instance)  # type: ignore[return-value]  # a recursive type, shown as object

    return differences(shown(before), shown(after))  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, []),
        ({"sku": ""}, {"sku": "tea"}, ['sku "" -> "tea"']),
        ({"due": Decimal("0")}, {"due": Decimal("9.80")}, ["due 0 -> 9.80"]),
        ({"status": Status.NEW}, {"status": Status.PAID}, ["status new -> paid"]),
        ({"coupon": None}, {"coupon": "x"}, ['coupon null -> "x"']),
        ({"main": Line(1)}, {"main": Line(2)}, ["main.quantity 1 -> 2"]),
        (
            {"lines": {"tea": Line(1), "jam": Line(1)}},
            {"lines": {"tea": Line(1, Decimal("4.9")), "green tea": Line(2)}},
            [
                "lines.tea.price 0 -> 4.9",
                "lines.jam {quantity: 1, price: 0} -> (none)",
                'lines."green tea" (none) -> {quantity: 2, price: 0}',
            ],
        ),
        ({"notes": ["a"]}, {"notes": ["a", "b", "c"]}, ['notes + "b", "c"']),
        ({"notes": ["a", "b"]}, {"notes": ["a"]}, ['notes - "b"']),
        ({"notes": ["a", "b"]}, {"notes": ["b"]}, ['notes - "a"']),
        ({"notes": ["a", "b"]}, {"notes": ["a", "c"]}, ['notes[1] "b" -> "c"']),
        ({"notes": ["a", "b"]}, {"notes": ["c"]}, ['notes ["a", "b"] -> ["c"]']),
        ({"tags": {"a", "c"}}, {"tags": {"c", "b", "a"}}, ['tags + "b"']),
        ({"sku": ""}, {"sku": "x" * 100}, [f'sku "" -> "{"x" * 76}...']),
    ],
)
def test_what_changed(before: dict[str, object], after: dict[str, object], expected: list[str]) -> None:
    assert changed(before, after) == expected

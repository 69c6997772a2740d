"""A new aggregate is what one that was stored and read back is: in the form of its values too."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from eventsrc import Pipeline, apply, handle
from eventsrc.codec.catalog import Catalog

pipeline = Pipeline("forms")
Money = Annotated[Decimal, Field(decimal_places=2)]
EAST = timezone(timedelta(hours=2))


@dataclass
class Price:
    amount: Money = Decimal(7)
    name: str = "seven"


@dataclass(frozen=True)
class Rate:
    amount: Money = Decimal("1E+1")


@pipeline.command
class Touch:
    pass


@pipeline.event
class Touched:
    pass


@pipeline.aggregate
class Forms:
    plain: Decimal = Decimal("1.0")
    scaled: Money = Decimal(0)
    negative: Money = Decimal("-0")
    large: Annotated[Decimal, Field(decimal_places=0)] = Decimal("1E+37")
    exact: Money = Decimal("1.25")
    longer: Money = Decimal("1.5000")
    optional: Money | None = Decimal(3)
    nothing: Money | None = None
    both: tuple[Money, str] = (Decimal(4), "x")
    many: tuple[Money, ...] = (Decimal(4), Decimal("5.00"))
    some: frozenset[Money] = frozenset({Decimal(6)})
    moment: datetime = datetime(2026, 1, 1, 12, tzinfo=EAST)
    there: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC)
    daily: time = time(12, 30, fold=1)
    price: Price = field(default_factory=Price)
    rate: Rate = Rate()
    prices: list[Price] = field(default_factory=list)

    @handle
    def touch(self, command: Touch) -> Touched:
        return Touched()

    @apply
    def touched(self, event: Touched) -> None:
        pass


def values_of(instance: Any) -> dict[str, str]:
    return {each.name: repr(getattr(instance, each.name)) for each in pipeline.aggregate_type(Forms).record.fields}


def test_a_default_has_the_form_in_which_it_is_read() -> None:
    aggregate, catalog = pipeline.aggregate_type(Forms), Catalog(pipeline, None)
    new, read = aggregate.new(b"a"), aggregate.new(b"a")
    catalog.state_reader(aggregate)(catalog.snapshot_writer(aggregate)(new), read)
    assert values_of(new) == values_of(read)
    assert (new.scaled, str(new.scaled), str(new.price.amount)) == (Decimal(0), "0.00", "7.00")


def test_what_is_made_new_is_shared_with_no_other() -> None:
    aggregate = pipeline.aggregate_type(Forms)
    one, other = aggregate.new(b"a"), aggregate.new(b"b")
    assert one.price is not other.price
    assert one.prices is not other.prices
    assert Rate().amount.as_tuple() == Decimal("1E+1").as_tuple()  # the application's own default is left as it is
    assert Price().amount.as_tuple() == Decimal(7).as_tuple()

"""The shop's purchases in their second version. What changed since the first, and how v1's records are read:

- `Line.qty` is called `quantity`: renamed, the old name is an alias.
- `Line.note` and `Placed.address` are new and optional: old records have none. `Placed.gift` is new with a default.
- `Placed.campaign` is gone: it is passed over in old records.
- `weight` is a float: whole numbers of old records are promoted.
- `Dispatched` is called `Shipped`: the old name is an alias.
- `Shipping` has a new symbol, `PICKUP`.

Replaced by v3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated

from pydantic import Field

from eventsrc import Context, Pipeline, Rejected, apply, handle

pipeline = Pipeline("shop", recovery_time_objective="2s", checkpoint_interval="1s")

Money = Annotated[Decimal, Field(decimal_places=2, ge=0)]


class Shipping(Enum):
    STANDARD = "standard"
    EXPRESS = "express"
    PICKUP = "pickup"


class Status(Enum):
    NEW = "new"
    PLACED = "placed"
    PAID = "paid"
    SHIPPED = "shipped"


@dataclass
class Address:
    street: str
    city: str
    country: str = "NL"


@dataclass
class Line:
    sku: str
    quantity: int = field(metadata={"aliases": ["qty"]})
    price: Money
    note: str | None = None


# Commands.


@pipeline.command
class Place:
    customer: Annotated[str, Field(min_length=1)]
    lines: Annotated[list[Line], Field(min_length=1)]
    shipping: Shipping = Shipping.STANDARD
    address: Address | None = None
    gift: bool = False


@pipeline.command
class Pay:
    amount: Money


@pipeline.command
class Ship:
    weight: Annotated[float, Field(gt=0)]


# Events.


@pipeline.event
class Placed:
    customer: str
    lines: list[Line]
    shipping: Shipping
    at: datetime
    address: Address | None = None
    gift: bool = False


@pipeline.event
class Paid:
    amount: Money
    at: datetime


@pipeline.event(aliases=["Dispatched"])
class Shipped:
    weight: float  # kilograms
    at: datetime


@pipeline.aggregate(version=2)  # the state has other fields than in version 1: its checkpoints are not used
class Purchase:
    status: Status = Status.NEW
    customer: str = ""
    lines: list[Line] = field(default_factory=list)
    due: Money = Decimal("0.00")
    gift: bool = False
    weight: float = 0.0

    @handle
    def place(self, command: Place, context: Context) -> Placed:
        if self.status is not Status.NEW:
            raise Rejected("placed already", status=self.status.value)
        if command.address is None and command.shipping is not Shipping.PICKUP:
            raise Rejected("no address to ship to", shipping=command.shipping.value)
        return Placed(
            command.customer, command.lines, command.shipping, context.now, address=command.address, gift=command.gift
        )

    @handle
    def pay(self, command: Pay, context: Context) -> Paid:
        if self.status is not Status.PLACED or command.amount != self.due:
            raise Rejected("not what is due", due=self.due, status=self.status.value)
        return Paid(command.amount, context.now)

    @handle
    def ship(self, command: Ship, context: Context) -> Shipped:
        if self.status is not Status.PAID:
            raise Rejected("not paid", due=self.due, status=self.status.value)
        return Shipped(command.weight, context.now)

    @apply
    def placed(self, event: Placed) -> None:
        self.status = Status.PLACED
        self.customer = event.customer
        self.lines = event.lines
        self.gift = event.gift
        self.due = sum((line.price * line.quantity for line in event.lines), Decimal("0.00"))

    @apply
    def paid(self, event: Paid) -> None:
        self.status = Status.PAID
        self.due -= event.amount

    @apply
    def shipped(self, event: Shipped) -> None:
        self.status = Status.SHIPPED
        self.weight = event.weight

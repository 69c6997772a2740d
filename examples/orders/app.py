"""A shop's orders: the application as it is today, its third version.

Run it with `eventsrc dev examples.orders.app:pipeline`. `python3 tools/develop.py example orders` shows three versions write
one history.
What changed since the second version (`history/v2.py`), and how older records are read:

- The class `Purchase` is called `Order`. `name="purchase"` keeps its topics, its schema files and its history where they are.
- `Paid.method` is new and optional, one of two nested types: old payments have none.
- `Placed.gift`, a bool, became `Placed.wrapping`, optional. Another meaning is another field; the old one is passed over.
- What is due may be below zero until a refund: a constraint is no part of a schema, and old records are not held to it.
- `Cancel`, `Cancelled` and the symbols `DRONE` and `CANCELLED` are new: nothing old has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated

from pydantic import Field

from eventsrc import Context, Pipeline, Rejected, apply, compensate, handle

pipeline = Pipeline("shop", recovery_time_objective="2s", checkpoint_interval="1s")

Money = Annotated[Decimal, Field(decimal_places=2)]
Price = Annotated[Decimal, Field(decimal_places=2, ge=0)]


class Shipping(Enum):
    STANDARD = "standard"
    EXPRESS = "express"
    PICKUP = "pickup"
    DRONE = "drone"


class Status(Enum):
    NEW = "new"
    PLACED = "placed"
    PAID = "paid"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"


@dataclass
class Address:
    street: str
    city: str
    country: str = "NL"


@dataclass
class Line:
    sku: str
    quantity: int = field(metadata={"aliases": ["qty"]})
    price: Price
    note: str | None = None


@dataclass
class Card:
    last_digits: Annotated[str, Field(pattern=r"^\d{4}$")]
    expires: date


@dataclass
class Invoice:
    number: str


# Commands: what somebody asks for.


@pipeline.command
class Place:
    customer: Annotated[str, Field(min_length=1)]
    lines: Annotated[list[Line], Field(min_length=1)]
    shipping: Shipping = Shipping.STANDARD
    address: Address | None = None
    wrapping: str | None = None


@pipeline.command
class Pay:
    amount: Annotated[Decimal, Field(decimal_places=2, gt=0)]
    method: Card | Invoice | None = None


@pipeline.command
class Ship:
    weight: Annotated[float, Field(gt=0)]


@pipeline.command
class Cancel:
    reason: Annotated[str, Field(min_length=1)]


# Events: what has happened. Those of all three versions stand in one log.


@pipeline.event
class Placed:
    customer: str
    lines: list[Line]
    shipping: Shipping
    at: datetime
    address: Address | None = None
    wrapping: str | None = None


@pipeline.event
class Paid:
    amount: Money
    at: datetime
    method: Card | Invoice | None = None


@pipeline.event(aliases=["Dispatched"])
class Shipped:
    weight: float  # kilograms
    at: datetime


@pipeline.event
class Cancelled:
    reason: str


@pipeline.event
class Refunded:
    amount: Money


@pipeline.aggregate(name="purchase", version=3)
class Order:
    status: Status = Status.NEW
    customer: str = ""
    lines: list[Line] = field(default_factory=list)
    due: Money = Decimal("0.00")
    method: Card | Invoice | None = None
    weight: float | None = None
    placed_at: datetime | None = None

    @handle
    def place(self, command: Place, context: Context) -> Placed:
        if self.status is not Status.NEW:
            raise Rejected("placed already", status=self.status.value)
        if command.address is None and command.shipping is not Shipping.PICKUP:
            raise Rejected("no address to ship to", shipping=command.shipping.value)
        return Placed(command.customer, command.lines, command.shipping, context.now, command.address, command.wrapping)

    @handle
    def pay(self, command: Pay, context: Context) -> Paid:
        if self.status is not Status.PLACED or command.amount != self.due:
            raise Rejected("not what is due", due=self.due, status=self.status.value)
        return Paid(command.amount, context.now, command.method)

    @handle
    def ship(self, command: Ship, context: Context) -> Shipped:
        if self.status is not Status.PAID:
            raise Rejected("not paid", due=self.due, status=self.status.value)
        return Shipped(command.weight, context.now)

    @handle
    def cancel(self, command: Cancel) -> list[Cancelled | Refunded]:
        if self.status not in (Status.PLACED, Status.PAID):
            raise Rejected("too late or too early to cancel", status=self.status.value)
        cancelled = Cancelled(command.reason)
        return [cancelled, Refunded(self.total)] if self.status is Status.PAID else [cancelled]

    @apply
    def placed(self, event: Placed) -> None:
        self.status = Status.PLACED
        self.customer = event.customer
        self.lines = event.lines
        self.due = self.total
        self.placed_at = event.at

    @apply
    def paid(self, event: Paid) -> None:
        self.status = Status.PAID
        self.due -= event.amount
        self.method = event.method

    @apply
    def shipped(self, event: Shipped) -> None:
        self.status = Status.SHIPPED
        self.weight = event.weight

    @apply
    def cancelled(self, event: Cancelled) -> None:
        self.status = Status.CANCELLED
        self.due -= self.total

    @apply
    def refunded(self, event: Refunded) -> None:
        if self.status is Status.PAID:  # a payment was taken back
            self.status = Status.PLACED
        self.due += event.amount

    @compensate
    def refund(self, event: Paid) -> Refunded:
        return Refunded(event.amount)

    @property
    def total(self) -> Decimal:
        return sum((line.price * line.quantity for line in self.lines), Decimal("0.00"))

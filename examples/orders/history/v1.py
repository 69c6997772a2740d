"""The shop's purchases, as they were first written. Replaced by v2."""

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


class Status(Enum):
    NEW = "new"
    PLACED = "placed"
    PAID = "paid"
    SHIPPED = "shipped"


@dataclass
class Line:
    sku: str
    qty: int
    price: Money


# Commands.


@pipeline.command
class Place:
    customer: Annotated[str, Field(min_length=1)]
    lines: Annotated[list[Line], Field(min_length=1)]
    shipping: Shipping = Shipping.STANDARD


@pipeline.command
class Pay:
    amount: Money


@pipeline.command
class Ship:
    weight: Annotated[int, Field(gt=0)]


# Events.


@pipeline.event
class Placed:
    customer: str
    lines: list[Line]
    shipping: Shipping
    at: datetime
    campaign: str


@pipeline.event
class Paid:
    amount: Money
    at: datetime


@pipeline.event
class Dispatched:
    weight: int  # whole kilograms
    at: datetime


@pipeline.aggregate
class Purchase:
    status: Status = Status.NEW
    customer: str = ""
    lines: list[Line] = field(default_factory=list)
    due: Money = Decimal("0.00")
    weight: int = 0

    @handle
    def place(self, command: Place, context: Context) -> Placed:
        if self.status is not Status.NEW:
            raise Rejected("placed already", status=self.status.value)
        return Placed(command.customer, command.lines, command.shipping, context.now, campaign="opening")

    @handle
    def pay(self, command: Pay, context: Context) -> Paid:
        if self.status is not Status.PLACED or command.amount != self.due:
            raise Rejected("not what is due", due=self.due, status=self.status.value)
        return Paid(command.amount, context.now)

    @handle
    def ship(self, command: Ship, context: Context) -> Dispatched:
        if self.status is not Status.PAID:
            raise Rejected("not paid", due=self.due, status=self.status.value)
        return Dispatched(command.weight, context.now)

    @apply
    def placed(self, event: Placed) -> None:
        self.status = Status.PLACED
        self.customer = event.customer
        self.lines = event.lines
        self.due = sum((line.price * line.qty for line in event.lines), Decimal("0.00"))

    @apply
    def paid(self, event: Paid) -> None:
        self.status = Status.PAID
        self.due -= event.amount

    @apply
    def dispatched(self, event: Dispatched) -> None:
        self.status = Status.SHIPPED
        self.weight = event.weight

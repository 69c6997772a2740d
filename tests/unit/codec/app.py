"""A small pipeline that the codec's tests share."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Annotated

import pydantic

from eventsrc.model.aggregate import AggregateType
from eventsrc.model.marks import apply, handle
from eventsrc.model.pipeline import Pipeline

pipeline = Pipeline("my-bank")


class Channel(enum.Enum):
    WEB = "web"
    BRANCH = "branch"


@dataclass
class Address:
    street: str
    city: str = "Berlin"


@pipeline.command
class Deposit:
    amount: int


@pipeline.command
class Close:
    pass


@pipeline.event
class Deposited:
    amount: int
    note: str = ""
    rate: float = 1.0


@pipeline.event(aliases=["Terminated"])
class Closed:
    at: datetime
    address: Address
    channel: Channel
    fees: list[Annotated[Decimal, pydantic.Field(decimal_places=2)]] = field(default_factory=list)
    labels: dict[str, str | None] = field(default_factory=dict)


@pipeline.aggregate
class SavingsAccount:
    balance: int = 0
    labels: dict[str, set[int]] = field(default_factory=dict)

    @handle
    def deposit(self, command: Deposit) -> Deposited:
        return Deposited(command.amount)

    @handle
    def close(self, command: Close) -> None: ...

    @apply
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount

    @apply
    def closed(self, event: Closed) -> None: ...


@pipeline.aggregate
class Vault:
    @handle
    def deposit(self, command: Deposit) -> Deposited:
        return Deposited(command.amount)

    @apply
    def deposited(self, event: Deposited) -> None: ...


ACCOUNT: AggregateType = pipeline.aggregate_type(SavingsAccount)
VAULT: AggregateType = pipeline.aggregate_type(Vault)

"""What works without the plugin: a dataclass below the decorator, and the base class written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

from eventsrc import Aggregate, Pipeline, apply, handle

pipeline = Pipeline("bank")


@pipeline.command
@dataclass
class Deposit:
    amount: int


@pipeline.event
@dataclass
class Deposited:
    amount: int


@pipeline.aggregate
class Account(Aggregate):
    balance: int = 0

    @handle
    def deposit(self, command: Deposit) -> Deposited:
        assert_type(self.sequence, int)
        return Deposited(command.amount)

    @apply
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount


def outside(account: Account) -> None:
    assert_type(account.id, str)
    Deposit("5")  # type: ignore[arg-type]  # expected

"""A bank of accounts: the whole application.

Run it with `eventsrc dev examples.bank.app:pipeline`, or see it at work with `make demo`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eventsrc import Pipeline, Rejected, apply, compensate, handle

pipeline = Pipeline("bank", recovery_time_objective="2s", checkpoint_interval="1s")

Cents = Annotated[int, Field(gt=0)]


# Commands: what somebody asks for.


@pipeline.command
class Open:
    owner: Annotated[str, Field(min_length=1)]


@pipeline.command
class Deposit:
    amount: Cents


@pipeline.command
class Withdraw:
    amount: Cents


# Events: what has happened. They are kept for ever, and the state is made of them.


@pipeline.event
class Opened:
    owner: str


@pipeline.event
class Deposited:
    amount: int


@pipeline.event
class Withdrawn:
    amount: int


@pipeline.aggregate
class Account:
    owner: str = ""
    balance: int = 0

    # A handler decides. It returns events or refuses, and changes nothing.

    @handle
    def open(self, command: Open) -> Opened:
        if self.owner:
            raise Rejected("already open", owner=self.owner)
        return Opened(command.owner)

    @handle
    def deposit(self, command: Deposit) -> Deposited:
        if not self.owner:
            raise Rejected("not open")
        return Deposited(command.amount)

    @handle
    def withdraw(self, command: Withdraw) -> Withdrawn:
        if command.amount > self.balance:
            raise Rejected("insufficient funds", balance=self.balance)
        return Withdrawn(command.amount)

    # An apply method changes the state. It decides nothing: a replay calls only these.

    @apply
    def opened(self, event: Opened) -> None:
        self.owner = event.owner

    @apply
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount

    @apply
    def withdrawn(self, event: Withdrawn) -> None:
        self.balance -= event.amount

    # How an event is taken back, should it turn out to be a mistake.

    @compensate
    def give_back(self, event: Withdrawn) -> Deposited:
        return Deposited(event.amount)

    @compensate
    def take_back(self, event: Deposited) -> Withdrawn:
        return Withdrawn(event.amount)

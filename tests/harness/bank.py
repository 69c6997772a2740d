"""The application under test: a bank whose commands succeed, are refused, fail, are slow, or end the process.

Written with the public API only, as a user would. Run as `python -m eventsrc run tests.harness.bank:pipeline`; name,
partitions and settings come from the environment, so that each test has a pipeline of its own.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Annotated

from pydantic import Field

from eventsrc import Pipeline, Rejected, apply, compensate, handle

pipeline = Pipeline(
    os.environ.get("EVENTSRC_TEST_PIPELINE", "bank"),
    partitions=int(os.environ.get("EVENTSRC_TEST_PARTITIONS", "4")),
    **json.loads(os.environ.get("EVENTSRC_TEST_SETTINGS", "{}")),
)


@pipeline.command
class Deposit:
    amount: Annotated[int, Field(gt=0)]


@pipeline.command
class DepositInParts:
    """As many events as there are parts."""

    amount: int
    parts: int


@pipeline.command
class Withdraw:
    amount: int


@pipeline.command
class SlowDeposit:
    amount: int
    seconds: float


@pipeline.command
class SlowOnce:
    """Slow the first time that this process handles one for its account."""

    amount: int
    seconds: float


@pipeline.command
class Stuck:
    """Its handler takes that long, every time, and has nothing to say."""

    seconds: float


@pipeline.command
class Audit:
    """Has no event."""


@pipeline.command
class Poison:
    """Its handler has a bug."""


@pipeline.command
class Lethal:
    """Ends the process that handles it, as a crash in a C library would."""


_slept: set[str] = set()


@pipeline.event
class Deposited:
    amount: int


@pipeline.event
class Withdrawn:
    amount: int


@pipeline.aggregate
class Account:
    balance: int = 0
    deposits: int = 0
    withdrawals: int = 0

    @handle
    def deposit(self, command: Deposit) -> Deposited:
        return Deposited(command.amount)

    @handle
    def deposit_in_parts(self, command: DepositInParts) -> list[Deposited]:
        return [Deposited(command.amount) for _ in range(command.parts)]

    @handle
    def withdraw(self, command: Withdraw) -> Withdrawn:
        if command.amount > self.balance:
            raise Rejected("insufficient funds", balance=self.balance)
        return Withdrawn(command.amount)

    @handle
    def slow_deposit(self, command: SlowDeposit) -> Deposited:
        time.sleep(command.seconds)
        return Deposited(command.amount)

    @handle
    def slow_once(self, command: SlowOnce) -> Deposited:
        if self.id not in _slept:
            _slept.add(self.id)
            time.sleep(command.seconds)
        return Deposited(command.amount)

    @handle
    def stuck(self, command: Stuck) -> None:
        time.sleep(command.seconds)

    @handle
    def audit(self, command: Audit) -> None:
        return None

    @handle
    def poison(self, command: Poison) -> None:
        raise ZeroDivisionError("this handler has a bug")

    @handle
    def lethal(self, command: Lethal) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @apply
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount
        self.deposits += 1

    @apply
    def withdrawn(self, event: Withdrawn) -> None:
        self.balance -= event.amount
        self.withdrawals += 1

    @compensate
    def give_back(self, event: Withdrawn) -> Deposited:
        return Deposited(event.amount)

"""The ledger workload as an application: commands Deposit and Withdraw over accounts, one event per command.

Command i of N over K accounts: amount = 7919 i mod 1000, withdraw where (2654435761 i >> 7) mod 5 = 0, a memo of 16
characters. A withdrawal may overdraw. A share of the commands that the load chooses is poisoned: on that memo the
handler raises. A benchmark names the pipeline and the settings it is about by LEDGER_* in the environment; the others
are the defaults.
"""

from __future__ import annotations

import os

from eventsrc import Pipeline, apply, handle

POISON = "poison----------"

pipeline = Pipeline(
    os.environ.get("LEDGER_PIPELINE", "ledger"),
    handler_attempts=3,
    recovery_time_objective=os.environ.get("LEDGER_OBJECTIVE", "2s"),
    checkpoint_interval=os.environ.get("LEDGER_CHECKPOINT_INTERVAL", "60s"),
)


@pipeline.command
class Deposit:
    amount: int
    memo: str


@pipeline.command
class Withdraw:
    amount: int
    memo: str


@pipeline.event
class Deposited:
    amount: int
    balance: int
    memo: str


@pipeline.event
class Withdrawn:
    amount: int
    balance: int
    memo: str


@pipeline.aggregate
class Account:
    balance: int = 0
    owner: str = ""
    deposits: int = 0
    withdrawals: int = 0
    last_memo: str = ""

    @handle
    def deposit(self, command: Deposit) -> Deposited:
        if command.memo == POISON:
            raise RuntimeError("a poisoned command")
        return Deposited(command.amount, self.balance + command.amount, command.memo)

    @handle
    def withdraw(self, command: Withdraw) -> Withdrawn:
        return Withdrawn(command.amount, self.balance - command.amount, command.memo)

    @apply
    def deposited(self, event: Deposited) -> None:
        self.balance = event.balance
        self.deposits += 1
        self.last_memo = event.memo
        self.owner = "owner-" + self.id if not self.owner else self.owner

    @apply
    def withdrawn(self, event: Withdrawn) -> None:
        self.balance = event.balance
        self.withdrawals += 1
        self.last_memo = event.memo
        self.owner = "owner-" + self.id if not self.owner else self.owner

"""The bank's own rules, tested as a user would test them: handlers and apply methods are plain methods."""

from __future__ import annotations

import pytest

from eventsrc import InvalidCommand, Rejected
from examples.bank.app import Account, Deposit, Deposited, Open, Opened, Withdraw, Withdrawn, pipeline


def test_an_account_is_opened_once() -> None:
    account = Account()
    event = account.open(Open("Ada"))
    assert event == Opened("Ada")
    account.opened(event)
    with pytest.raises(Rejected, match="already open"):
        account.open(Open("Eve"))


def test_nobody_deposits_into_an_account_that_is_not_open() -> None:
    with pytest.raises(Rejected, match="not open"):
        Account().deposit(Deposit(5))


def test_a_withdrawal_needs_the_money() -> None:
    account = Account(owner="Ada", balance=5)
    with pytest.raises(Rejected) as refusal:
        account.withdraw(Withdraw(6))
    assert refusal.value.details == {"balance": 5}
    account.withdrawn(account.withdraw(Withdraw(5)))
    assert account.balance == 0


def test_a_compensation_undoes_its_event() -> None:
    account = Account(owner="Ada", balance=5)
    account.deposited(account.give_back(Withdrawn(3)))
    account.withdrawn(account.take_back(Deposited(3)))
    assert account.balance == 5


@pytest.mark.parametrize("command", [Deposit(0), Withdraw(-1), Open("")])
def test_constraints_hold_at_the_door(command: object) -> None:
    with pytest.raises(InvalidCommand):
        pipeline.commands[type(command)].validate(command)

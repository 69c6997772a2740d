"""The bank's own rules, tested as a user would test them."""

from __future__ import annotations

import pytest

from eventsrc import InvalidCommand
from eventsrc.testing import MemoryPipeline, check_determinism, scenario
from examples.bank.app import Account, Deposit, Deposited, Open, Opened, Withdraw, Withdrawn, pipeline

opened = Opened("Ada")


def test_an_account_is_opened_once() -> None:
    scenario(Account).when(Open("Ada")).then(opened).then_state(owner="Ada", balance=0)
    scenario(Account).given(opened).when(Open("Eve")).then_rejected("already open", owner="Ada")


def test_nobody_deposits_into_an_account_that_is_not_open() -> None:
    scenario(Account).when(Deposit(5)).then_rejected("not open")


def test_a_withdrawal_needs_the_money() -> None:
    account = scenario(Account).given(opened, Deposited(5))
    account.when(Withdraw(6)).then_rejected("insufficient funds", balance=5).then_state(balance=5)
    account.when(Withdraw(5)).then(Withdrawn(5)).then_state(balance=0)


def test_a_compensation_undoes_its_event() -> None:
    account = scenario(Account).given(opened, Deposited(5), Withdrawn(3))
    account.compensating(Withdrawn(3)).then(Deposited(3)).then_state(balance=5)
    account.compensating(Deposited(5)).then(Withdrawn(5)).then_state(balance=-3)


@pytest.mark.parametrize("command", [Deposit(0), Withdraw(-1), Open("")])
def test_constraints_hold_at_the_door(command: object) -> None:
    with pytest.raises(InvalidCommand):
        scenario(Account).when(command)


def test_an_account_survives_a_crash() -> None:
    with MemoryPipeline(pipeline) as memory:
        memory.send(Account, "ada", Open("Ada"))
        memory.send(Account, "ada", Deposit(5), idempotency_key="first")
        memory.checkpoint()
        memory.restart()
        assert memory.send(Account, "ada", Deposit(5), idempotency_key="first").duplicate
        assert memory.send(Account, "ada", Withdraw(2)).events == (Withdrawn(2),)
        account = memory.get(Account, "ada")
        assert account is not None
        assert account.balance == 3


def test_replays_agree() -> None:
    assert not check_determinism(pipeline).problems

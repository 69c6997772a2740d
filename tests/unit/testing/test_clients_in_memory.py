"""What a client is told, of sends that are repeated and in callbacks, by the production client on a broker in memory."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from eventsrc import EventsrcError, IdempotencyConflict, OutcomeUnknown, Pipeline, Rejected, apply, handle
from eventsrc.testing import MemoryPipeline

pipeline = Pipeline("repeated", partitions=2)


@pipeline.command
class Deposit:
    amount: int


@pipeline.command
class Withdraw:
    amount: int


@pipeline.event
class Deposited:
    amount: int


@pipeline.event
class Withdrawn:
    amount: int


@pipeline.aggregate(deduplicate=1)
class Account:
    balance: int = 0

    @handle
    def deposit(self, command: Deposit) -> Deposited:
        return Deposited(command.amount)

    @handle
    def withdraw(self, command: Withdraw) -> Withdrawn:
        if command.amount > self.balance:
            raise Rejected("insufficient funds")
        return Withdrawn(command.amount)

    @apply
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount

    @apply
    def withdrawn(self, event: Withdrawn) -> None:
        self.balance -= event.amount


@pytest.fixture
def memory() -> Iterator[MemoryPipeline]:
    with MemoryPipeline(pipeline) as running:
        running.send(Account, "a", Deposit(1))
        yield running


def given_up(memory: MemoryPipeline, command: Any) -> None:
    """Sent with the key k while no worker ran."""
    memory.kill()
    with pytest.raises(OutcomeUnknown):
        memory.client.send(Account, "a", command, idempotency_key="k", timeout=0.05)


def test_the_refusal_of_a_send_that_was_given_up_is_none_of_the_next(memory: MemoryPipeline) -> None:
    given_up(memory, Withdraw(50))
    memory.submit(Account, "a", Deposit(100))
    again = memory.client.submit(Account, "a", Withdraw(50), idempotency_key="k", timeout=20)
    memory.start()
    assert again.result(20).events == (Withdrawn(50),)


def test_the_outcome_of_a_send_that_was_given_up_is_none_of_another_command(memory: MemoryPipeline) -> None:
    given_up(memory, Deposit(5))
    other = memory.client.submit(Account, "a", Deposit(700), idempotency_key="k", timeout=20)
    memory.start()
    with pytest.raises(IdempotencyConflict):
        other.result(20)


def test_what_was_sent_twice_took_effect_once(memory: MemoryPipeline) -> None:
    given_up(memory, Deposit(5))
    again = memory.client.submit(Account, "a", Deposit(5), idempotency_key="k", timeout=20)
    memory.start()
    assert again.result(20).events == (Deposited(5),)
    memory.settle()
    assert len(memory.history(Account, "a")) == 2


def in_callback(memory: MemoryPipeline, act: Callable[[], Any]) -> BaseException | Any:
    """What that comes to in the callback of a duplicate's future."""
    memory.client.send(Account, "a", Deposit(1), idempotency_key="x")
    ended, found = threading.Event(), []

    def acting(_: Future[Any]) -> None:
        try:
            found.append(act())
        except EventsrcError as error:
            found.append(error)
        ended.set()

    memory.client.submit(Account, "a", Deposit(1), idempotency_key="x").add_done_callback(acting)
    assert ended.wait(20)
    return found[0]


def test_a_callback_of_a_duplicate_cannot_wait_for_another(memory: MemoryPipeline) -> None:
    refused = in_callback(memory, lambda: memory.client.send(Account, "a", Deposit(1), idempotency_key="x"))
    assert "use submit" in str(refused)
    assert memory.client.send(Account, "a", Deposit(1), idempotency_key="x").duplicate


def test_a_callback_of_a_duplicate_may_close_the_client(memory: MemoryPipeline) -> None:
    assert in_callback(memory, memory.client.close) is None


@pytest.mark.parametrize("key", [None, "x"])
def test_a_callback_that_exits_ends_no_other_future(
    memory: MemoryPipeline, key: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    memory.client.send(Account, "a", Deposit(1), idempotency_key="x")
    memory.kill()  # until the callback is there
    leaving = memory.client.submit(Account, "a", Deposit(1), idempotency_key=key)
    leaving.add_done_callback(lambda _: sys.exit(3))
    memory.start()
    assert leaving.result(20).events == (Deposited(1),)
    assert memory.client.submit(Account, "a", Deposit(1), idempotency_key=key, timeout=20).result(20).events
    assert "SystemExit" in caplog.text


def test_a_duplicate_has_the_events_of_its_last_application_alone(memory: MemoryPipeline) -> None:
    began = memory.history(Account, "a")[0].time
    memory.at(began)
    memory.send(Account, "a", Deposit(5), idempotency_key="k")
    memory.at(began.replace(year=began.year + 1))
    memory.send(Account, "a", Deposit(6))
    memory.send(Account, "a", Deposit(7))  # the first is forgotten: one command is remembered, and ten minutes
    again = memory.send(Account, "a", Deposit(5), idempotency_key="k")
    assert (again.events, again.duplicate) == ((Deposited(5),), False)
    duplicate = memory.send(Account, "a", Deposit(5), idempotency_key="k")
    assert (duplicate.events, duplicate.duplicate) == ((Deposited(5),), True)

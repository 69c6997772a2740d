"""What an application may write: mypy --strict has nothing to say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field
from datetime import UTC, datetime
from typing import Annotated, assert_type
from uuid import UUID

from pydantic import Field

from eventsrc import Client, Context, Outcome, Pipeline, Recorded, Rejected, apply, compensate, handle
from eventsrc.testing import Decided, MemoryPipeline, Scenario, check_determinism, scenario

pipeline = Pipeline("bank", partitions=4, recovery_time_objective="2s", handler_attempts=5)


@pipeline.command
class Deposit:
    amount: Annotated[int, Field(gt=0)]
    tags: list[str] = field(default_factory=list)


@pipeline.command(name="Take", aliases=["Withdrawal"])
class Withdraw:
    amount: int


@pipeline.event
class Deposited:
    amount: int


@pipeline.event(aliases=["Taken"])
class Withdrawn:
    amount: int


@pipeline.aggregate(version=2, deduplicate=16)
class Account:
    owner: str = ""
    balance: int = 0
    history: list[str] = field(default_factory=list)

    @handle
    def deposit(self, command: Deposit, context: Context) -> Deposited | None:
        assert_type(self.id, str)
        assert_type(self.sequence, int)
        if context.random.random() > 2 or context.uuid() == context.command_id:
            return None
        return Deposited(command.amount)

    @handle
    def withdraw(self, command: Withdraw) -> Iterator[Withdrawn]:
        if command.amount > self.balance:
            raise Rejected("insufficient funds", balance=self.balance)
        yield Withdrawn(command.amount)

    @apply
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount

    @apply
    def withdrawn(self, event: Withdrawn, recorded: Recorded) -> None:
        self.history.append(f"{recorded.time:%Y} {self.id}@{recorded.sequence}")

    @compensate
    def give_back(self, event: Withdrawn) -> Iterable[Deposited]:
        return [Deposited(event.amount)]


def outside(client: Client, account: Account) -> None:
    assert_type(Deposit(5), Deposit)
    assert_type(Deposit(amount=5, tags=["a"]).tags, list[str])
    assert_type(Account(balance=3).balance, int)
    assert_type(account.id, str)
    assert_type(account.sequence, int)
    assert_type(client.send(Account, "alice", Deposit(5)), Outcome)
    found = client.get(Account, "alice")
    if found is not None:
        assert_type(found.balance, int)


def inside() -> None:
    local = Pipeline("local")

    @local.event
    class Ticked:
        at: int

    assert_type(Ticked(1).at, int)


def testing() -> None:
    start = scenario(Account).with_id("alice").at(datetime(2026, 1, 1, tzinfo=UTC)).given(Deposited(5))
    assert_type(start, Scenario[Account])
    decided = start.uuids(UUID(int=1)).when(Withdraw(3)).then(Withdrawn(3)).then_state(balance=2)
    assert_type(decided, Decided[Account])
    assert_type(decided.aggregate.balance, int)
    decided.when(Withdraw(9)).then_rejected("insufficient funds", balance=2).then_failed(ValueError).then_nothing()
    assert_type(start.compensating(Withdrawn(3)), Decided[Account])
    with MemoryPipeline(pipeline, workers=2) as memory:
        assert_type(memory.send(Account, "alice", Deposit(5), idempotency_key="k"), Outcome)
        assert_type(memory.get(Account, "alice"), Account | None)
        assert_type(memory.history(Account, "alice"), list[Recorded])
        assert_type(memory.client, Client)
        assert_type([letter.reason for letter in memory.dead_letters()], list[str])
    assert_type(check_determinism(pipeline).problems, tuple[str, ...])

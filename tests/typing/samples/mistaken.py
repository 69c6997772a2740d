"""What mypy finds. Strict mode reports an ignore that ignores nothing, so each of these is an error it has found."""

from __future__ import annotations

from eventsrc import Context, Pipeline, Recorded, apply, compensate, handle
from tests.typing.samples import sound
from tests.typing.samples.sound import Account, Deposit, Deposited, pipeline

Pipeline("bank", partition=8)  # type: ignore[call-arg]  # expected
Pipeline("bank", partitions="8")  # type: ignore[arg-type]  # expected
Pipeline("bank", handler_attempts="three")  # type: ignore[arg-type]  # expected

Deposit("5")  # type: ignore[arg-type]  # expected
Deposit()  # type: ignore[call-arg]  # expected
Deposit(5, [], 7)  # type: ignore[call-arg]  # expected
Deposit(amuont=5)  # type: ignore[call-arg]  # expected
print(Deposited(5).amuont)  # type: ignore[attr-defined]  # expected
sound.Withdraw("5")  # type: ignore[arg-type]  # expected


@sound.pipeline.event(name="Shut")
class Closed:
    reason: str


Closed(5)  # type: ignore[arg-type]  # expected


@pipeline.aggregate
class Gate:
    open: bool = False

    @handle
    def close(self, command: Deposit) -> Closed:
        return Deposited(command.amount)  # type: ignore[return-value]  # expected

    @handle  # type: ignore[type-var]  # expected
    def note(self, command: Deposit, context: Recorded) -> None: ...

    @handle  # type: ignore[type-var]  # expected
    def late(self, command: Deposit, context: Context, more: int) -> None: ...

    @apply  # type: ignore[type-var]  # expected
    def closed(self, event: Closed) -> str:
        return event.reason

    @compensate
    def reopen(self, event: Closed) -> Deposited:
        self.id = "x"  # type: ignore[misc]  # expected
        self.sequence += 1  # type: ignore[misc]  # expected
        return Deposited(event.reason)  # type: ignore[arg-type]  # expected


def outside(account: Account) -> None:
    account.id = "bob"  # type: ignore[misc]  # expected
    account.owner = 5  # type: ignore[assignment]  # expected
    print(account.missing)  # type: ignore[attr-defined]  # expected

"""What the decorators make of sound classes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from pydantic import Field

from eventsrc import Aggregate, Context, DeclarationError, Pipeline, Recorded, Rejected, apply, compensate, handle
from eventsrc.model import types

pipeline = Pipeline("bank")


@pipeline.command
class Deposit:
    amount: Annotated[int, Field(gt=0)]


@pipeline.command(name="Take", aliases=["Withdrawal"])
class Withdraw:
    amount: int


@pipeline.event
class Deposited:
    amount: int
    note: str = ""


@pipeline.event
class Withdrawn:
    amount: int


@dataclass
class Limits:
    daily: int = 100


@pipeline.aggregate(deduplicate=4, version=3)
class Account:
    """An account."""

    owner: str = ""
    balance: int = 0
    tags: list[str] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)

    CURRENCY = "EUR"

    @handle
    def deposit(self, command: Deposit, at: Context) -> Deposited:
        return Deposited(command.amount, at.now.isoformat())

    @handle
    def withdraw(self, command: Withdraw) -> Iterator[Withdrawn]:
        if command.amount > self.balance:
            raise Rejected("insufficient funds")
        yield Withdrawn(command.amount)

    @apply
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount

    @apply
    def withdrawn(self, event: Withdrawn, what: Recorded) -> None:
        self.balance -= event.amount
        self.owner = f"{self.id} {self.sequence} {what.offset}"

    @compensate
    def give_back(self, event: Withdrawn) -> Iterable[Deposited]:
        return [Deposited(event.amount)]

    def describe(self) -> str:
        assert super().__init__ is not None
        cls: type = __class__  # type: ignore[name-defined]  # the cell that super() reads: mypy does not know it
        return f"{cls.__name__} of {cls.__mro__[1].__name__}"


def test_messages_are_slotted_dataclasses() -> None:
    assert Deposited(5) == Deposited(amount=5, note="")
    assert Deposited(5) != Deposited(6)
    assert repr(Deposited(5)) == "Deposited(amount=5, note='')"
    assert not hasattr(Deposited(5), "__dict__")
    assert Deposited.__match_args__ == ("amount", "note")
    with pytest.raises(AttributeError):
        Deposited(5).amuont = 3  # type: ignore[attr-defined]  # the misspelling is the point
    with pytest.raises(TypeError):
        Deposited()  # type: ignore[call-arg]  # the missing argument is the point


def test_messages_copy_and_pickle() -> None:
    assert copy.deepcopy(Deposited(5, "x")) == pickle.loads(pickle.dumps(Deposited(5, "x"))) == Deposited(5, "x")
    assert Deposited.__qualname__ == "Deposited"
    assert Deposited.__module__ == __name__


def test_constructing_checks_nothing() -> None:
    assert Deposit(-1).amount == -1


def test_message_types() -> None:
    deposit, withdraw = pipeline.commands[Deposit], pipeline.commands[Withdraw]
    assert (deposit.name, deposit.kind, deposit.constrained, deposit.aliases) == ("Deposit", "command", True, ())
    assert (withdraw.name, withdraw.constrained, withdraw.aliases) == ("Take", False, ("Withdrawal",))
    assert withdraw.record == types.RecordType(
        Withdraw, "Take", (types.Field("amount", types.Primitive("int")),), ("Withdrawal",)
    )
    assert pipeline.events[Deposited].record.fields[1] == types.Field("note", types.Primitive("str"), default="")


def test_aggregate_type() -> None:
    account = pipeline.aggregates["account"]
    assert (account.cls, account.name, account.version, account.deduplicate) == (Account, "account", 3, 4)
    assert [one.name for one in account.record.fields] == ["owner", "balance", "tags", "limits"]
    assert (account.handlers[Deposit].wants_context, account.handlers[Withdraw].wants_context) == (True, False)
    assert (account.appliers[Deposited].wants_recorded, account.appliers[Withdrawn].wants_recorded) == (False, True)
    assert account.compensations[Withdrawn].wants_recorded is False
    assert account.commands == {Deposit: pipeline.commands[Deposit], Withdraw: pipeline.commands[Withdraw]}
    assert account.events == {Deposited: pipeline.events[Deposited], Withdrawn: pipeline.events[Withdrawn]}


def test_new_fills_every_slot() -> None:
    account = pipeline.aggregates["account"]
    one, other = account.new("ålice".encode()), account.new(b"bob")
    assert (one.id, one.sequence, one.owner, one.balance, one.tags, one.limits) == ("ålice", 0, "", 0, [], Limits(100))
    assert one._eventsrc_memory == b""
    assert one.tags is not other.tags
    assert one.limits is not other.limits
    assert one == other  # by fields


def test_id_and_sequence_are_given_and_read_only() -> None:
    account = pipeline.aggregates["account"].new(b"alice")
    account._eventsrc_sequence = 7
    assert (account.id, account.sequence) == ("alice", 7)
    for name in ("id", "sequence"):
        with pytest.raises(AttributeError):
            setattr(account, name, "x")
    assert isinstance(account, Aggregate)
    assert not hasattr(account, "__dict__")


def test_an_aggregate_made_by_hand_has_no_id() -> None:
    with pytest.raises(AttributeError, match=r"because Account\(...\) made it"):
        Account().id  # noqa: B018 - reading it is the point
    with pytest.raises(AttributeError, match="neither id nor sequence"):
        Account().sequence  # noqa: B018 - reading it is the point


def test_functions_are_called_with_the_aggregate_first() -> None:
    declared = pipeline.aggregates["account"]
    account = declared.new(b"alice")
    declared.appliers[Deposited].function(account, Deposited(5))
    assert account.balance == 5
    with pytest.raises(Rejected, match="insufficient funds"):
        list(declared.handlers[Withdraw].function(account, Withdraw(6)))
    assert declared.compensations[Withdrawn].function(account, Withdrawn(2)) == [Deposited(2)]


def test_super_and_class_lead_to_the_rebuilt_class() -> None:
    assert pipeline.aggregates["account"].new(b"a").describe() == "Account of Aggregate"
    assert Account.__doc__ == "An account."
    assert Account.CURRENCY == "EUR"


@pytest.mark.parametrize("name", [Account, "account", "Account"])
def test_aggregates_are_found_by_class_and_by_either_name(name: Any) -> None:
    assert pipeline.aggregate_type(name).cls is Account


def test_an_unknown_aggregate_names_the_nearest() -> None:
    with pytest.raises(LookupError, match=r"pipeline 'bank' has no aggregate Acount: did you mean Account\?"):
        pipeline.aggregate_type("Acount")


def test_classes_in_functions_find_their_names() -> None:
    shop = Pipeline("shop")

    @shop.command
    class Place:
        sku: str

    @shop.event
    class Placed:
        sku: str

    @shop.aggregate(name="purchase")
    class Order:
        sku: str = ""

        @handle
        def place(self, command: Place) -> Placed | None:
            return Placed(command.sku)

        @apply
        def placed(self, event: Placed) -> None:
            self.sku = event.sku

    assert shop.aggregates["purchase"].handlers.keys() == {Place}
    assert shop.aggregate_type(Order).name == "purchase"


def test_messages_may_be_shared_by_aggregates() -> None:
    shop = Pipeline("shop")
    touch: type = shop.command(type("Touch", (), {"__annotations__": {}}))
    touched: type = shop.event(type("Touched", (), {"__annotations__": {}}))

    def method(role: Any, takes: type, returns: Any) -> Any:
        def act(self: Any, message: Any) -> Any: ...

        act.__annotations__ = {"message": takes, "return": returns}
        return role(act)

    for name in ("Left", "Right"):
        shop.aggregate(type(name, (), {"open": method(handle, touch, touched), "opened": method(apply, touched, None)}))
    assert shop.aggregates["left"].commands == shop.aggregates["right"].commands


def test_a_dataclass_below_the_decorator_is_taken_as_it_is() -> None:
    shop = Pipeline("shop")

    @shop.event
    @dataclass
    class Paid:
        amount: int
        to: list[str] = field(default_factory=list)

    @shop.event
    @dataclass(slots=True)
    class Refunded:
        amount: int
        by: str = "x"

    assert Paid(5) == Paid(5, [])
    assert not hasattr(Paid(5), "__dict__")
    assert (Refunded(1).by, Refunded(1)) == ("x", Refunded(1, "x"))
    assert shop.events[Paid].record.fields[1].default_factory is list


def test_messages_inherit_fields_from_dataclasses() -> None:
    shop = Pipeline("shop")

    @dataclass
    class Money:
        amount: int
        currency: str = "EUR"

    @shop.event
    class Paid(Money):
        to: str = ""

    assert Paid(5, "USD", "bob") == Paid(amount=5, currency="USD", to="bob")
    assert [one.name for one in shop.events[Paid].record.fields] == ["amount", "currency", "to"]


def test_an_aggregate_may_write_its_base_and_slotless_mixins() -> None:
    shop = Pipeline("shop")

    @shop.command
    class Open: ...

    @shop.event
    class Opened: ...

    class Described:
        __slots__ = ()

        def describe(self) -> str:
            return "described"

    @shop.aggregate
    class Order(Described, Aggregate):
        @handle
        def open(self, command: Open) -> Opened:
            return Opened()

        @apply
        def opened(self, event: Opened) -> None: ...

    order = shop.aggregates["order"].new(b"o-1")
    assert (order.id, order.describe(), Order.__mro__[1:3]) == ("o-1", "described", (Described, Aggregate))


def test_a_failed_class_is_not_declared() -> None:
    shop = Pipeline("shop")

    class Broken:
        what: Any

    with pytest.raises(DeclarationError) as raised:
        shop.event(Broken)
    assert shop.events == {}
    assert len(raised.value.mistakes) == 1
    assert raised.value.mistakes[0].startswith("Broken.what (")

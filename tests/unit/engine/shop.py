"""The application under test in the engine's tests: a flat aggregate, and one that holds containers.

Handlers behave as their command says: they decide, reject, fail, or break the rules. `behaviour` lets a test plug in
a handler of its own. Records of all topics are made here, as the client library would hand them over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from confluent_kafka import murmur2
from pydantic import Field

from eventsrc import Context, Pipeline, Recorded, Rejected, apply, handle
from eventsrc.codec.catalog import Catalog
from eventsrc.model.names import commands_topic

pipeline = Pipeline("shop", partitions=2, unknown_schema_deadline="10s", recovery_stall_deadline="30s")


@pipeline.command
class Deposit:
    amount: Annotated[int, Field(gt=0)]


@pipeline.command
class DepositParts:
    amount: int
    parts: int


@pipeline.command
class Withdraw:
    amount: int


@pipeline.command
class Audit:
    """Has no event."""


@pipeline.command
class Poison:
    """Its handler has a bug."""


@pipeline.command
class Custom:
    """Runs what a test put into `behaviour` under this name."""

    name: str


@pipeline.command
class Put:
    item: str
    tags: list[str]


@pipeline.event
class Deposited:
    amount: int


@pipeline.event
class Withdrawn:
    amount: int


@pipeline.event
class Placed:
    item: str
    tags: list[str]


behaviour: dict[str, Callable[..., Any]] = {}
"""By name: `function(aggregate, command, context)`, or under "apply": `function(aggregate, event, recorded)`."""


@pipeline.aggregate
class Account:
    balance: int = 0
    deposits: int = 0

    @handle
    def deposit(self, command: Deposit) -> Deposited:
        return Deposited(command.amount)

    @handle
    def deposit_parts(self, command: DepositParts) -> Iterator[Deposited]:
        for _ in range(command.parts):
            yield Deposited(command.amount)

    @handle
    def withdraw(self, command: Withdraw) -> Withdrawn:
        if command.amount > self.balance:
            raise Rejected("insufficient funds", balance=self.balance)
        return Withdrawn(command.amount)

    @handle
    def audit(self, command: Audit) -> None:
        return None

    @handle
    def poison(self, command: Poison) -> None:
        raise ZeroDivisionError("this handler has a bug")

    @handle
    def custom(self, command: Custom, context: Context) -> Iterable[Deposited]:
        made: Iterable[Deposited] = behaviour[command.name](self, command, context)
        return made

    @apply
    def deposited(self, event: Deposited, recorded: Recorded) -> None:
        self.balance += event.amount
        self.deposits += 1
        if "apply" in behaviour:
            behaviour["apply"](self, event, recorded)

    @apply
    def withdrawn(self, event: Withdrawn) -> None:
        self.balance -= event.amount


@pipeline.aggregate
class Basket:
    items: list[str] = field(default_factory=list)
    tags: dict[str, list[str]] = field(default_factory=dict)

    @handle
    def put(self, command: Put) -> Placed:
        if command.item in self.items:
            raise Rejected("there already")
        return Placed(command.item, command.tags)

    @handle
    def custom(self, command: Custom, context: Context) -> Iterable[Placed]:
        made: Iterable[Placed] = behaviour[command.name](self, command, context)
        return made

    @apply
    def placed(self, event: Placed) -> None:
        self.items.append(event.item)
        self.tags[event.item] = event.tags
        if "apply" in behaviour:
            behaviour["apply"](self, event, None)


catalog = Catalog(pipeline, None)
ACCOUNT = pipeline.aggregates["account"]
BASKET = pipeline.aggregates["basket"]
_AGGREGATES = {Put: BASKET}


@dataclass(frozen=True, slots=True)
class Record:
    """A consumed record, as the engine sees it."""

    at: int
    of_key: bytes | None
    of_value: bytes | None
    number: int = 0
    time_ms: int = 1_000
    of_headers: tuple[tuple[str, bytes | None], ...] | None = None

    def topic(self) -> str:
        return "a-topic"

    def partition(self) -> int:
        return self.number

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return self.of_key

    def value(self) -> bytes | None:
        return self.of_value

    def timestamp(self) -> tuple[int, int]:
        return (1, self.time_ms)

    def headers(self) -> tuple[tuple[str, bytes | None], ...] | None:
        return self.of_headers


def command_id(name: str) -> bytes:
    """Sixteen bytes that are easy to tell apart in a failure."""
    return name.encode().ljust(16, b".")[:16]


def command_value(command: Any, name: str, *, reply: int | None = 0, of: Any = None) -> bytes:
    """The value of a commands record; `name` becomes the command's id."""
    aggregate = of or _AGGREGATES.get(type(command), ACCOUNT)
    return catalog.command_writer(aggregate, type(command))(command_id(name), None, None, 7_000_000, reply, command)


def event_value(
    event: Any,
    name: str,
    *,
    source: int = 0,
    index: int = 0,
    count: int = 1,
    time: int = 1_000_000,
    of: Any = ACCOUNT,
) -> bytes:
    """The value of an events record."""
    write = catalog.event_writer(of, type(event))
    return write(command_id(name), None, None, source, index, count, time, b"payload.", event)


def key_on(partition: int, *, partitions: int = 2, prefix: str = "id") -> bytes:
    """The first id of this prefix that belongs to that partition."""
    numbers = (b"%b%d" % (prefix.encode(), number) for number in range(1000))
    return next(key for key in numbers if murmur2(key, partitions) == partition)


def commands_topic_of(aggregate: str) -> str:
    return commands_topic(pipeline.name, aggregate)

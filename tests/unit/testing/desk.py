"""An application whose handlers keep the rules, or break them as their command says."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import field
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from eventsrc import Context, Pipeline, Recorded, Rejected, apply, compensate, handle

pipeline = Pipeline("desk", partitions=4)
counter = itertools.count()


@pipeline.command
class Open:
    title: Annotated[str, Field(min_length=1)]


@pipeline.command
class Tag:
    tags: list[str]


@pipeline.command
class Close:
    """Nothing to do where it is closed."""


@pipeline.command
class Misbehave:
    how: str


@pipeline.event
class Opened:
    title: str
    ticket: UUID
    at: datetime
    lot: int


@pipeline.event
class Tagged:
    tags: list[str]
    weight: float = 0.0


@pipeline.event
class Closed:
    pass


@pipeline.event
class Reopened:
    pass


@pipeline.event
class Odd:
    how: str


@pipeline.aggregate
class Case:
    title: str = ""
    open: bool = False
    tags: list[str] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    number: int = 0

    def __len__(self) -> int:
        """Without tags it is false, as an application's class may be."""
        return len(self.tags)

    @handle
    def begin(self, command: Open, context: Context) -> Opened:
        if self.open:
            raise Rejected("already open", title=self.title, since=self.times[0])
        return Opened(command.title, context.uuid(), context.now, context.random.randrange(1000))

    @handle
    def tag(self, command: Tag) -> Tagged | None:
        return Tagged(command.tags) if command.tags else None

    @handle
    def close(self, command: Close, context: Context) -> Iterator[Tagged | Closed]:
        if self.open:
            yield Tagged([f"{self.id}@{self.sequence}", str(context.correlation_id), str(context.causation_id)])
            yield Closed()

    @handle
    def misbehave(self, command: Misbehave) -> Iterator[Odd]:
        if command.how.startswith("impure"):
            self.tags.append("impure")
        if command.how == "impure and rejects":
            raise Rejected("no")
        if command.how == "raises":
            raise ValueError("a bug")
        if command.how == "exits":
            raise SystemExit(3)
        yield Odd(command.how)

    @apply
    def opened(self, event: Opened, recorded: Recorded) -> None:
        self.title, self.open = event.title, True
        self.times.append(recorded.time)

    @apply
    def tagged(self, event: Tagged) -> None:
        self.tags = event.tags
        self.tags.append("!")

    @apply
    def closed(self, event: Closed) -> None:
        self.open = False

    @apply
    def reopened(self, event: Reopened) -> None:
        self.open = True

    @apply
    def odd(self, event: Odd) -> None:
        if event.how == "apply raises":
            raise KeyError("gone")
        if event.how == "counts":
            self.number = next(counter)
        if event.how == "cannot be kept":
            self.number = "text"  # type: ignore[assignment]

    @compensate
    def undo(self, event: Closed, recorded: Recorded) -> Iterator[Reopened | Tagged]:
        yield Reopened()
        yield Tagged([f"undid {recorded.sequence}"])


@pipeline.event
class Foreign:
    pass

"""Aggregates that break a rule each: what `check_determinism` has to find."""

from __future__ import annotations

import random
from dataclasses import field
from typing import Annotated

from pydantic import Field

from eventsrc import Pipeline, apply, handle

pipeline = Pipeline("unsound", partitions=1)
drawn = random.SystemRandom()
seen: list[str] = []


@pipeline.command
class Go:
    words: set[str]


@pipeline.command
class Never:
    """No made-up text is like that."""

    code: Annotated[str, Field(pattern=r"^[0-9]{9}$")]


@pipeline.event
class Gone:
    words: set[str]


@pipeline.event
class Quiet:
    number: int


@pipeline.aggregate
class HashOrdered:
    words: list[str] = field(default_factory=list)
    count: int = 0

    @handle
    def go(self, command: Go) -> Gone:
        return Gone(command.words)

    @apply
    def gone(self, event: Gone) -> None:
        self.words = list(event.words)  # in the order of their hashes
        self.count += 1


@pipeline.aggregate
class ByChance:
    drawn: float = 0.0

    @handle
    def never(self, command: Never) -> Quiet:
        return Quiet(1)

    @apply
    def quiet(self, event: Quiet) -> None:
        self.drawn = drawn.random()


@pipeline.aggregate
class Remembering:
    """Beside its state, where no checkpoint looks."""

    known: int = 0

    @handle
    def go(self, command: Go) -> None:
        if command.words:
            seen.append("go")
            self.known += 1

    @apply
    def gone(self, event: Gone) -> None:
        if self.known > 2:
            self.known = "three"  # type: ignore[assignment]
        else:
            self.known += 1


@pipeline.aggregate
class Undecided:
    total: int = 0

    @handle
    def go(self, command: Go) -> Quiet:
        return Quiet(drawn.randrange(1 << 40))

    @apply
    def quiet(self, event: Quiet) -> None:
        self.total += event.number % 7


@pipeline.aggregate
class Fragile:
    total: int = 0

    @handle
    def go(self, command: Go) -> Quiet:
        return Quiet(7 // len(command.words))

    @apply
    def quiet(self, event: Quiet) -> None:
        self.total += event.number


@pipeline.aggregate
class Overgrown:
    """Outgrows 64 bits with its second event."""

    total: int = 1

    @handle
    def go(self, command: Go) -> Quiet:
        return Quiet(10**12 + len(command.words))

    @apply
    def quiet(self, event: Quiet) -> None:
        self.total *= event.number

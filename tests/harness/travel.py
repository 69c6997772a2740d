"""An application whose states hold containers, for tests of time travel. Two aggregates, so that one can cause what the
other does. Name and partitions come from the environment, so that each test has a pipeline of its own, also in
processes that it starts.
"""

from __future__ import annotations

import json
import os
from dataclasses import field

from eventsrc import Pipeline, apply, handle

pipeline = Pipeline(
    os.environ.get("EVENTSRC_TEST_PIPELINE", "travel"),
    partitions=int(os.environ.get("EVENTSRC_TEST_PARTITIONS", "3")),
    **json.loads(os.environ.get("EVENTSRC_TEST_SETTINGS", "{}")),
)


@pipeline.command
class Add:
    item: str
    amount: int


@pipeline.event
class Added:
    item: str
    amount: int


@pipeline.event
class Removed:
    item: str


@pipeline.aggregate
class Basket:
    owner: str = ""
    total: int = 0
    items: dict[str, int] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)

    @handle
    def add(self, command: Add) -> Added:
        return Added(command.item, command.amount)

    @apply
    def added(self, event: Added) -> None:
        self.owner = self.id
        self.total += event.amount
        self.items[event.item] = self.items.get(event.item, 0) + event.amount
        self.history.append(f"+{event.item}")

    @apply
    def removed(self, event: Removed) -> None:
        self.total -= self.items.pop(event.item, 0)
        self.history.append(f"-{event.item}")


@pipeline.aggregate
class Parcel:
    contents: dict[str, int] = field(default_factory=dict)

    @handle
    def add(self, command: Add) -> Added:
        return Added(command.item, command.amount)

    @apply
    def added(self, event: Added) -> None:
        self.contents = {event.item: self.contents.pop(event.item, 0) + event.amount, **self.contents}

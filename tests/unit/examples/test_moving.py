"""What examples/orders/README.md says of an aggregate whose topics must have another name: it is moved into a new one."""

from __future__ import annotations

import pytest

from eventsrc import Aggregate, Client, Pipeline, Rejected, apply, handle
from eventsrc.testing import MemoryPipeline

pipeline = Pipeline("moving")


@pipeline.command
class Add:
    amount: int


@pipeline.command
class Move: ...


@pipeline.command
class TakeOver:
    total: int


@pipeline.event
class Added:
    amount: int


@pipeline.event
class Moved: ...


@pipeline.event
class TakenOver:
    total: int


@pipeline.aggregate
class Purchase(Aggregate):
    total: int = 0
    moved: bool = False

    @handle
    def add(self, command: Add) -> Added:
        if self.moved:
            raise Rejected("moved", to="order")
        return Added(command.amount)

    @handle
    def move(self, command: Move) -> Moved | None:
        return None if self.moved else Moved()

    @apply
    def added(self, event: Added) -> None:
        self.total += event.amount

    @apply
    def on_moved(self, event: Moved) -> None:
        self.moved = True


@pipeline.aggregate
class Order(Aggregate):
    total: int = 0

    @handle
    def take_over(self, command: TakeOver) -> TakenOver | None:
        return None if self.sequence else TakenOver(command.total)

    @handle
    def add(self, command: Add) -> Added:
        return Added(command.amount)

    @apply
    def taken_over(self, event: TakenOver) -> None:
        self.total = event.total

    @apply
    def added(self, event: Added) -> None:
        self.total += event.amount


def move(client: Client, id: str, *, steps: int = 2) -> None:
    client.send(Purchase, id, Move(), idempotency_key="move")
    old = client.get(Purchase, id)
    assert old is not None
    if steps > 1:
        client.send(Order, id, TakeOver(old.total), idempotency_key="moved")


@pytest.mark.parametrize("steps", [1, 2])
def test_an_aggregate_is_moved_once(steps: int) -> None:
    with MemoryPipeline(pipeline) as memory:
        memory.send(Purchase, "o-1", Add(7))
        move(memory.client, "o-1", steps=steps)
        memory.restart()
        move(memory.client, "o-1")  # again, as after an interruption
        memory.send(Order, "o-1", Add(1))
        move(memory.client, "o-1")  # and once more, when the new one has gone on
        with pytest.raises(Rejected) as refusal:
            memory.send(Purchase, "o-1", Add(100))
        assert refusal.value.details == {"to": "order"}
        assert [each.event for each in memory.history(Purchase, "o-1")] == [Added(7), Moved()]
        assert [each.event for each in memory.history(Order, "o-1")] == [TakenOver(7), Added(1)]

"""The digest of a replay: which state it cannot be taken of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from eventsrc import Pipeline, apply, handle
from eventsrc.codec.catalog import Catalog
from eventsrc.errors import EncodingError
from eventsrc.model.moments import END
from eventsrc.runtime.partition_replay import PartitionReplay
from eventsrc.runtime.replaying import Replayed

pipeline = Pipeline("heap")


@pipeline.command
class Grow:
    by: int


@pipeline.event
class Grown:
    by: int


@pipeline.aggregate
class Heap:
    size: int = 0

    @handle
    def grow(self, command: Grow) -> Grown:
        return Grown(command.by)

    @apply
    def grown(self, event: Grown) -> None:
        self.size += event.by


def test_a_state_that_cannot_be_encoded_is_named() -> None:
    heap = pipeline.aggregate_type(Heap)
    instance: Any = heap.new("ü".encode())
    instance.size, instance._eventsrc_sequence = 1 << 63, 7
    partition = SimpleNamespace(fold=SimpleNamespace(aggregate=heap), states=lambda: [("ü".encode(), instance)])
    replayed = Replayed(END, cast(Any, Catalog(pipeline, None)), [cast(PartitionReplay, partition)], [])
    with pytest.raises(
        EncodingError, match=r'the state of heap "ü" at sequence 7 .*Heap\.size: .* 64 bits.*eventsrc log'
    ):
        replayed.digest()
    instance.size = 1
    assert len(replayed.digest()) == 32

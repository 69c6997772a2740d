"""Stages at the beginning, and with partitions open already."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest

from eventsrc.engine.transaction import TransactionState
from tests.scenario.stage import Stage
from tests.unit.engine.shop import behaviour, pipeline


@pytest.fixture
def stage() -> Stage:
    """A producer is there, and nothing else."""
    made = Stage()
    made.play("producer ready")
    return made


@pytest.fixture
def opened() -> Callable[..., Stage]:
    """`opened("account/0", "account/1")`: these are open at command offset 0 under term 0, and no transaction is open."""

    def make(*keys: str, stage: Stage | None = None) -> Stage:
        made = stage or Stage()
        lines = ["producer ready"] if made.engine.lane.state is TransactionState.ABSENT else []
        for number, key in enumerate(keys, start=1):
            lines += [
                f"assigned {key}",
                f"-> ask {key} #{number}",
                f"stable {key} #{number} committed none log 0..50",
                f"-> commit barriers {key} to 0 by m1",
                f"committed {key}=0",
                *([f"-> load {key} #{number} term 0", f"loaded {key} #{number} nothing"] if made.has_snapshots else []),
                f"-> read {key}",
                f"events {key} 0:barrier",
                f"-> stop reading {key}",
                f"-> open {key} at 0",
            ]
        made.play("\n".join(lines))
        return made

    return make


@pytest.fixture
def storing(opened: Callable[..., Stage]) -> Stage:
    """A worker with a snapshot store, and account/0 open."""
    return opened("account/0", stage=Stage(has_snapshots=True))


@pytest.fixture
def one_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """One aggregate of a partition may be live."""
    monkeypatch.setattr(pipeline, "settings", dataclasses.replace(pipeline.settings, live_aggregates=1))


@pytest.fixture(autouse=True)
def _own_behaviour() -> Iterator[None]:
    yield
    behaviour.clear()

"""The engine against a simulated Kafka: crashes at any step, rebalances and zombies at any moment, outcomes unknown.

Each seed is one history (tests/property/simulation/history.py): 1 to 3 workers with the real engine, about 25 commands
with repeated ids, 400 things that happen, then calm; checked throughout and at the end: I1-I6, I10, I11, I16. In seven of
ten there is a snapshot store too, which goes away, comes back older, and is damaged; and few aggregates stay live.
A default run is 250 histories, about 20 s of one core; EVENTSRC_SIMULATION_SEEDS asks for more. A seed that fails is run
again by `History(seed).run()`.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

from eventsrc.engine import checkpoint
from eventsrc.engine.checkpoint import Checkpoints
from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.lineage import Stage
from eventsrc.engine.partition import Partition
from eventsrc.engine.worker import WorkerEngine
from tests.property.simulation.history import Climate, History, ViolationError
from tests.property.simulation.store import StoreFaults
from tests.property.simulation.worker import NO_FAULTS, Faults, Guards

SEEDS = int(os.environ.get("EVENTSRC_SIMULATION_SEEDS", "250"))
CHUNK = 50
TRIES = 400
"""Histories in which a missing guard has to be noticed; the rarest is noticed in one of thirty."""

_ONE_WORKER = {"crash_one": 0.0, "expel_one": 0.0, "write_marker": 60.0}
_ZOMBIES = {
    "freeze_one": 3.0,
    "expel_one": 2.0,
    "crash_one": 0.0,
    "send": 8.0,
    "rebalance": 0.2,
    "write_marker": 30.0,
    "start_one": 3.0,
}
CLIMATES = {
    "stable_fetch": Climate(
        {**_ZOMBIES, "freeze_one": 1, "expel_one": 1, "crash_one": 1, "deliver": 2, "write_marker": 20, "start_one": 4},
        dataclasses.replace(NO_FAULTS, in_doubt=0.3, gives_up_waiting=0.2),
        slots=2,
        pace=0.5,
    ),
    "metadata_of_the_poll": Climate(_ZOMBIES, NO_FAULTS, slots=2, pace=0.1),
    "barrier_sends_offsets": Climate(_ZOMBIES, NO_FAULTS, slots=2, pace=0.4),
    "replaces_suspect_producer": Climate(
        {"deliver": 10, "send": 10, "crash_one": 0.5, "write_marker": 60},
        dataclasses.replace(NO_FAULTS, abort=0.3, suspect=0.5),
        slots=1,
        pace=0.5,
    ),
    "never_guesses": Climate(_ONE_WORKER, dataclasses.replace(NO_FAULTS, in_doubt=0.3), slots=1, pace=0.5),
    "drops_batch_ahead": Climate(_ONE_WORKER, Faults(abort=0.3), slots=1, pace=0.3),
    "store_checks_terms": Climate(
        {
            **_ONE_WORKER,
            "crash_one": 0,
            "rebalance": 0.1,
            "start_one": 10,
            "send": 8,
            "change_store": 0,
            "freeze_one": 0,
        },
        dataclasses.replace(NO_FAULTS, store=StoreFaults(0, 0, 0.3)),
        slots=3,
        pace=0.5,
        store=True,
    ),
    "reads_to_own_barrier": Climate(
        {"write_marker": 4, "expel_one": 1, "crash_one": 1, "start_one": 5, "send": 10, "freeze_one": 0.5},
        NO_FAULTS,
        slots=2,
        pace=0.5,
    ),
}
"""Weather in which each guard matters: the same with and without it."""
SNAPSHOTS = Climate(
    {"crash_one": 0.4, "expel_one": 0.2, "rebalance": 0.2, "send": 10, "write_marker": 40, "change_store": 0},
    dataclasses.replace(NO_FAULTS, abort=0.1, store=StoreFaults(0.1, 0.05, 0.0)),
    slots=2,
    pace=0.5,
    store=True,
)
"""Weather in which the engine's guards of checkpoints matter."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of expected warnings would take longer than the histories."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_whatever_happens_each_command_takes_effect_once(first: int) -> None:
    for seed in range(first, min(first + CHUNK, SEEDS)):
        try:
            History(seed).run()
        except Exception as failure:
            raise AssertionError(f"History({seed}).run()") from failure


def test_histories_are_as_eventful_as_they_are_meant_to_be() -> None:
    """Else the test above would prove little."""
    happened = History(0).happened
    for seed in range(40):
        history = History(seed)
        history.run()
        happened += history.happened
    wanted = {
        "Lost": 10,
        "Revoking": 40,
        "AwaitTransaction": 30,
        "TransactionAborted": 40,
        "TransactionInDoubt": 20,
        "ReplaceProducer": 20,
        "CommandsPolled": 400,
        "EventsPolled": 100,
        "SendAnswers": 300,
        "start": 100,
        "WriteCheckpoint": 150,
        "SnapshotLoaded newest": 30,
        "SnapshotLoaded away": 10,
        "SnapshotClaimRefused": 1,
        "CheckpointWritten merged": 5,
        "CheckpointFailed": 10,
        "CheckpointFailed superseded": 1,
        "CheckpointRequested": 15,
        "LoopTurned": 1_000,
        "killed": 5,
    }
    assert {name: happened[name] for name in wanted if happened[name] < wanted[name]} == {}


def _seed_that_shows(guards: Guards, climate: Climate) -> int:
    for seed in range(TRIES):
        try:
            History(seed, guards, climate).run()
        except (ViolationError, KeyError):  # KeyError: what is to be taken back is not where it was
            return seed
    pytest.fail(f"without {guards}, {TRIES} histories showed no violation")


@pytest.mark.parametrize("guard", [field.name for field in dataclasses.fields(Guards)])
def test_a_missing_guard_is_noticed(guard: str) -> None:
    """Reproduction without the guard, prevention with it, in the same histories."""
    without: dict[str, Any] = {guard: False}
    shown = _seed_that_shows(Guards(**without), CLIMATES[guard])
    for seed in range(max(0, shown - 10), shown + 10):
        History(seed, Guards(), CLIMATES[guard]).run()


def test_a_forgotten_command_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands with an id that took effect before would take effect again."""
    monkeypatch.setattr("eventsrc.engine.decide.recall", lambda memory, command_id: None)
    shown = _seed_that_shows(Guards(), Climate())
    monkeypatch.undo()
    History(shown).run()


def test_state_kept_after_an_abort_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading again from where the batch began, without putting the state back."""

    def rewind_only(partition: Partition, section: Any) -> int:
        partition.position = section.start
        partition.waiting_for = None
        return 0

    monkeypatch.setattr(Partition, "take_back", rewind_only)
    climate = CLIMATES["drops_batch_ahead"]
    shown = _seed_that_shows(Guards(), climate)
    monkeypatch.undo()
    History(shown, Guards(), climate).run()


# ---- the engine's guards of checkpoints, each taken away


def _write_at_once(self: Checkpoints, at: object) -> list[object]:
    """Before the batches that the states have seen are committed."""
    lineage = self._active
    gathering = lineage.gathering if lineage is not None else None
    if lineage is None or gathering is None or gathering.stage is not Stage.GATHERING:
        return []
    return [self._write(lineage, gathering)] if self._encode_slice(lineage, gathering) else []


def _replaced_but_not_copied(value: Any, **changes: Any) -> Any:
    """Where a checkpoint stands is then taken when it is written, not when gathering began."""
    return dataclasses.replace(value, **changes) if changes else value


_opened = Checkpoints.opened


def _opened_clean(self: Checkpoints, partition: Partition, *recovered: Any) -> None:
    """What changed between the checkpoint that was loaded and now is taken to be in it."""
    _opened(self, partition, *recovered)
    lineage = self.lineages[partition.key]
    if lineage.dirty is not None:
        lineage.dirty = set()


@pytest.mark.parametrize(
    ("owner", "name", "without"),
    [
        (Checkpoints, "gather", _write_at_once),
        (checkpoint, "replace", _replaced_but_not_copied),
        (Checkpoints, "_give_back", lambda self, lineage, gathering: None),
        (Checkpoints, "opened", _opened_clean),
        (PartitionFold, "_has_seen", lambda self, *event: False),
        (WorkerEngine, "_uncommitted", lambda self, key: set()),
    ],
    ids=[
        "written before the commit",
        "position taken when it is written",
        "changes not given back after a failure",
        "changes of the tail not dirty",
        "events that a state has seen are not skipped",
        "uncommitted aggregates are cooled",
    ],
)
def test_a_missing_guard_of_checkpoints_is_noticed(
    owner: object, name: str, without: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, without)
    shown = _seed_that_shows(Guards(), SNAPSHOTS)
    monkeypatch.undo()
    for seed in range(max(0, shown - 3), shown + 3):
        History(seed, Guards(), SNAPSHOTS).run()

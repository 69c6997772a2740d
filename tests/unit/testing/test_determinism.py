"""The determinism check finds what would let two folds disagree, and names it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import Any

import pytest

from eventsrc import Pipeline, apply, handle
from eventsrc.codec.catalog import Catalog
from eventsrc.testing import DeterminismReport, check_determinism, determinism
from eventsrc.testing.folding import FoldProcess
from eventsrc.testing.histories import make_histories
from eventsrc.testing.made_values import made_message
from tests.unit.codec.app import pipeline as every_type
from tests.unit.testing import desk, unsound


@pytest.fixture(autouse=True, scope="module")
def _in_no_hurry() -> Iterator[None]:
    """All histories are made, however slow the processor and whoever else of this process has some of it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(determinism, "make_histories", partial(make_histories, budget_s=math.inf))
        yield


@pytest.fixture(scope="module")
def report() -> DeterminismReport:
    return check_determinism(unsound.pipeline)


def problem(report: DeterminismReport, beginning: str) -> str:
    (found,) = [each for each in report.problems if each.startswith(beginning)]
    return found


def test_a_sound_application_has_no_problems() -> None:
    sound = check_determinism(desk.pipeline)
    assert sound.problems == ()
    assert sound.hash_seeds == (1, 2)
    assert sound.events > 50
    assert sound.commands > 50


def test_an_order_that_hashing_makes(report: DeterminismReport) -> None:
    found = problem(report, "HashOrdered.gone (event ")
    assert re.search(
        r"folded under PYTHONHASHSEED=[12], it makes another state: words\[\d\]: first '.+', then '.+'", found
    )


def test_chance(report: DeterminismReport) -> None:
    assert "folded a second time, it makes another state: drawn: first 0." in problem(report, "ByChance.quiet")


def test_a_state_that_cannot_be_kept(report: DeterminismReport) -> None:
    """A worker sets the command aside: no history holds such a state."""
    left = "an @apply method left in Overgrown what cannot be kept: "
    assert any(note.startswith("Overgrown: ") and left in note for note in report.notes)


def test_a_state_that_cannot_be_kept_after_events_in_some_order(report: DeterminismReport) -> None:
    assert any(note.startswith("Remembering.gone") and "the state cannot be kept: " in note for note in report.notes)


def test_a_handler_that_changes_the_state(report: DeterminismReport) -> None:
    assert "Remembering.go changed the state of the Remembering" in problem(report, "Remembering.go ")


def test_nothing_else_is_a_problem(report: DeterminismReport) -> None:
    assert len(report.problems) == 3


def test_what_is_worth_a_look(report: DeterminismReport) -> None:
    notes = "\n".join(report.notes)
    assert "ByChance: no Never was found that meets its constraints" in notes
    assert "Undecided: Go is decided differently each time: take time, chance and ids from the context" in notes
    assert "Fragile: Go(words=set()), made up, raised ZeroDivisionError: " in notes
    assert notes.count("a worker would dead-letter it") == 2


def test_a_state_that_is_not_the_whole_of_what_apply_knows() -> None:
    local = Pipeline("local")
    hidden: dict[str, Any] = {}

    @local.command
    class Add:
        amount: int

    @local.event
    class Added:
        amount: int

    @local.aggregate
    class Sum:
        total: int = 0

        @handle
        def add(self, command: Add) -> Added:
            return Added(command.amount)

        @apply
        def added(self, event: Added) -> None:
            self.total = hidden.setdefault(self.id, 0) + event.amount
            hidden[self.id] = self.total

    found = check_determinism(local, hash_seeds=())
    assert any("Sum.added" in each and "total: first" in each for each in found.problems)
    assert found.hash_seeds == ()
    assert "no global of a module" in check_determinism(local).notes[-1]


def test_histories_are_the_same_for_a_seed() -> None:
    first, again, other = (make_histories(desk.pipeline, seed, math.inf).histories for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_values_are_made_of_every_type() -> None:
    catalog, random = Catalog(every_type, None), Random(1)
    made = 0
    for aggregate in every_type.aggregates.values():
        for cls, message in aggregate.events.items():
            write = catalog.event_writer(aggregate, cls)
            for _ in range(30):
                event = made_message(message, random)
                write(bytes(16), None, None, 0, 0, 1, 0, bytes(8), event)
                made += 1
    assert made > 30


@pytest.mark.parametrize(
    ("app", "told"),
    [
        ("tests.unit.testing.nowhere:pipeline", "No module named"),
        ("tests.unit.testing.desk:nothing", "has no attribute"),
    ],
)
def test_a_process_that_cannot_import_the_application(app: str, told: str) -> None:
    report = check_determinism(desk.pipeline, app=app)
    assert report.hash_seeds == ()
    assert [told in note for note in report.notes if "PYTHONHASHSEED=1 failed" in note] == [True]


def test_a_process_that_is_not_waited_for_is_ended() -> None:
    process = FoldProcess("tests.unit.testing.desk:pipeline", 1, [])
    process.end()
    assert process._process.returncode is not None

"""`ports.DecidingRecord`, and what a later life of the worker learns from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from eventsrc.adapters.local.crash_record import CrashRecord
from eventsrc.ports import DecidingRecord
from eventsrc.testing.memory.record import MemoryDecidingRecord, MemorySlot

PLACE = ("account", 3, 1_000_000)
OTHER = ("account", 3, 1_000_001)


class Life(DecidingRecord, Protocol):
    """What the worker's start asks beside what the loop does."""

    @property
    def suspicious(self) -> bool: ...

    @property
    def isolated(self) -> set[tuple[str, int, int]]: ...

    @property
    def overlong_before(self) -> dict[tuple[str, int, int], int]: ...

    def close(self) -> None: ...


Begin = Callable[[], Life]


@pytest.fixture(params=["memory", "local"])
def begin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Begin]:
    """Begins the next life in the same slot; the one before it has ended uncleanly if it was not closed."""
    if request.param == "memory":
        slot = MemorySlot()
        yield lambda: MemoryDecidingRecord(slot)
    else:
        yield lambda: CrashRecord(tmp_path)


def crash_over(begin: Begin, place: tuple[str, int, int], times: int) -> None:
    for _ in range(times):
        begin().deciding(place)


def test_a_first_life_suspects_nothing(begin: Begin) -> None:
    life = begin()
    assert (life.suspicious, life.isolated) == (False, set())


def test_one_unclean_end_is_no_reason_yet_two_are(begin: Begin) -> None:
    begin()
    assert not begin().suspicious
    assert begin().suspicious


def test_a_command_that_three_lives_ended_over_is_isolated_and_stays_so(begin: Begin) -> None:
    crash_over(begin, PLACE, 2)
    assert begin().isolated == set()
    crash_over(begin, PLACE, 1)
    assert begin().isolated == {PLACE}
    assert begin().isolated == {PLACE}


def test_only_the_command_at_which_a_life_ended_counts(begin: Begin) -> None:
    for _ in range(3):
        life = begin()
        life.deciding(PLACE)
        life.deciding(OTHER)
    assert begin().isolated == {OTHER}


def test_a_command_that_was_decided_is_not_held_against_its_successors(begin: Begin) -> None:
    for _ in range(4):
        life = begin()
        life.deciding(PLACE)
        life.deciding(None)
    assert begin().isolated == set()


def test_after_progress_earlier_ends_do_not_count(begin: Begin) -> None:
    crash_over(begin, PLACE, 2)
    life = begin()
    assert life.suspicious
    life.progressed()
    assert not begin().suspicious
    crash_over(begin, PLACE, 2)
    assert begin().isolated == set()


def test_commands_that_took_too_long_are_known_to_later_lives_until_a_clean_end(begin: Begin) -> None:
    life = begin()
    life.overlong(PLACE, 1)
    life.overlong(OTHER, 1)
    life.overlong(PLACE, 2)
    life.progressed()
    life = begin()
    assert life.overlong_before == {PLACE: 2, OTHER: 1}
    assert life.isolated == set()
    life.close()
    assert begin().overlong_before == {}


def test_a_clean_end_is_forgotten(begin: Begin) -> None:
    crash_over(begin, PLACE, 3)
    life = begin()
    assert life.isolated == {PLACE}
    life.close()
    life = begin()
    assert (life.suspicious, life.isolated) == (False, set())

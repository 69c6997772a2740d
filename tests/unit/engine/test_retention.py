"""Which checkpoints are kept, so that time travel starts near any point of the recent past."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from eventsrc.engine.retention import kept
from eventsrc.model.position import Position
from eventsrc.model.snapshot import Listed

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


def taken(age: timedelta, position: int | None = None) -> Listed:
    """The younger, the higher its position, unless one is given."""
    at = 10**10 - int(age.total_seconds()) if position is None else position
    return Listed(uuid.uuid4(), Position(at), NOW - age)


def ages(checkpoints: Sequence[Listed], keep: set[uuid.UUID]) -> list[timedelta]:
    return sorted(NOW - each.taken_at for each in checkpoints if each.id in keep)


def test_nothing_is_kept_of_nothing() -> None:
    assert kept([], NOW) == set()


def test_the_last_hour_is_kept_whole() -> None:
    hour = [taken(timedelta(seconds=10 * number)) for number in range(360)]
    assert kept(hour, NOW) == {each.id for each in hour}


def test_the_newest_is_kept_however_old() -> None:
    old, older = taken(timedelta(days=400)), taken(timedelta(days=401))
    assert kept([older, old], NOW) == {old.id}


def test_of_a_day_the_last_of_each_hour_is_kept() -> None:
    day = [taken(timedelta(minutes=10 * number)) for number in range(24 * 6)]
    keep = ages(day, kept(day, NOW))
    later = [age for age in keep if age > timedelta(hours=1)]
    assert [age for age in keep if age <= timedelta(hours=1)] == [timedelta(minutes=10 * number) for number in range(7)]
    moments = [NOW - age for age in later]
    assert 22 <= len({moment.replace(minute=0) for moment in moments}) == len(moments) <= 24
    assert {moment.minute for moment in moments[1:]} == {50}  # the first hour is only partly more than an hour ago


def test_of_a_month_the_last_of_each_day_is_kept_and_nothing_beyond() -> None:
    month = [taken(timedelta(hours=6 * number)) for number in range(4 * 45)]
    keep = [age for age in ages(month, kept(month, NOW)) if age > timedelta(days=1)]
    days = [(NOW - age).date() for age in keep]
    assert len(days) == len(set(days))
    assert 29 <= len(days) <= 31
    assert max(keep) <= timedelta(days=30)
    assert {(NOW - age).hour for age in keep[1:]} == {18}  # the first day is only partly more than a day ago


def test_of_two_at_one_position_the_later_one_is_kept() -> None:
    merged, before, other = (
        taken(timedelta(minutes=1), 50),
        taken(timedelta(minutes=2), 50),
        taken(timedelta(minutes=3), 40),
    )
    assert kept([before, other, merged], NOW) == {merged.id, other.id}


def test_what_is_kept_is_kept_again() -> None:
    checkpoints = [taken(timedelta(minutes=15 * number)) for number in range(4 * 24 * 3)]
    keep = kept(checkpoints, NOW)
    assert kept([each for each in checkpoints if each.id in keep], NOW) == keep


def test_thinned_after_each_checkpoint_there_is_one_near_every_moment() -> None:
    every = timedelta(minutes=20)
    here: list[Listed] = []
    for number in range(3 * 24 * 40, -1, -1):
        here.append(taken(every * number))
        keep = kept(here, NOW - every * number)
        here = [each for each in here if each.id in keep]
    found = ages(here, {each.id for each in here})
    assert found[:4] == [every * number for number in range(4)]
    for limit, gap in ((timedelta(days=1), timedelta(hours=2)), (timedelta(days=29), timedelta(days=2))):
        within = [age for age in found if age <= limit]
        assert max(later - sooner for sooner, later in pairwise(within)) <= gap
    assert len(found) <= 4 + 24 + 31

"""When a checkpoint is due: predictions, the budget, and what is measured."""

from __future__ import annotations

import pytest

from eventsrc.engine.cadence import LOAD_RATE, REPLAY_RATE, STARTUP_S, Cadence


@pytest.fixture
def cadence() -> Cadence:
    return Cadence(objective_s=2.0, interval_s=60.0, budget=0.05, replay_rate=1000.0, load_rate=1e6)


def test_a_recovery_is_start_up_and_loading_and_replaying(cadence: Cadence) -> None:
    assert cadence.predicted_s(500, 250_000) == pytest.approx(STARTUP_S + 0.5 + 0.25)
    assert cadence.partition_s(500, 250_000) == pytest.approx(0.75)
    assert cadence.predicted_s(0, 0) == STARTUP_S


def test_near_is_before_the_objective(cadence: Cadence) -> None:
    assert [cadence.is_near(seconds, 500) for seconds in (1.3, 1.4, 2.5)] == [False, True, True]


def test_nothing_is_due_where_the_events_after_checkpoints_are_none_of_the_trouble(cadence: Cadence) -> None:
    assert [cadence.is_near(5.0, tail) for tail in (0, 99, 100)] == [False, False, True]


def test_a_burst_is_afforded_and_then_paid_for(cadence: Cadence) -> None:
    assert cadence.affords(100.0)
    cadence.spent(3.0)
    assert [cadence.affords(at) for at in (100.0, 120.0, 139.9, 140.2)] == [False, False, False, True]


def test_idle_time_saves_up_a_second_and_no_more(cadence: Cadence) -> None:
    assert cadence.affords(0.0)
    assert cadence.affords(1e6)
    cadence.spent(1.5)
    assert not cadence.affords(1e6 + 9.9)
    assert cadence.affords(1e6 + 10.1)


def test_the_budget_bounds_the_share_of_time(cadence: Cadence) -> None:
    """Begun whenever it is afforded, each costing 0.1 s: a twentieth of the time, and the second that was saved up."""
    spent_s, at_s = 0.0, 0.0
    while at_s < 600.0:
        if cadence.affords(at_s):
            cadence.spent(0.1)
            spent_s += 0.1
            at_s += 0.1
        at_s += 0.05
    assert 0.05 * 600 <= spent_s <= 0.05 * 600 + 1.2


def test_rates_are_measured_where_there_was_enough_to_measure() -> None:
    cadence = Cadence(2.0, 60.0, 0.05)
    cadence.replayed(100, 1.0)
    cadence.loaded(1000, 1.0)
    cadence.replayed(5_000, 0.0)
    cadence.loaded(5_000_000, 0.0)
    assert (cadence.replay_rate, cadence.load_rate) == (REPLAY_RATE, LOAD_RATE)
    cadence.replayed(5_000, 0.5)
    cadence.loaded(5_000_000, 2.0)
    assert (cadence.replay_rate, cadence.load_rate) == pytest.approx((20_000, 15_811_388.3))


def test_one_recovery_in_trouble_is_not_believed_alone() -> None:
    cadence = Cadence(2.0, 60.0, 0.05)
    cadence.loaded(5_000_000, 500.0)  # at a ten-thousandth of the rate that was guessed
    assert cadence.load_rate == pytest.approx(LOAD_RATE / 100)
    for _ in range(5):
        cadence.loaded(5_000_000, 0.05)
    assert cadence.load_rate > 0.8 * LOAD_RATE

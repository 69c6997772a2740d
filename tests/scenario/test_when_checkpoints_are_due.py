"""When a checkpoint is due, and what is said where the objective does not hold."""

from __future__ import annotations

import logging

import pytest

from tests.scenario.stage import Stage
from tests.scenario.storing import Opened, stored_one


def test_nothing_changed_nothing_written_and_a_change_within_the_interval(storing: Stage) -> None:
    stored_one(storing).play("""
        tick 70
        turn
        commands account/0 2:deposit1
        -> commit account/0 2..3 @2#0 by m1
        committed account/0=3
        -> answer ok@2
        tick 1
        turn
        -> write account/0 #2 position 4 seen 4 commands 3: id@2 extending 1
        written account/0 #2
        commands account/0 3:deposit1
        -> commit account/0 3..4 @3#0 by m1
        committed account/0=4
        -> answer ok@3
        tick 59
        turn
        tick 1
        turn
        -> write account/0 #3 position 5 seen 5 commands 4: id@3 extending 2
    """)


def test_one_partition_at_a_time_the_longest_overdue_first(opened: Opened) -> None:
    stage = opened("account/0", "account/1", stage=Stage(has_snapshots=True))
    stage.play("""
        tick 30
        request account/1
        tick 1
        tick 1
        turn
        -> write account/1 #1 position 1 seen 1 commands 0: all
        tick 30
        turn
        written account/1 #1
        tick 1
        turn
        -> write account/0 #2 position 1 seen 1 commands 0: all
        written account/0 #2
        tick 60
        turn
    """)


def test_a_request_before_the_partition_is_open_is_served_when_it_is() -> None:
    Stage(has_snapshots=True).play("""
        producer ready
        assigned account/0
        -> ask account/0 #1
        request account/0
        stable account/0 #1 committed none log 0..0
        -> commit barriers account/0 to 0 by m1
        committed account/0=0
        -> load account/0 #1 term 0
        loaded account/0 #1 nothing
        -> read account/0
        replayed account/0 0..0
        -> stop reading account/0
        -> open account/0 at 0
        tick 1
        turn
        -> write account/0 #1 position 1 seen 1 commands 0: all
        written account/0 #1
        tick 1
        turn
    """)


def test_without_a_store_nothing_is_loaded_or_written(opened: Opened) -> None:
    opened("account/0").play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        committed account/0=1
        -> answer ok@1
        request account/0
        tick 600
        turn
    """)


def test_a_worker_that_stops_begins_none(storing: Stage) -> None:
    storing.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        committed account/0=1
        -> answer ok@1
        shutdown
        tick 600
        turn
    """)


def test_where_a_recovery_would_take_too_long_the_longest_tail_is_next(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "eventsrc.engine")
    stage = opened("account/0", "account/1", stage=Stage(has_snapshots=True))
    cadence = stage.engine.checkpoints.cadence
    cadence.objective_s, cadence.replay_rate = 2.0, 1.0
    stage.play("""
        commands account/1 0:parts2 account/0 0:deposit5
        -> commit account/1 0..1 @1#0 @2#0 account/0 0..1 @1#0 by m1
        committed account/1=2 account/0=1
        -> answer ok@2 ok@1
        tick 1
        turn
        -> write account/1 #1 position 3 seen 3 commands 1: id@2 all
        written account/1 #1
        tick 1
        turn
        -> write account/0 #2 position 2 seen 2 commands 1: id@1 all
        not-written account/0 #2
        tick 70
    """)
    assert [record.getMessage() for record in caplog.records if "objective" in record.getMessage()] == [
        "the recovery time objective does not hold: predicted 3.6 s / 2 s: checkpoints come as fast as checkpoint_overhead "
        "(0.05) lets them; allow more, declare a longer objective, or add workers",
        "the recovery time objective holds again: predicted 1.6 s / 2 s",
    ]


def test_an_objective_that_does_not_hold_is_said_again_every_minute_with_the_reason(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    stage = opened("account/0", stage=Stage(has_snapshots=True))
    stage.engine.checkpoints.cadence.objective_s = 0.5
    stage.play("""
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 1 seen 1 commands 0: all
        not-written account/0 #1
        tick 58.9
        turn
        -> write account/0 #2 position 1 seen 1 commands 0: all
        not-written account/0 #2
        tick 1.2
        tick 1
    """)
    said = [record.getMessage() for record in caplog.records if "objective" in record.getMessage()]
    assert [each.rpartition(": ")[2] for each in said] == [
        "starting and loading the states takes 0.6 s of it, by the latest load of this worker, and no checkpoint shortens "
        "that; declare a longer objective, or add workers",
        "Postgres does not answer",
    ]


def test_without_a_database_the_warning_says_so(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    stage = opened("account/0")
    stage.engine.checkpoints.cadence.objective_s = 0.5
    stage.play("tick 1")
    assert "no database is configured" in caplog.text
    assert stage.engine.report(stage._instant("")).snapshots is not None


def test_what_the_store_cannot_do_is_said_once_and_that_it_can_again(
    storing: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "eventsrc.checkpoint")
    storing.play("""
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 1 seen 1 commands 0: all
        not-written account/0 #1
        tick 30
        turn
        -> write account/0 #2 position 1 seen 1 commands 0: all
        not-written account/0 #2
        tick 30
        turn
        -> write account/0 #3 position 1 seen 1 commands 0: all
        written account/0 #3
    """)
    assert [record.getMessage() for record in caplog.records] == [
        "no checkpoint can be written: Postgres does not answer. Processing goes on; a recovery would read more of the log",
        "snapshots are written again",
    ]

"""What a worker says of its partitions, in every phase."""

from __future__ import annotations

import pytest

from eventsrc.engine.cadence import STARTUP_S
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.report import PartitionReport, WorkerReport
from tests.scenario.stage import Stage

KEY = PartitionKey("account", 0)
TAKEN = """
    producer ready
    assigned account/0
    -> ask account/0 #1
"""
LOADING = """
    stable account/0 #1 committed none log 0..50
    -> commit barriers account/0 to 0 by m1
    committed account/0=9
    -> load account/0 #1 term 9
"""
READING = """
    loaded account/0 #1 nothing
    -> read account/0
"""
OPENED = """
    events account/0 0:barrier 1:deposited5@1#0<1 2:b.deposited6@1#0<2
    replayed account/0 9..9
    -> stop reading account/0
    -> open account/0 at 3
"""


def reported(stage: Stage) -> tuple[WorkerReport, PartitionReport]:
    report = stage.engine.report(stage._instant(""))
    (partition,) = report.partitions
    return report, partition


@pytest.fixture
def stage() -> Stage:
    return Stage(has_snapshots=True)


def test_a_worker_without_partitions_has_nothing_to_recover(stage: Stage) -> None:
    report = stage.engine.report(stage._instant(""))
    assert (report.instance, report.partitions, report.predicted_recovery_s) == ("host-0", (), STARTUP_S)
    assert (report.objective_held, report.snapshots) == (True, None)


def test_on_the_way_the_phase_says_what_is_waited_for(stage: Stage) -> None:
    stage.play(TAKEN)
    assert reported(stage)[1] == PartitionReport(
        KEY, "fencing", "waiting for the stable offset", None, None, 0, 0, None, 0.0, None
    )
    stage.play(LOADING)
    assert reported(stage)[1][1:3] == ("loading", "loading its newest checkpoint")


def test_recovery_counts_offsets_up_to_our_own_barrier(stage: Stage) -> None:
    stage.play(TAKEN + LOADING + READING)
    stage.now_s += 2
    progress = reported(stage)[1].recovery
    assert progress is not None
    assert progress == (10, 0, 0.0, None)
    stage.play("events account/0 0:barrier 1:deposited5@1#0<1 2:b.deposited6@1#0<2 4:deposited5@2#0<3")
    assert reported(stage)[1].recovery == (10, 5, 2.5, 2.0)


def test_an_open_partition_says_where_it_stands(stage: Stage) -> None:
    stage.play(TAKEN + LOADING + READING + OPENED)
    report, partition = reported(stage)
    rate = stage.engine.checkpoints.cadence.replay_rate
    assert partition == PartitionReport(KEY, "open", None, 3, 10, 2, 2, None, pytest.approx(2 / rate), None, live=2)  # type: ignore[arg-type]
    assert report.predicted_recovery_s == pytest.approx(STARTUP_S + 2 / rate)


def test_the_tail_is_counted_from_the_newest_checkpoint_on_and_only_what_is_committed(stage: Stage) -> None:
    stage.play(TAKEN + LOADING + READING + OPENED)
    stage.play("""
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 10 seen 10 commands 3: b@1 id@1 all
        written account/0 #1
        commands account/0 3:deposit5
        -> commit account/0 3..4 @2#9 by m1
    """)
    partition = reported(stage)[1]
    assert (partition.commands_position, partition.events_position, partition.tail) == (4, 10, 0)
    assert partition.checkpoint is not None
    assert partition.checkpoint.position == 10
    stage.play("""
        committed account/0=11
        -> answer ok@2
    """)
    partition = reported(stage)[1]
    assert (partition.events_position, partition.tail, partition.aggregates) == (12, 1, 2)


def test_what_is_wrong_is_said(stage: Stage) -> None:
    stage.play(TAKEN + LOADING + READING + OPENED)
    stage.play("""
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 10 seen 10 commands 3: b@1 id@1 all
        not-written account/0 #1
        commands account/0 3:unknown
        -> pause account/0
    """)
    report, partition = reported(stage)
    assert (report.snapshots, report.snapshots_failing_since_us) == (
        "Postgres does not answer",
        stage._instant("").wall_us,
    )
    assert partition.phase == "waiting"
    assert "command at offset 3 is of a schema not known here" in (partition.reason or "")
    stage.play("""
        log-refused account/0 the topic is gone
        -> pause account/0
        -> halt account/0
    """)
    partition = reported(stage)[1]
    assert (partition.phase, partition.reason, partition.commands_position) == ("halted", "the topic is gone", None)


def test_an_objective_that_does_not_hold_shows(stage: Stage) -> None:
    stage.play(TAKEN + LOADING + READING + OPENED)
    stage.engine.checkpoints.cadence.replay_rate = 0.1
    report, partition = reported(stage)
    assert not report.objective_held
    assert partition.predicted_recovery_s == pytest.approx(20)

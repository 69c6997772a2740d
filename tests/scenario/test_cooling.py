"""Aggregates that are encoded: stored states that cannot be read, live ones that cool and come back."""

from __future__ import annotations

import dataclasses

import pytest

from eventsrc.engine import worker
from tests.scenario.stage import Stage
from tests.scenario.storing import ACCOUNT_0, TAKEN_AGAIN, Opened, live, stored_one
from tests.unit.engine.shop import Deposited, behaviour, key_on, pipeline


def test_a_stored_state_that_cannot_be_read_halts_and_buries_nothing(storing: Stage) -> None:
    """Nothing is known of that aggregate: it is not new, and its command is not to blame."""
    stored_one(storing).play(TAKEN_AGAIN.format(committed=2, barrier=5))
    storing.play("""
        loaded account/0 #2 1 damaged
        -> read account/0 from 2
        replayed account/0 2..5
        -> stop reading account/0
        -> open account/0 at 2
        commands account/0 2:c.deposit1 3:deposit1 4:garbage
        -> pause account/0
        -> halt account/0
        commands account/0 2:c.deposit1
        tick 1
    """)
    assert "the stored state of b'id2' cannot be read" in storing.halts["account/0"]
    assert "checkpoint discard" in storing.halts["account/0"]


def test_a_stored_state_that_cannot_be_read_halts_its_own_partition_alone(opened: Opened) -> None:
    stage = opened("account/0", stage=Stage(has_snapshots=True))
    stored_one(stage)
    stage.play(TAKEN_AGAIN.format(committed=2, barrier=5))
    stage.play("""
        loaded account/0 #2 1 damaged
        -> read account/0 from 2
        replayed account/0 2..5
        -> stop reading account/0
        -> open account/0 at 2
        assigned account/1
        -> ask account/1 #3
        stable account/1 #3 committed none log 0..50
        -> commit barriers account/1 to 0 by m1
        committed account/1=0
        -> load account/1 #3 term 0
        loaded account/1 #3 nothing
        -> read account/1
        replayed account/1 0..0
        -> stop reading account/1
        -> open account/1 at 0
        commands account/0 2:deposit1 account/1 0:deposit3
        -> pause account/0
        -> halt account/0
        -> commit account/1 0..1 @1#0 by m1
        committed account/1=1
        -> answer ok@1
    """)


def test_a_stored_state_that_a_replay_cannot_read_halts(storing: Stage) -> None:
    stored_one(storing).play("""
        commands account/0 2:deposit1
        -> commit account/0 2..3 @2#0 by m1
        committed account/0=3
        -> answer ok@2
    """)
    storing.play(TAKEN_AGAIN.format(committed=3, barrier=5))
    storing.play("""
        loaded account/0 #2 1 damaged
        -> read account/0 from 2
        replayed account/0 2..5
        -> stop reading account/0
        -> pause account/0
        -> halt account/0
    """)
    assert "cannot be read" in storing.halts["account/0"]


def test_a_state_that_cannot_be_encoded_stops_no_worker(storing: Stage) -> None:
    """An `apply` of earlier code let it grow out of its type, and the log has it. Commands go on, other partitions'
    checkpoints too; and the worker says why."""
    partition = storing.engine.owned[ACCOUNT_0].partition
    assert partition is not None
    partition.compiled.check_state = lambda instance: None  # which would have kept it out of the log

    def overflow(account: object, event: Deposited, recorded: object) -> None:
        if event.amount == 9:
            account.balance = 2**70  # type: ignore[attr-defined]

    behaviour["apply"] = overflow
    stored_one(storing).play("""
        commands account/0 2:deposit9 3:c.deposit1
        -> commit account/0 2..4 @2#0 @1#0 by m1
        committed account/0=4
        -> answer ok@2 ok@1
        request account/0
        tick 1
        turn
        turn
        tick 29
        turn
        commands account/0 4:deposit1
        -> commit account/0 4..5 @3#0 by m1
        committed account/0=5
        -> answer ok@3
    """)
    problem = storing.engine.checkpoints.problem or ""
    assert problem.startswith('the state of account "id2": Account.balance: 11805')
    assert problem.endswith("does not fit in 64 bits")
    storing.engine.owned[ACCOUNT_0].partition.live[key_on(0)].balance = 3  # type: ignore[union-attr]
    storing.play("""
        tick 1
        turn
        -> write account/0 #3 position 6 seen 6 commands 5: c@1 id@3 extending 1
    """)


@pytest.mark.usefixtures("one_live")
def test_cooling_leaves_what_is_not_committed_alone(storing: Stage) -> None:
    storing.play("""
        commands account/0 0:deposit5 1:b.deposit6
        -> commit account/0 0..2 @1#0 @1#0 by m1
        commands account/0 2:c.deposit6
        turn
    """)
    assert live(storing) == {"id", "b", "c"}
    storing.play("""
        committed account/0=2
        -> answer ok@1 ok@1
        -> commit account/0 2..3 @1#0 by m1
        turn
    """)
    assert live(storing) == {"c"}


@pytest.mark.usefixtures("one_live")
def test_cooled_aggregates_are_found_again_with_all_they_remember(storing: Stage) -> None:
    storing.play("""
        commands account/0 0:deposit5=first 1:b.deposit6 2:c.deposit6
        -> commit account/0 0..3 @1#0 @1#0 @1#0 by m1
        committed account/0=3
        -> answer ok@1 ok@1 ok@1
        turn
        commands account/0 3:deposit5=first 4:withdraw6 5:withdraw5
        -> commit account/0 3..6 @2#0 by m1
        committed account/0=4
        -> answer duplicate@1 rejected@1 ok@2
        turn
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 5 seen 5 commands 6: b@1 c@1 id@2 all
    """)


@pytest.mark.usefixtures("one_live")
def test_an_abort_puts_back_what_was_cooled_before(storing: Stage) -> None:
    """An aggregate that was encoded when its command came existed before it."""
    storing.play("""
        commands account/0 0:deposit5 1:b.deposit6
        -> commit account/0 0..2 @1#0 @1#0 by m1
        committed account/0=2
        -> answer ok@1 ok@1
        turn
        commands account/0 2:deposit5
        -> commit account/0 2..3 @2#0 by m1
        aborted
        -> open account/0 at 2
        commands account/0 2:deposit5
        -> commit account/0 2..3 @2#0 by m1
        committed account/0=4
        -> answer ok@2
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 5 seen 5 commands 3: b@1 id@2 all
    """)


@pytest.mark.usefixtures("one_live")
def test_a_recovery_cools_what_it_has_folded(storing: Stage) -> None:
    storing.play(TAKEN_AGAIN.format(committed=0, barrier=9))
    storing.play("""
        loaded account/0 #2 nothing
        -> read account/0
        events account/0 0:barrier 1:deposited5@1#0<0 2:b.deposited6@1#0<1 3:c.deposited6@1#0<2
        events account/0 4:b.deposited6@2#0<3 5:deposited6@2#0<4
        replayed account/0 9..9
        -> stop reading account/0
        -> open account/0 at 5
        commands account/0 5:b.withdraw12
        -> commit account/0 5..6 @3#9 by m1
        committed account/0=10
        -> answer ok@3
    """)


def test_a_slice_of_cooling_is_bounded(storing: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "settings", dataclasses.replace(pipeline.settings, live_aggregates=1))
    monkeypatch.setattr(worker, "COOLED_AT_ONCE", 1)
    storing.play("""
        commands account/0 0:deposit5 1:b.deposit6 2:c.deposit6
        -> commit account/0 0..3 @1#0 @1#0 @1#0 by m1
        committed account/0=3
        -> answer ok@1 ok@1 ok@1
        turn
    """)
    assert (len(live(storing)), storing.engine.wants_turns) == (2, True)
    storing.play("turn")
    assert (len(live(storing)), storing.engine.wants_turns) == (1, False)

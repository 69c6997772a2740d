"""Records of a newer version's schema: the partition waits for its file, up to the deadline (10 s here)."""

from __future__ import annotations

from collections.abc import Callable

from tests.scenario.stage import Stage

Opened = Callable[..., Stage]


def test_a_command_waits_then_is_given_up_and_dead_lettered_and_stays_given_up(opened: Opened) -> None:
    """Its fingerprint cannot stop the partition a second time."""
    opened("account/0", "account/1").play("""
        commands account/0 0:deposit5 1:unknown 2:deposit6 account/1 0:deposit7
        -> pause account/0
        -> commit account/0 0..1 @1#0 account/1 0..1 @1#0 by m1
        committed account/0=1 account/1=1
        -> answer ok@1 ok@1
        commands account/0 2:deposit6
        tick 0.5
        tick 1
        -> reload schemas
        -> open account/0 at 1
        commands account/0 1:unknown 2:deposit6
        -> pause account/0
        tick 10
        -> reload schemas
        -> open account/0 at 1
        commands account/0 1:unknown 2:deposit6 3:unknown
        -> commit account/0 1..4 @2#0 dead:unknown-schema dead:unknown-schema by m1
    """)


def test_an_abort_while_waiting_reads_again_from_where_the_batch_began(opened: Opened) -> None:
    opened("account/0").play("""
        commands account/0 0:deposit5 1:unknown
        -> pause account/0
        -> commit account/0 0..1 @1#0 by m1
        aborted
        -> open account/0 at 0
        tick 5
        commands account/0 0:deposit5 1:unknown
        -> pause account/0
        -> commit account/0 0..1 @1#0 by m1
    """)


def test_in_doubt_while_waiting_rebuilds_the_partition(opened: Opened) -> None:
    opened("account/0").play("""
        commands account/0 0:deposit5 1:unknown
        -> pause account/0
        -> commit account/0 0..1 @1#0 by m1
        in-doubt
        -> replace producer
        -> pause account/0
        -> ask account/0 #2
        tick 5
    """)


def test_a_halt_while_waiting_ends_the_wait(opened: Opened) -> None:
    opened("account/0").play("""
        commands account/0 0:unknown
        -> pause account/0
        log-refused account/0 gone
        -> pause account/0
        -> halt account/0
        tick 20
    """)


def test_an_event_blocks_recovery_which_reads_again_then_halts_by_name(stage: Stage) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed none log 0..9
        -> commit barriers account/0 to 0 by m1
        committed account/0=4
        -> read account/0
        events account/0 0:barrier 1:unknown@1#0
        -> stop reading account/0
        tick 0.5
        tick 0.5
        -> reload schemas
        -> read account/0
        events account/0 0:barrier 1:unknown@1#0
        -> stop reading account/0
        tick 10
        -> reload schemas
        -> read account/0
        events account/0 0:barrier 1:unknown@1#0
        -> stop reading account/0
        -> pause account/0
        -> halt account/0
    """)
    assert "of a schema not known here for 10 s" in stage.halts["account/0"]


def test_a_blocked_recovery_goes_on_when_the_schema_has_come(stage: Stage) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed none log 0..9
        -> commit barriers account/0 to 0 by m1
        committed account/0=4
        -> read account/0
        events account/0 0:barrier 1:unknown@1#0
        -> stop reading account/0
        tick 1
        -> reload schemas
        -> read account/0
        events account/0 0:barrier 1:deposited5@1#0<0 4:barrier
        -> stop reading account/0
        -> open account/0 at 1
    """)

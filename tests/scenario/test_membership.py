"""Partitions that leave: a revocation ends what is open first; what was lost is another's already."""

from __future__ import annotations

from collections.abc import Callable

from tests.scenario.stage import Stage

Opened = Callable[..., Stage]


def test_a_revocation_drops_the_batch_ahead_and_waits_for_the_transaction(opened: Opened) -> None:
    opened("account/0", "account/1").play("""
        commands account/0 0:deposit5 account/1 0:deposit5
        -> commit account/0 0..1 @1#0 account/1 0..1 @1#0 by m1
        commands account/0 1:deposit6 account/1 1:deposit6
        revoking account/0
        -> open account/0 at 1
        -> open account/1 at 1
        -> await transaction
        committed account/0=1 account/1=1
        -> answer ok@1 ok@1
        revoked account/0
        commands account/1 1:deposit6 by m2
        -> commit account/1 1..2 @2#0 by m2
    """)


def test_nothing_begins_between_revoking_and_revoked(opened: Opened) -> None:
    stage = opened("account/0", "account/1")
    stage.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        assigned basket/0
        -> ask basket/0 #3
        stable basket/0 #3 committed none log 0..0
        revoking account/1
        -> await transaction
        committed account/0=1
        -> answer ok@1
    """)
    assert not stage.engine.wants_commands
    stage.play("""
        revoked account/1
        -> commit barriers basket/0 to 0 by m1
    """)
    assert stage.engine.wants_commands


def test_a_transaction_aborted_by_a_revocation_is_repeated_for_what_stays(opened: Opened) -> None:
    opened("account/0", "account/1").play("""
        commands account/0 0:deposit5 account/1 0:deposit5
        -> commit account/0 0..1 @1#0 account/1 0..1 @1#0 by m1
        revoking account/0
        -> await transaction
        aborted
        -> open account/0 at 0
        -> open account/1 at 0
        revoked account/0
        commands account/1 0:deposit5 by m2
        -> commit account/1 0..1 @1#0 by m2
    """)


def test_a_revocation_with_nothing_open_waits_for_nothing(opened: Opened) -> None:
    opened("account/0").play("""
        revoking account/0
        revoked account/0
        commands account/0 0:deposit5
    """)


def test_what_is_lost_is_dropped_at_once_and_its_transaction_decided_to_no_effect(opened: Opened) -> None:
    opened("account/0").play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        commands account/0 1:deposit6
        lost account/0
        assigned account/0
        -> ask account/0 #2
        aborted
        stable account/0 #2 committed none log 0..50
        -> commit barriers account/0 to 0 by m1
    """)


def test_in_doubt_after_a_loss_touches_nothing_of_the_new_takeover(opened: Opened) -> None:
    opened("account/0").play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        lost account/0
        assigned account/0
        -> ask account/0 #2
        in-doubt
        -> replace producer
        stable account/0 #2 committed 1 log 0..50 term 0
        producer ready
        -> commit barriers account/0 to 1 by m1
    """)


def test_a_partition_that_waits_for_a_schema_can_leave(opened: Opened) -> None:
    opened("account/0").play("""
        commands account/0 0:unknown
        -> pause account/0
        revoking account/0
        revoked account/0
        tick 5
    """)


def test_a_halted_partition_leaves_and_comes_back_like_any_other(opened: Opened) -> None:
    opened("account/0").play("""
        log-refused account/0 unreadable
        -> pause account/0
        -> halt account/0
        revoking account/0
        revoked account/0
        assigned account/0
        -> ask account/0 #2
    """)


def test_a_topic_that_is_another_one_is_refused_also_when_its_partition_comes_later(stage: Stage) -> None:
    stage.play("""
        log-refused account/0 for-good the topic was made anew
        assigned account/0
        -> pause account/0
        -> halt account/0
        stable account/0 #1 committed 5 log 0..9
    """)
    assert "made anew" in stage.halts["account/0"]

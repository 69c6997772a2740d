"""Taking partitions over: the fence, the barrier, the reading up to it, and every way it begins again or ends."""

from __future__ import annotations

import pytest

from tests.scenario.stage import Stage


def test_a_partition_is_fenced_claimed_read_and_opened(stage: Stage) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed 3 log 0..9 term 0 by m7
        -> commit barriers account/0 to 3 by m7
        committed account/0=4
        -> read account/0
        events account/0 0:barrier 1:deposited5@1#0<1 2:deposited6@2#0<2
        events account/0 4:barrier
        -> stop reading account/0
        -> open account/0 at 3
        commands account/0 3:withdraw11 by m7
        -> commit account/0 3..4 @3#4 by m7
        committed account/0=6
        -> answer ok@3
    """)


def test_events_of_owners_that_had_been_deposed_are_passed_over_and_told_of(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed 3 log 0..9 term 2 by m7
        -> commit barriers account/0 to 3 by m7
        committed account/0=5
        -> read account/0
        events account/0 0:barrier 1:deposited5@1#0<1 2:barrier 3:deposited5@1#0<1 4:deposited6@2#0<2 5:barrier
        -> stop reading account/0
        -> open account/0 at 3
    """)
    (told,) = [each.getMessage() for each in caplog.records if "deposed" in each.getMessage()]
    assert "2 events of owners that had been deposed are ignored, the first at offset 3" in told


def test_several_partitions_share_one_transaction_of_barriers(stage: Stage) -> None:
    """Those that hold the same proof of membership, of whatever has been answered when the producer is free."""
    stage.play("""
        assigned account/0 account/1 basket/0
        -> ask account/0 #1
        -> ask account/1 #2
        -> ask basket/0 #3
        stable account/1 #2 committed none log 0..0
        -> commit barriers account/1 to 0 by m1
        stable account/0 #1 committed 4 log 0..9
        stable basket/0 #3 committed none log 2..9
        committed account/1=0
        -> read account/1
        -> commit barriers account/0 to 4 basket/0 to 2 by m1
        events account/1 0:barrier
        -> stop reading account/1
        -> open account/1 at 0
        committed account/0=7 basket/0=0
        -> read account/0
        -> read basket/0
        events basket/0 0:barrier account/0 7:barrier
        -> stop reading basket/0
        -> open basket/0 at 2
        -> stop reading account/0
        -> open account/0 at 4
    """)


def test_barriers_with_another_proof_of_membership_go_into_another_transaction(stage: Stage) -> None:
    stage.play("""
        assigned account/0 account/1
        -> ask account/0 #1
        -> ask account/1 #2
        stable account/0 #1 committed none log 0..0 by m1
        -> commit barriers account/0 to 0 by m1
        stable account/1 #2 committed none log 0..0 by m2
        committed account/0=0
        -> read account/0
        -> commit barriers account/1 to 0 by m2
    """)


def test_nothing_is_claimed_before_there_is_a_producer() -> None:
    Stage().play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed none log 0..0
        producer ready
        -> commit barriers account/0 to 0 by m1
    """)


def test_a_partition_never_committed_begins_at_the_log_start(stage: Stage) -> None:
    """Never at a negative offset: the broker would take that without any fence."""
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed none log 40..90
        -> commit barriers account/0 to 40 by m1
        committed account/0=0
        -> read account/0
        events account/0 0:barrier
        -> stop reading account/0
        -> open account/0 at 40
    """)


def test_a_commands_topic_that_ends_below_the_committed_offset_halts_before_any_barrier(stage: Stage) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed 12 log 0..9
        -> pause account/0
        -> halt account/0
    """)
    assert "topic ends at 9" in stage.halts["account/0"]


def test_commands_deleted_before_they_were_processed_halt(stage: Stage) -> None:
    """At every start: nothing but the barrier is written, and that commits the same offset."""
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed 5 log 8..9
        -> commit barriers account/0 to 5 by m1
        committed account/0=4
        -> read account/0
        events account/0 0:barrier 1:deposited5@1#0<6 4:barrier
        -> stop reading account/0
        -> pause account/0
        -> halt account/0
    """)
    assert "from offset 7 to 7 were deleted before they were processed" in stage.halts["account/0"]


def test_commands_deleted_after_they_were_processed_are_not_missed(stage: Stage) -> None:
    """The group's offset was lost, and an earlier takeover committed 0 for it: the events know better, again."""
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed 0 log 7..9
        -> commit barriers account/0 to 0 by m1
        committed account/0=4
        -> read account/0
        events account/0 0:barrier 1:deposited5@1#0<6 4:barrier
        -> stop reading account/0
        -> open account/0 at 7
    """)


def test_a_refused_takeover_halts_and_late_answers_change_nothing(stage: Stage) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        refused account/0 #1 not authorised
        -> pause account/0
        -> halt account/0
        stable account/0 #1 committed none log 0..0
        refused account/0 #1 not authorised
        log-refused account/0 gone
    """)
    assert stage.halts == {"account/0": "not authorised"}


def test_a_log_that_goes_away_during_a_takeover_halts_whatever_is_still_answered(stage: Stage) -> None:
    """Its question may still be refused, its barrier still be decided."""
    stage.play("""
        assigned account/0 account/1
        -> ask account/0 #1
        -> ask account/1 #2
        log-refused account/0 deleted
        -> pause account/0
        -> halt account/0
        refused account/0 #1 unknown topic
        stable account/1 #2 committed none log 0..0
        -> commit barriers account/1 to 0 by m1
        log-refused account/1 deleted
        -> pause account/1
        -> halt account/1
    """)


@pytest.mark.parametrize("outcome", ["committed account/0=0", "aborted"])
def test_the_barrier_of_a_partition_halted_meanwhile_is_decided_to_no_effect(stage: Stage, outcome: str) -> None:
    stage.play(f"""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed none log 0..0
        -> commit barriers account/0 to 0 by m1
        log-refused account/0 deleted
        -> pause account/0
        -> halt account/0
        {outcome}
    """)


def test_an_aborted_barrier_begins_again_at_the_stable_offset_with_a_new_proof(stage: Stage) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed 2 log 0..9 by m1
        -> commit barriers account/0 to 2 by m1
        aborted
        -> ask account/0 #2
        stable account/0 #1 committed 2 log 0..9 by m1
        stable account/0 #2 committed 5 log 0..9 by m2
        -> commit barriers account/0 to 5 by m2
    """)


def test_a_barrier_in_doubt_begins_again_with_another_producer(stage: Stage) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed 2 log 0..9
        -> commit barriers account/0 to 2 by m1
        in-doubt
        -> replace producer
        -> pause account/0
        -> ask account/0 #2
        stable account/0 #2 committed 2 log 0..9
        producer ready
        -> commit barriers account/0 to 2 by m1
    """)


def test_a_barrier_that_took_too_long_says_nothing_of_how_large_a_batch_may_be(stage: Stage) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed 2 log 0..9
        -> commit barriers account/0 to 2 by m1
        in-doubt late
        -> replace producer
        -> pause account/0
        -> ask account/0 #2
    """)
    assert stage.engine.record_limit == stage.limits.records


def test_reading_goes_on_until_our_own_barrier_whatever_else_is_read(stage: Stage) -> None:
    """Another's barrier, and what a deposed owner wrote below ours, do not end it."""
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed 1 log 0..9
        -> commit barriers account/0 to 1 by m1
        committed account/0=8
        -> read account/0
        events account/0 0:barrier 1:deposited5@1#0<0 3:barrier 5:deposited9@2#0<1
        events account/0 8:barrier
        -> stop reading account/0
        -> open account/0 at 1
        commands account/0 1:withdraw5
        -> commit account/0 1..2 @2#8 by m1
    """)


def test_commands_resume_after_the_last_that_made_an_event_where_the_group_stands_lower(stage: Stage) -> None:
    """An operator's reset, or a group whose offsets were lost."""
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed 1 log 0..9
        -> commit barriers account/0 to 1 by m1
        committed account/0=4
        -> read account/0
        events account/0 0:barrier 1:deposited5@1#0<6 4:barrier
        -> stop reading account/0
        -> open account/0 at 7
    """)


def test_commands_gone_from_the_log_halt_also_where_the_groups_offset_is_missing(stage: Stage) -> None:
    """Events tell how far processing came at least."""
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed none log 9..20
        -> commit barriers account/0 to 9 by m1
        committed account/0=4
        -> read account/0
        events account/0 0:barrier 1:deposited5@1#0<7 4:barrier
        -> stop reading account/0
        -> pause account/0
        -> halt account/0
    """)
    assert "from offset 8 to 8 were deleted" in stage.halts["account/0"]
    assert "whether they were processed is not known" in stage.halts["account/0"]


def test_where_the_groups_offset_is_missing_the_events_tell_where_to_go_on(stage: Stage) -> None:
    """Row 28: nothing between them and the log start is gone."""
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed none log 8..20
        -> commit barriers account/0 to 8 by m1
        committed account/0=4
        -> read account/0
        events account/0 0:barrier 1:deposited5@1#0<7 4:barrier
        -> stop reading account/0
        -> open account/0 at 8
    """)


def _reads(stage: Stage, events: str, *, stable: str = "committed 1 log 0..9", barrier: int = 4) -> str:
    stage.play(f"""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 {stable}
        -> commit barriers account/0 to 1 by m1
        committed account/0={barrier}
        -> read account/0
        events account/0 {events}
        -> stop reading account/0
        -> pause account/0
        -> halt account/0
    """)
    return stage.halts["account/0"]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ("0:barrier 1:deposited5@1#0<1 2:deposited5@3#0<2 4:barrier", "has no event of sequence 2"),
        ("0:barrier 1:deposited5@1#0<1 2:deposited5@1#0<2", "has sequence 1 twice"),
        ("0:barrier 1:deposited5@1#3<1", "names term 3"),
        ("0:barrier 4:deposited5@1#0<1", "where our own barrier was written, is another"),
        ("0:barrier 6:deposited5@1#0<1", "was not in the log when offset 6 was read"),
        ("0:barrier 1:deposited5@1#0<70 4:barrier", "commands were processed up to offset 70"),
        ("0:barrier! 1:deposited5@1#0<0 4:barrier", "the commands topic is another one"),
    ],
)
def test_a_log_that_contradicts_itself_halts_the_partition(stage: Stage, events: str, said: str) -> None:
    assert said in _reads(stage, events)


@pytest.mark.parametrize(
    ("stable", "said"),
    [
        ("log 0..9 term 0 recreated", "the events topic is another one (topic id events-1)"),
        ("log 0..9 events 7..20 term 8", "the events topic begins at offset 7"),
        ("log 0..9 events 0..4 term 8", "wrote its barrier at offset 8, and the events topic ends at 4"),
    ],
)
def test_another_log_is_refused_before_anything_is_written_so_that_every_later_start_refuses_it_too(
    stage: Stage, stable: str, said: str
) -> None:
    for attempt in (1, 2):
        stage.play(f"""
            assigned account/0
            -> ask account/0 #{attempt}
            stable account/0 #{attempt} committed 5 {stable}
            -> pause account/0
            -> halt account/0
            revoked account/0
        """)
        assert said in stage.halts.pop("account/0")


def test_a_recreated_events_topic_lacks_the_barrier_of_the_last_owner(stage: Stage) -> None:
    said = _reads(stage, "0:barrier", stable="committed 1 log 0..9 term 17", barrier=0)
    assert "wrote its barrier at offset 17, and it is no longer" in said


def test_a_recreated_topic_is_seen_also_where_our_barrier_has_the_offset_of_the_last_owners(stage: Stage) -> None:
    """In a new, empty topic the first barrier stands at 0, as it did in the old one."""
    said = _reads(stage, "0:barrier", stable="committed 1 log 0..9 term 0", barrier=0)
    assert "wrote its barrier at offset 0, and it is no longer" in said


def test_recovery_that_reads_nothing_for_too_long_asks_what_holds_it_back_and_halts(stage: Stage) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed none log 0..0
        -> commit barriers account/0 to 0 by m1
        committed account/0=9
        -> read account/0
        tick 29
        events account/0 0:barrier
        tick 29
        tick 2
        -> find blocker of account/0 #1
        tick 1
        refused account/0 #1 record 5 of another program's transaction
        -> stop reading account/0
        -> pause account/0
        -> halt account/0
    """)
    assert stage.halts == {"account/0": "record 5 of another program's transaction"}


def test_what_held_a_recovery_back_halts_nothing_once_the_recovery_went_on(stage: Stage) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed none log 0..0
        -> commit barriers account/0 to 0 by m1
        committed account/0=9
        -> read account/0
        tick 31
        -> find blocker of account/0 #1
        events account/0 0:barrier 9:barrier
        -> stop reading account/0
        -> open account/0 at 0
        refused account/0 #1 record 5 of another program's transaction
    """)


def test_what_held_a_recovery_back_halts_nothing_once_a_part_of_it_was_read(stage: Stage) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed none log 0..0
        -> commit barriers account/0 to 0 by m1
        committed account/0=9
        -> read account/0
        tick 31
        -> find blocker of account/0 #1
        tick 1
        events account/0 0:barrier
        refused account/0 #1 record 5 of another program's transaction
        events account/0 9:barrier
        -> stop reading account/0
        -> open account/0 at 0
    """)


def test_a_rebalance_during_recovery_stops_only_the_readers_of_what_left(stage: Stage) -> None:
    stage.play("""
        assigned account/0 account/1
        -> ask account/0 #1
        -> ask account/1 #2
        stable account/0 #1 committed none log 0..0
        -> commit barriers account/0 to 0 by m1
        stable account/1 #2 committed none log 0..0
        committed account/0=0
        -> read account/0
        -> commit barriers account/1 to 0 by m1
        revoking account/0
        -> await transaction
        committed account/1=0
        -> read account/1
        revoked account/0
        -> stop reading account/0
        events account/0 0:barrier account/1 0:barrier
        -> stop reading account/1
        -> open account/1 at 0
    """)


def test_a_partition_that_left_while_it_was_asked_for_is_not_claimed(stage: Stage) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        lost account/0
        stable account/0 #1 committed none log 0..0
        assigned account/0
        -> ask account/0 #2
        stable account/0 #1 committed none log 0..0
        stable account/0 #2 committed none log 0..0 by m2
        -> commit barriers account/0 to 0 by m2
    """)


def test_a_barrier_decided_after_its_partition_was_lost_and_came_back_belongs_to_the_old_takeover(stage: Stage) -> None:
    stage.play("""
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed none log 0..0 by m1
        -> commit barriers account/0 to 0 by m1
        lost account/0
        assigned account/0
        -> ask account/0 #2
        stable account/0 #2 committed none log 0..0 by m2
        committed account/0=0
        -> commit barriers account/0 to 0 by m2
        committed account/0=2
        -> read account/0
    """)

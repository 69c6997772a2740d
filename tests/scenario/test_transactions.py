"""The one transaction and the batch processed ahead of it: what each outcome does to both."""

from __future__ import annotations

from collections.abc import Callable

from eventsrc.engine.decide import Limits
from tests.scenario.stage import Stage

Opened = Callable[..., Stage]


def test_a_commit_with_a_batch_ahead_answers_and_sends_it(opened: Opened) -> None:
    stage = opened("account/0", "account/1")
    stage.play("""
        commands account/0 0:deposit5 1:withdraw9 account/1 0:parts2 by m1
        -> commit account/0 0..2 @1#0 account/1 0..1 @1#0 @2#0 by m1
        commands account/0 2:withdraw5 by m2
        committed account/0=1 account/1=2
        -> answer ok@1 rejected@1 ok@2
        -> commit account/0 2..3 @2#0 by m2
        committed account/0=3
        -> answer ok@2
    """)
    assert stage.engine.quiet


def test_no_commands_are_accepted_while_one_batch_is_ahead(opened: Opened) -> None:
    stage = opened("account/0")
    accepted = [stage.engine.accepts_commands]
    for line in ("commands account/0 0:deposit5\n-> commit account/0 0..1 @1#0 by m1", "commands account/0 1:deposit5"):
        stage.play(line)
        accepted.append(stage.engine.accepts_commands)
    assert accepted == [True, True, False]
    assert not stage.engine.wants_commands


def test_commands_that_are_decided_in_no_time_go_together_in_the_transaction_after_the_one_in_flight(
    opened: Opened,
) -> None:
    stage = opened("account/0")
    wanted = []
    for line in (
        "commands account/0 0:deposit5\n-> commit account/0 0..1 @1#0 by m1",
        "committed account/0=1\n-> answer ok@1",
    ):
        stage.play(line)
        wanted.append(stage.engine.wants_commands)
    assert wanted == [False, True]


def test_commands_are_decided_beside_a_transaction_while_one_of_the_latest_two_batches_took_its_time(
    opened: Opened,
) -> None:
    stage = opened("account/0")
    wanted = []
    for number, seconds in enumerate((0.004, 0.001, 0.001)):
        stage.play(f"""
            commands account/0 {number}:deposit5 taking {seconds}
            -> commit account/0 {number}..{number + 1} @{number + 1}#0 by m1
        """)
        wanted.append(stage.engine.wants_commands)
        stage.play(f"""
            committed account/0={number + 1}
            -> answer ok@{number + 1}
        """)
    assert wanted == [True, True, False]


def test_a_recovery_goes_on_beside_a_transaction(opened: Opened) -> None:
    """Waiting for its outcome would hold up what the loop reads."""
    stage = opened("account/0")
    stage.play("""
        assigned account/1
        -> ask account/1 #2
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
    """)
    assert stage.engine.wants_commands


def test_commands_decided_without_a_producer_wait_for_it(opened: Opened) -> None:
    opened("account/0").play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        committed account/0=1 suspect
        -> replace producer
        -> answer ok@1
        commands account/0 1:deposit5
        producer ready
        -> commit account/0 1..2 @2#0 by m1
    """)


def test_a_late_commit_request_replaces_the_producer_before_its_next_transaction(opened: Opened) -> None:
    opened("account/0").play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        commands account/0 1:deposit5
        committed account/0=1 suspect
        -> replace producer
        -> answer ok@1
        producer ready
        -> commit account/0 1..2 @2#0 by m1
    """)


def test_an_abort_takes_the_batch_ahead_back_first_and_reads_both_again(opened: Opened) -> None:
    """The last place to read from is where the first of them began; the same sequences are written again."""
    stage = opened("account/0", "account/1")
    stage.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        commands account/0 1:deposit6 account/1 0:deposit7
        aborted
        -> open account/0 at 1
        -> open account/1 at 0
        -> open account/0 at 0
        commands account/0 0:deposit5 1:withdraw6 by m2
        -> commit account/0 0..2 @1#0 by m2
        committed account/0=4
        -> answer ok@1 rejected@1
    """)
    assert stage.engine.taken_back == 3


def test_a_command_taken_back_is_not_remembered(opened: Opened) -> None:
    opened("account/0").play("""
        commands account/0 0:deposit5=once
        -> commit account/0 0..1 @1#0 by m1
        aborted
        -> open account/0 at 0
        commands account/0 0:deposit5=once 1:deposit5=once
        -> commit account/0 0..2 @1#0 by m1
        committed account/0=3
        -> answer ok@1 duplicate@1
    """)


def test_an_abort_with_a_producer_that_must_go_replaces_it(opened: Opened) -> None:
    opened("account/0").play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        aborted unusable
        -> open account/0 at 0
        -> replace producer
        commands account/0 0:deposit5
        producer ready
        -> commit account/0 0..1 @1#0 by m1
    """)


def test_an_aborted_barrier_lets_the_batch_ahead_of_other_partitions_be_read_again(opened: Opened) -> None:
    opened("account/0").play("""
        assigned account/1
        -> ask account/1 #2
        stable account/1 #2 committed none log 0..0
        -> commit barriers account/1 to 0 by m1
        commands account/0 0:deposit5
        aborted
        -> open account/0 at 0
        -> ask account/1 #3
    """)


def test_in_doubt_rebuilds_its_partitions_from_the_log_and_drops_the_batch_ahead(opened: Opened) -> None:
    """Partitions that were only in the batch ahead keep their state, and read it again."""
    opened("account/0", "account/1").play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        commands account/0 1:deposit6 account/1 0:deposit7
        in-doubt
        -> open account/0 at 1
        -> open account/1 at 0
        -> replace producer
        -> pause account/0
        -> ask account/0 #3
        commands account/0 1:deposit6 account/1 0:deposit7
        stable account/0 #3 committed 1 log 0..50 term 0
        producer ready
        -> commit barriers account/0 to 1 by m1
        committed account/0=4
        -> read account/0
        -> commit account/1 0..1 @1#0 by m1
        events account/0 0:barrier 1:deposited5@1#0<0 4:barrier
        -> stop reading account/0
        -> open account/0 at 1
    """)


def test_in_doubt_that_had_no_effect_is_decided_again(opened: Opened) -> None:
    opened("account/0").play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        in-doubt
        -> replace producer
        -> pause account/0
        -> ask account/0 #2
        stable account/0 #2 committed 0 log 0..50 term 0
        producer ready
        -> commit barriers account/0 to 0 by m1
        committed account/0=4
        -> read account/0
        events account/0 0:barrier 4:barrier
        -> stop reading account/0
        -> open account/0 at 0
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#4 by m1
    """)


def test_a_transaction_that_took_too_long_halves_the_next_ones_until_they_commit(opened: Opened) -> None:
    stage = opened("account/0", stage=_with_producer(Limits(records=4)))
    stage.play("""
        commands account/0 0:deposit1 1:deposit1 2:deposit1 3:deposit1
        -> commit account/0 0..4 @1#0 @2#0 @3#0 @4#0 by m1
        in-doubt late
        -> replace producer
        -> pause account/0
        -> ask account/0 #2
    """)
    assert stage.engine.record_limit == 2
    stage.play("""
        stable account/0 #2 committed 0 log 0..50 term 0
        producer ready
        -> commit barriers account/0 to 0 by m1
        committed account/0=9
        -> read account/0
        events account/0 0:barrier 9:barrier
        -> stop reading account/0
        -> open account/0 at 0
        commands account/0 0:deposit1 1:deposit1
        -> commit account/0 0..2 @1#9 @2#9 by m1
        committed account/0=11
        -> answer ok@1 ok@2
    """)
    assert stage.engine.record_limit == 4


def test_a_batch_that_is_full_has_the_rest_read_again(opened: Opened) -> None:
    opened("account/0", "account/1", stage=_with_producer(Limits(records=2))).play("""
        commands account/0 0:deposit1 1:deposit1 2:deposit1 account/1 0:deposit1
        -> open account/0 at 2
        -> open account/1 at 0
        -> commit account/0 0..2 @1#0 @2#0 by m1
    """)


def test_dead_letters_travel_in_the_transaction(opened: Opened) -> None:
    opened("account/0").play("""
        commands account/0 0:garbage 1:deposit5 2:poison
        -> commit account/0 0..3 @1#0 dead:undecodable dead:handler-failed by m1
        committed account/0=1
        -> answer ok@1 failed@1
    """)


def test_several_aborts_in_a_row_are_held_off_for_a_moment(opened: Opened) -> None:
    """One is a rebalance; three are a broker in trouble."""
    opened("account/0").play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        aborted
        -> open account/0 at 0
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        aborted
        -> open account/0 at 0
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        aborted
        -> open account/0 at 0
        commands account/0 0:deposit5
        tick 0.01
        tick 1
        -> commit account/0 0..1 @1#0 by m1
    """)


def test_an_event_that_landed_below_an_earlier_one_halts_the_partition(opened: Opened) -> None:
    """Its topic was recreated under the running worker; the batch ahead goes back, other partitions run on."""
    stage = opened("account/0", "account/1")
    stage.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        committed account/0=7
        -> answer ok@1
        commands account/0 1:deposit5
        -> commit account/0 1..2 @2#0 by m1
        commands account/0 2:deposit5 account/1 0:deposit6
        committed account/0=0
        -> open account/1 at 0
        -> pause account/0
        -> halt account/0
        -> answer ok@2
        commands account/0 2:deposit5 account/1 0:deposit6
        -> commit account/1 0..1 @1#0 by m1
    """)
    assert "made anew under a running worker" in stage.halts["account/0"]


def test_a_first_event_that_landed_at_or_below_our_own_barrier_halts_the_partition(opened: Opened) -> None:
    stage = opened("account/0")
    stage.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        committed account/0=0
        -> pause account/0
        -> halt account/0
        -> answer ok@1
    """)


def test_a_halt_leaves_the_transaction_in_flight_and_takes_the_batch_ahead_back(opened: Opened) -> None:
    opened("account/0", "account/1").play("""
        commands account/0 0:deposit5 account/1 0:deposit5
        -> commit account/0 0..1 @1#0 account/1 0..1 @1#0 by m1
        commands account/0 1:deposit6 account/1 1:deposit6
        log-refused account/0 another topic
        -> open account/1 at 1
        -> pause account/0
        -> halt account/0
        committed account/0=1 account/1=1
        -> answer ok@1 ok@1
        commands account/0 1:deposit6 account/1 1:deposit6
        -> commit account/1 1..2 @2#0 by m1
    """)


def test_a_halted_partition_is_out_of_what_an_abort_takes_back(opened: Opened) -> None:
    opened("account/0", "account/1").play("""
        commands account/0 0:deposit5 account/1 0:deposit5
        -> commit account/0 0..1 @1#0 account/1 0..1 @1#0 by m1
        log-refused account/0 another topic
        -> pause account/0
        -> halt account/0
        aborted
        -> open account/1 at 0
    """)


def test_shutdown_commits_what_is_decided_and_takes_nothing_new(opened: Opened) -> None:
    stage = opened("account/0")
    stage.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        commands account/0 1:deposit6
        shutdown
    """)
    assert (stage.engine.wants_commands, stage.engine.quiet) == (False, False)
    stage.play("""
        committed account/0=1
        -> answer ok@1
        -> commit account/0 1..2 @2#0 by m1
        committed account/0=3
        -> answer ok@2
    """)
    assert (stage.engine.wants_commands, stage.engine.quiet) == (False, True)


def test_shutdown_waits_for_no_producer(opened: Opened) -> None:
    stage = opened("account/0")
    stage.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        committed account/0=1 suspect
        -> replace producer
        -> answer ok@1
        commands account/0 1:deposit6
        shutdown
        -> open account/0 at 1
    """)
    assert stage.engine.quiet


def test_a_batch_ahead_whose_producer_goes_while_we_stop_is_left_to_the_next_owner(opened: Opened) -> None:
    stage = opened("account/0")
    stage.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        commands account/0 1:deposit6
        shutdown
        committed account/0=1 suspect
        -> replace producer
        -> answer ok@1
        -> open account/0 at 1
    """)
    assert stage.engine.quiet


def test_a_worker_that_stops_takes_nothing_over(stage: Stage) -> None:
    """A barrier that is in flight is decided, as any transaction; what would follow it does not begin."""
    stage.play("""
        assigned account/0 account/1
        -> ask account/0 #1
        -> ask account/1 #2
        stable account/0 #1 committed none log 0..3
        -> commit barriers account/0 to 0 by m1
        shutdown
        stable account/1 #2 committed none log 0..3
        committed account/0=0
    """)
    assert stage.engine.quiet


def _with_producer(limits: Limits) -> Stage:
    stage = Stage(limits)
    stage.play("producer ready")
    return stage

"""Takeovers that start from a checkpoint, or have to do without; and the first checkpoint after one."""

from __future__ import annotations

import pytest

from tests.scenario.stage import Stage
from tests.scenario.storing import ACCOUNT_0, TAKEN_AGAIN, stored_one

# ---- taking over


def test_a_takeover_claims_and_loads_before_it_reads() -> None:
    Stage(has_snapshots=True).play("""
        producer ready
        assigned account/0
        -> ask account/0 #1
        stable account/0 #1 committed 3 log 0..9
        -> commit barriers account/0 to 3 by m1
        committed account/0=7
        -> load account/0 #1 term 7
        loaded account/0 #1 nothing
        -> read account/0
        events account/0 0:barrier 1:deposited5@1#0<1 2:deposited6@2#0<2
        replayed account/0 7..7
        -> stop reading account/0
        -> open account/0 at 3
    """)


def test_a_takeover_reads_from_the_anchor_of_the_checkpoint_on(storing: Stage) -> None:
    stored_one(storing).play(TAKEN_AGAIN.format(committed=2, barrier=5))
    storing.play("""
        loaded account/0 #2 1
        -> read account/0 from 2
        replayed account/0 2..5
        -> stop reading account/0
        -> open account/0 at 2
        commands account/0 2:withdraw5 3:b.withdraw7
        -> commit account/0 2..4 @2#5 by m1
        committed account/0=6
        -> answer ok@2 rejected@1
    """)


def test_the_states_of_a_checkpoint_may_be_newer_than_its_position(storing: Stage) -> None:
    """It stands where the partition stood when gathering began; what states saw since is skipped where it comes again."""
    storing.play("""
        commands account/0 0:deposit5 1:b.deposit6
        -> commit account/0 0..2 @1#0 @1#0 by m1
        committed account/0=2
        -> answer ok@1 ok@1
        request account/0
        tick 1
        commands account/0 2:deposit1 3:c.deposit9
        -> commit account/0 2..4 @2#0 @1#0 by m1
        committed account/0=5
        -> answer ok@2 ok@1
        turn
        -> write account/0 #1 position 3 seen 6 commands 2: b@1 c@1 id@2 all
        written account/0 #1
    """)
    storing.play(TAKEN_AGAIN.format(committed=4, barrier=8))
    storing.play("""
        loaded account/0 #2 1
        -> read account/0 from 2
        replayed account/0 2..8
        -> stop reading account/0
        -> open account/0 at 4
        commands account/0 4:deposit1 5:b.deposit1 6:c.deposit1 7:withdraw8
        -> commit account/0 4..8 @3#8 @2#8 @2#8 by m1
        committed account/0=11
        -> answer ok@3 ok@2 ok@2 rejected@3
    """)


def test_events_after_what_the_states_have_seen_are_folded(storing: Stage) -> None:
    stored_one(storing).play("""
        commands account/0 2:deposit1 3:c.deposit9
        -> commit account/0 2..4 @2#0 @1#0 by m1
        committed account/0=5
        -> answer ok@2 ok@1
    """)
    storing.play(TAKEN_AGAIN.format(committed=4, barrier=8))
    storing.play("""
        loaded account/0 #2 1
        -> read account/0 from 2
        replayed account/0 2..4
        replayed account/0 5..8
        -> stop reading account/0
        -> open account/0 at 4
        commands account/0 4:withdraw6 5:c.withdraw9 6:b.withdraw6
        -> commit account/0 4..7 @3#8 @2#8 @2#8 by m1
        committed account/0=11
        -> answer ok@3 ok@2 ok@2
    """)


def open_without_store(storing: Stage) -> None:
    """Taken over while the store was away; it is back, and the first checkpoint, which claims, is on its way."""
    stored_one(storing).play(TAKEN_AGAIN.format(committed=2, barrier=5))
    storing.play("""
        loaded account/0 #2 away
        -> read account/0
        replayed account/0 0..5
        -> stop reading account/0
        -> open account/0 at 2
        request account/0
        tick 1
        turn
        -> write account/0 #2 position 6 seen 6 commands 2: b@1 id@1 claiming all
    """)


def test_a_store_that_is_away_holds_no_takeover_back(storing: Stage) -> None:
    """Commands go on; the first checkpoint claims, and holds every state."""
    open_without_store(storing)
    storing.play("""
        written account/0 #2
        request account/0
        tick 1
        turn
        -> write account/0 #3 position 6 seen 6 commands 2: extending 2
    """)


def test_a_store_that_does_not_answer_is_given_up_and_its_late_answer_ignored(storing: Stage) -> None:
    stored_one(storing).play(TAKEN_AGAIN.format(committed=2, barrier=5))
    storing.play("""
        tick 10
        tick 0.1
        -> read account/0
        loaded account/0 #2 1
        replayed account/0 0..5
        -> stop reading account/0
        -> open account/0 at 2
    """)
    assert storing.engine.checkpoints.problem == "the snapshot store has not answered for 10 s"


def test_partitions_that_wait_for_their_turn_are_not_given_up() -> None:
    """The store loads one after the other: as long as it answers, it is waited for."""
    Stage(has_snapshots=True).play("""
        producer ready
        assigned account/0 account/1
        -> ask account/0 #1
        -> ask account/1 #2
        stable account/0 #1 committed none log 0..0
        -> commit barriers account/0 to 0 by m1
        stable account/1 #2 committed none log 0..0
        committed account/0=0
        -> load account/0 #1 term 0
        -> commit barriers account/1 to 0 by m1
        committed account/1=0
        -> load account/1 #2 term 0
        tick 9
        loaded account/0 #1 nothing
        -> read account/0
        tick 9
        tick 1.1
        -> read account/1
    """)


def test_a_checkpoint_that_takes_long_to_load_is_waited_for_while_it_comes(storing: Stage) -> None:
    """Or one too large to load within the deadline would never be used."""
    stored_one(storing).play(TAKEN_AGAIN.format(committed=2, barrier=5))
    storing.play("""
        tick 9
        part-read
        tick 9
        part-read
        tick 9
        loaded account/0 #2 1
        -> read account/0 from 2
    """)


def test_a_refused_claim_begins_the_takeover_again_and_then_halts(storing: Stage) -> None:
    """Another owner came after us, and the group will say so; where it does not, the log was truncated."""
    storing.play(TAKEN_AGAIN.format(committed=2, barrier=5))
    storing.play("""
        claim-refused account/0 #2
        -> ask account/0 #3
        loaded account/0 #2 nothing
        stable account/0 #3 committed 2 log 0..50
        -> commit barriers account/0 to 2 by m1
        committed account/0=6
        -> load account/0 #3 term 6
        claim-refused account/0 #3
        -> ask account/0 #4
        stable account/0 #4 committed 2 log 0..50
        -> commit barriers account/0 to 2 by m1
        committed account/0=7
        -> load account/0 #4 term 7
        claim-refused account/0 #4
        -> pause account/0
        -> halt account/0
    """)
    assert storing.halts["account/0"].startswith("its head has term 99, at 3 takeovers in a row")
    assert "checkpoint discard" in storing.halts["account/0"]


@pytest.mark.parametrize("ahead", [True, False])
def test_a_refused_claim_does_not_overtake_our_own_transaction(storing: Stage, ahead: bool) -> None:
    open_without_store(storing)
    storing.play(f"""
        commands account/0 2:withdraw100
        -> commit account/0 2..3 by m1
        {"commands account/0 3:withdraw200" if ahead else ""}
        not-written account/0 #2 superseded
        committed
        -> answer rejected@1
        {"-> open account/0 at 3" if ahead else ""}
        -> pause account/0
        -> ask account/0 #3
        stable account/0 #3 committed 3 log 0..50
        -> commit barriers account/0 to 3 by m1
    """)


def test_a_truncated_log_is_found_by_the_first_claim_where_the_store_was_away_at_the_takeover(storing: Stage) -> None:
    open_without_store(storing)
    storing.play("""
        not-written account/0 #2 superseded
        -> pause account/0
        -> ask account/0 #3
    """)
    for attempt, barrier in ((3, 6), (4, 7), (5, 8)):
        storing.play(f"""
            stable account/0 #{attempt} committed 2 log 0..50
            -> commit barriers account/0 to 2 by m1
            committed account/0={barrier}
            -> load account/0 #{attempt} term {barrier}
            claim-refused account/0 #{attempt}
            {f"-> ask account/0 #{attempt + 1}" if attempt < 5 else "-> pause account/0"}
            {"-> halt account/0" if attempt == 5 else ""}
        """)
    assert "the events topic was truncated" in storing.halts["account/0"]


def test_refusals_are_counted_from_the_last_success_on(storing: Stage) -> None:
    storing.play(TAKEN_AGAIN.format(committed=2, barrier=5))
    for attempt, barrier in ((2, 5), (3, 6), (4, 7), (5, 8), (6, 9)):
        answer = "loaded account/0 #4 nothing" if attempt == 4 else f"claim-refused account/0 #{attempt}"
        after = ["-> read account/0", "lost account/0", "-> stop reading account/0", "assigned account/0"]
        storing.play(
            "\n".join(
                [
                    answer,
                    *(after if attempt == 4 else []),
                    f"-> ask account/0 #{attempt + 1}",
                    f"stable account/0 #{attempt + 1} committed 2 log 0..50",
                    "-> commit barriers account/0 to 2 by m1",
                    f"committed account/0={barrier + 1}",
                    f"-> load account/0 #{attempt + 1} term {barrier + 1}",
                ]
            )
        )


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ("2:b.deposited7@1#0<1 5:barrier", "its value is another"),
        ("2:barrier 5:barrier", "a record with the key"),
        ("5:barrier", "the record at offset 5 comes in its place"),
    ],
)
def test_a_log_without_the_anchor_halts(storing: Stage, events: str, said: str) -> None:
    stored_one(storing).play(TAKEN_AGAIN.format(committed=2, barrier=5))
    storing.play(f"""
        loaded account/0 #2 1
        -> read account/0 from 2
        events account/0 {events}
        -> stop reading account/0
        -> pause account/0
        -> halt account/0
    """)
    assert said in storing.halts["account/0"]
    assert "checkpoint discard" in storing.halts["account/0"]


def test_a_checkpoint_that_has_seen_more_than_the_log_holds_halts(storing: Stage) -> None:
    """Our own barrier is the log's end, and stands below its anchor."""
    stored_one(storing).play(TAKEN_AGAIN.format(committed=2, barrier=2))
    storing.play("""
        loaded account/0 #2 1
        -> pause account/0
        -> halt account/0
    """)
    assert "was truncated" in storing.halts["account/0"]


def test_an_event_that_a_state_has_seen_must_be_in_the_log(storing: Stage) -> None:
    """Between position and what was seen last, brokers lost one."""
    storing.play("""
        commands account/0 0:b.deposit6
        -> commit account/0 0..1 @1#0 by m1
        committed account/0=1
        -> answer ok@1
        request account/0
        tick 1
        commands account/0 1:deposit1 2:deposit1 3:deposit1 4:c.deposit9
        -> commit account/0 1..5 @1#0 @2#0 @3#0 @1#0 by m1
        committed account/0=5
        -> answer ok@1 ok@2 ok@3 ok@1
        turn
        -> write account/0 #1 position 2 seen 6 commands 1: b@1 c@1 id@3 all
        written account/0 #1
    """)
    del storing.log[ACCOUNT_0][4]
    storing.play(TAKEN_AGAIN.format(committed=5, barrier=8))
    storing.play("""
        loaded account/0 #2 1
        -> read account/0 from 1
        replayed account/0 1..8
        -> stop reading account/0
        -> pause account/0
        -> halt account/0
    """)
    assert 'account "id2" has no event of sequence 3' in storing.halts["account/0"]


def test_a_blocked_recovery_begins_again_at_the_checkpoint(storing: Stage) -> None:
    stored_one(storing).play(TAKEN_AGAIN.format(committed=2, barrier=5))
    storing.play("""
        loaded account/0 #2 1
        -> read account/0 from 2
        replayed account/0 2..2
        events account/0 3:unknown@2#0
        -> stop reading account/0
        tick 1
        -> reload schemas
        -> read account/0 from 2
        replayed account/0 2..5
        -> stop reading account/0
        -> open account/0 at 2
    """)


def test_commands_resume_after_the_checkpoint_where_the_group_has_forgotten(storing: Stage) -> None:
    """A rejected command leaves nothing in the log: only the checkpoint and the group know that it is done."""
    storing.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        committed account/0=1
        -> answer ok@1
        commands account/0 1:withdraw9 2:withdraw9
        -> commit account/0 1..3 by m1
        committed
        -> answer rejected@1 rejected@1
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 2 seen 2 commands 3: id@1 all
        written account/0 #1
        lost account/0
        assigned account/0
        -> ask account/0 #2
        stable account/0 #2 committed none log 0..50
        -> commit barriers account/0 to 0 by m1
        committed account/0=5
        -> load account/0 #2 term 5
        loaded account/0 #2 1
        -> read account/0 from 1
        replayed account/0 1..5
        -> stop reading account/0
        -> open account/0 at 3
    """)


@pytest.mark.parametrize(("applied", "opens"), [(2, True), (3, False)])
def test_what_an_owner_claims_is_counted_from_the_checkpoint_on(storing: Stage, applied: int, opens: bool) -> None:
    stored_one(storing).play(f"""
        lost account/0
        assigned account/0
        -> ask account/0 #2
        stable account/0 #2 committed 2 log 0..50 term 0 applied {applied}
        -> commit barriers account/0 to 2 by m1
        committed account/0=5
        -> load account/0 #2 term 5
        loaded account/0 #2 1
        -> read account/0 from 2
        replayed account/0 2..5
        -> stop reading account/0
        {"-> open account/0 at 2" if opens else "-> pause account/0"}
        {"" if opens else "-> halt account/0"}
    """)
    halted = storing.halts.get("account/0", "")
    assert opens or "in term 0 3 commands were applied and committed, and the events topic holds 2" in halted


def test_what_an_owner_claims_of_terms_before_the_checkpoint_was_judged_before_it(storing: Stage) -> None:
    """That term's barrier and events are not in the part of the log that is read."""
    stored_one(storing).play(TAKEN_AGAIN.format(committed=2, barrier=5))
    storing.play("""
        loaded account/0 #2 1
        -> read account/0 from 2
        replayed account/0 2..5
        -> stop reading account/0
        -> open account/0 at 2
        request account/0
        tick 1
        turn
        -> write account/0 #2 position 6 seen 6 commands 2: extending 1
        written account/0 #2
        lost account/0
        assigned account/0
        -> ask account/0 #3
        stable account/0 #3 committed 2 log 0..50 term 0 applied 3
        -> commit barriers account/0 to 2 by m1
        committed account/0=8
        -> load account/0 #3 term 8
        loaded account/0 #3 2
        -> read account/0 from 5
        replayed account/0 5..8
        -> stop reading account/0
        -> open account/0 at 2
    """)


# ---- after a recovery


def test_after_an_older_checkpoint_the_next_one_extends_that_one_over_the_newer_head(storing: Stage) -> None:
    """Row 46: every state that changed since the one that was loaded is in it, whatever the head holds."""
    stored_one(storing).play("""
        commands account/0 2:deposit1 3:c.deposit9
        -> commit account/0 2..4 @2#0 @1#0 by m1
        committed account/0=4
        -> answer ok@2 ok@1
        request account/0
        tick 1
        turn
        -> write account/0 #2 position 5 seen 5 commands 4: c@1 id@2 extending 1
        written account/0 #2
        commands account/0 4:d.deposit1
        -> commit account/0 4..5 @1#0 by m1
        committed account/0=5
        -> answer ok@1
    """)
    storing.play(TAKEN_AGAIN.format(committed=5, barrier=7))
    storing.play("""
        loaded account/0 #2 1
        -> read account/0 from 2
        replayed account/0 2..7
        -> stop reading account/0
        -> open account/0 at 5
        request account/0
        tick 1
        turn
        -> write account/0 #3 position 8 seen 8 commands 5: c@1 d@1 id@2 extending 1 over 2
    """)


def test_without_a_change_the_position_still_follows_the_barrier(storing: Stage) -> None:
    stored_one(storing).play(TAKEN_AGAIN.format(committed=2, barrier=5))
    storing.play("""
        loaded account/0 #2 1
        -> read account/0 from 2
        replayed account/0 2..5
        -> stop reading account/0
        -> open account/0 at 2
        tick 60
        turn
        -> write account/0 #2 position 6 seen 6 commands 2: extending 1
        written account/0 #2
        tick 60
        turn
        tick 60
        turn
    """)


def test_after_a_recovery_from_the_log_alone_every_state_is_written(storing: Stage) -> None:
    stored_one(storing).play(TAKEN_AGAIN.format(committed=2, barrier=5))
    storing.play("""
        loaded account/0 #2 nothing
        -> read account/0
        replayed account/0 0..5
        -> stop reading account/0
        -> open account/0 at 2
        tick 60
        turn
        -> write account/0 #2 position 6 seen 6 commands 2: b@1 id@1 over 1 all
    """)

"""Checkpoints: what is written when, what it waits for, what drops it; and takeovers that start from one."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterator

import pytest

from eventsrc.engine import checkpoint, worker
from eventsrc.engine.partition import PartitionKey
from tests.scenario.stage import Stage
from tests.unit.engine.shop import Deposited, behaviour, key_on, pipeline

Opened = Callable[..., Stage]
ACCOUNT_0 = PartitionKey("account", 0)

STORED_ONE = """
    commands account/0 0:deposit5 1:b.deposit6
    -> commit account/0 0..2 @1#0 @1#0 by m1
    committed account/0=2
    -> answer ok@1 ok@1
    request account/0
    tick 1
    turn
    -> write account/0 #1 position 3 seen 3 commands 2: b@1 id@1 all
    written account/0 #1
"""
"""Two accounts, and a checkpoint of both: number 1."""

TAKEN_AGAIN = """
    lost account/0
    assigned account/0
    -> ask account/0 #2
    stable account/0 #2 committed {committed} log 0..50 term 0
    -> commit barriers account/0 to {committed} by m1
    committed account/0={barrier}
    -> load account/0 #2 term {barrier}
"""


@pytest.fixture
def storing(opened: Opened) -> Stage:
    """A worker with a snapshot store, and account/0 open."""
    return opened("account/0", stage=Stage(has_snapshots=True))


@pytest.fixture(autouse=True)
def _own_behaviour() -> Iterator[None]:
    yield
    behaviour.clear()


def stored_one(stage: Stage) -> Stage:
    stage.play(STORED_ONE)
    return stage


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


def test_a_store_that_is_away_holds_no_takeover_back(storing: Stage) -> None:
    """Commands go on; the first checkpoint claims, and holds every state."""
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


# ---- what it waits for


def test_states_with_changes_in_flight_are_written_after_their_commit(storing: Stage) -> None:
    storing.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        request account/0
        tick 1
        turn
        committed account/0=1
        -> write account/0 #1 position 1 seen 2 commands 0: id@1 all
        -> answer ok@1
    """)


def test_states_with_changes_of_the_batch_ahead_wait_for_that_one(storing: Stage) -> None:
    storing.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        commands account/0 1:deposit5
        request account/0
        tick 1
        turn
        committed account/0=1
        -> answer ok@1
        -> commit account/0 1..2 @2#0 by m1
        committed account/0=2
        -> write account/0 #1 position 1 seen 3 commands 0: id@2 all
        -> answer ok@2
    """)


def test_batches_of_other_partitions_are_not_waited_for(opened: Opened) -> None:
    stage = opened("account/0", "account/1", stage=Stage(has_snapshots=True))
    stage.play("""
        commands account/1 0:deposit5
        -> commit account/1 0..1 @1#0 by m1
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 1 seen 1 commands 0: all
    """)


def test_an_abort_in_the_middle_gathers_again(storing: Stage) -> None:
    """What was taken back is in no checkpoint, also where it had been encoded already."""
    storing.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        commands account/0 1:c.deposit5
        request account/0
        tick 1
        turn
        aborted
        -> open account/0 at 1
        -> open account/0 at 0
        turn
        -> write account/0 #1 position 1 seen 1 commands 0: all
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        committed account/0=3
        -> answer ok@1
        written account/0 #1
        request account/0
        tick 1
        turn
        -> write account/0 #2 position 4 seen 4 commands 1: id@1 extending 1 all
    """)


def test_the_batch_ahead_alone_is_taken_back_and_gathered_again(opened: Opened) -> None:
    """Another partition leaves: the batch ahead is dropped, and the one in flight is waited for."""
    stage = opened("account/0", "account/1", stage=Stage(has_snapshots=True))
    stage.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        commands account/0 1:c.deposit5
        request account/0
        tick 1
        turn
        revoking account/1
        -> open account/0 at 1
        -> await transaction
        committed account/0=1
        -> answer ok@1
        revoked account/1
        turn
        -> write account/0 #1 position 1 seen 2 commands 0: id@1 all
    """)


def test_an_abort_after_the_states_were_handed_over_changes_nothing(storing: Stage) -> None:
    storing.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        committed account/0=1
        -> answer ok@1
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 2 seen 2 commands 1: id@1 all
        commands account/0 1:deposit5
        -> commit account/0 1..2 @2#0 by m1
        aborted
        -> open account/0 at 1
        written account/0 #1
        request account/0
        tick 1
        turn
        -> write account/0 #2 position 2 seen 2 commands 1: extending 1
    """)


def test_states_are_encoded_in_slices_with_batches_between(storing: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SLICE_STATES", 2)
    storing.play("""
        commands account/0 0:deposit5 1:b.deposit6 2:c.deposit7
        -> commit account/0 0..3 @1#0 @1#0 @1#0 by m1
        committed account/0=3
        -> answer ok@1 ok@1 ok@1
        request account/0
        tick 1
        turn
        commands account/0 3:deposit1 4:c.deposit1 5:d.deposit1
        -> commit account/0 3..6 @2#0 @2#0 @1#0 by m1
        turn
        committed account/0=6
        -> write account/0 #1 position 4 seen 7 commands 3: b@1 c@2 id@1
        -> answer ok@2 ok@2 ok@1
        written account/0 #1
        request account/0
        tick 1
        turn
        turn
        -> write account/0 #2 position 7 seen 7 commands 6: c@2 d@1 id@2 extending 1
    """)
    assert not storing.engine.wants_turns


# ---- what drops it


def test_doubt_drops_it(storing: Stage) -> None:
    storing.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        request account/0
        tick 1
        turn
        in-doubt
        -> replace producer
        -> pause account/0
        -> ask account/0 #2
        turn
        tick 1
        turn
    """)


def test_doubt_about_another_partition_gathers_again_what_stood_on_the_batch_ahead(opened: Opened) -> None:
    stage = opened("account/0", "account/1", stage=Stage(has_snapshots=True))
    stage.play("""
        commands account/1 0:deposit5
        -> commit account/1 0..1 @1#0 by m1
        commands account/0 0:deposit5
        request account/0
        tick 1
        turn
        in-doubt
        -> open account/0 at 0
        -> replace producer
        -> pause account/1
        -> ask account/1 #3
        turn
        -> write account/0 #1 position 1 seen 1 commands 0: all
    """)


@pytest.mark.parametrize("how", ["lost account/0", "revoking account/0\n-> await transaction\ncommitted account/0=1"])
def test_a_partition_that_leaves_drops_it(storing: Stage, how: str) -> None:
    storing.play(
        """
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        request account/0
        tick 1
        turn
    """
    )
    if how.startswith("lost"):
        storing.play("""
            lost account/0
            committed account/0=1
            -> answer ok@1
            turn
        """)
    else:
        storing.play("""
            revoking account/0
            -> await transaction
            committed account/0=1
            -> write account/0 #1 position 1 seen 2 commands 0: id@1 all
            -> answer ok@1
            revoked account/0
            written account/0 #1
            turn
        """)


def test_a_halt_drops_it(storing: Stage) -> None:
    storing.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        request account/0
        tick 1
        turn
        log-refused account/0 gone
        -> pause account/0
        -> halt account/0
        committed account/0=1
        -> answer ok@1
        turn
    """)


def test_an_answer_to_one_of_an_earlier_life_changes_nothing(storing: Stage) -> None:
    storing.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        committed account/0=1
        -> answer ok@1
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 2 seen 2 commands 1: id@1 all
    """)
    storing.play(TAKEN_AGAIN.format(committed=1, barrier=3))
    storing.play("""
        loaded account/0 #2 nothing
        -> read account/0
        replayed account/0 0..3
        -> stop reading account/0
        -> open account/0 at 1
        request account/0
        tick 1
        written account/0 #1
        turn
        -> write account/0 #2 position 4 seen 4 commands 1: id@1 all
        not-written account/0 #1 superseded
        written account/0 #2
        request account/0
        tick 1
        turn
        -> write account/0 #3 position 4 seen 4 commands 1: extending 2
    """)


# ---- failures


def test_a_failure_gives_the_changed_states_back(storing: Stage) -> None:
    stored_one(storing).play("""
        commands account/0 2:deposit1
        -> commit account/0 2..3 @2#0 by m1
        committed account/0=3
        -> answer ok@2
        request account/0
        tick 1
        turn
        -> write account/0 #2 position 4 seen 4 commands 3: id@2 extending 1
        commands account/0 3:b.deposit1
        -> commit account/0 3..4 @2#0 by m1
        committed account/0=4
        -> answer ok@2
        not-written account/0 #2
        tick 0.9
        turn
        tick 0.2
        turn
        -> write account/0 #3 position 5 seen 5 commands 4: b@2 id@2 extending 1 all
    """)
    assert storing.engine.checkpoints.problem == "Postgres does not answer"


def test_a_failed_first_checkpoint_is_followed_by_one_of_everything(storing: Stage) -> None:
    storing.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        committed account/0=1
        -> answer ok@1
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 2 seen 2 commands 1: id@1 all
        not-written account/0 #1
        tick 2
        turn
        -> write account/0 #2 position 2 seen 2 commands 1: id@1 all
        written account/0 #2
    """)
    assert storing.engine.checkpoints.problem is None


def test_failures_are_repeated_at_growing_distances(storing: Stage) -> None:
    at: list[float] = []
    storing.play("request account/0")
    for attempt in range(1, 9):
        while not storing.engine.wants_turns:
            storing.play("tick 0.5")
        storing.play(f"""
            turn
            -> write account/0 #{attempt} position 1 seen 1 commands 0: all
            not-written account/0 #{attempt}
        """)
        at.append(storing.now_s)
    waits = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_a_superseded_one_claims_again_and_writes_every_state(storing: Stage) -> None:
    """The database is an older copy, say."""
    stored_one(storing).play("""
        commands account/0 2:deposit1
        -> commit account/0 2..3 @2#0 by m1
        committed account/0=3
        -> answer ok@2
        request account/0
        tick 1
        turn
        -> write account/0 #2 position 4 seen 4 commands 3: id@2 extending 1
        not-written account/0 #2 superseded
        tick 1
        turn
        -> write account/0 #3 position 4 seen 4 commands 3: b@1 id@2 over 1 claiming all
        written account/0 #3
        request account/0
        tick 1
        turn
        -> write account/0 #4 position 4 seen 4 commands 3: extending 2
    """)


def test_a_zombie_is_refused_for_ever_and_decides_on(storing: Stage) -> None:
    """Row 47: the new owner has claimed. The zombie's commands are refused by the group, not by this."""
    stored_one(storing).play("request account/0")
    for attempt, claiming in ((2, " extending 1"), (3, " over 1 claiming"), (4, " over 1 claiming")):
        states = "" if attempt == 2 else " b@1 id@1"
        storing.play(f"""
            tick 40
            turn
            -> write account/0 #{attempt} position 3 seen 3 commands 2:{states}{claiming}{" all" * (attempt > 2)}
            not-written account/0 #{attempt} superseded
        """)
    assert storing.engine.owned[ACCOUNT_0].phase.name == "OPEN"


def test_damage_found_while_merging_makes_the_next_one_hold_every_state(storing: Stage) -> None:
    stored_one(storing).play("""
        not-written account/0 damaged
        request account/0
        tick 1
        turn
        -> write account/0 #2 position 3 seen 3 commands 2: b@1 id@1 over 1 all
    """)


def test_damage_found_while_the_next_one_is_gathered_drops_that_one(storing: Stage) -> None:
    stored_one(storing).play("""
        request account/0
        tick 1
        not-written account/0 damaged
        turn
        tick 1
        turn
        -> write account/0 #3 position 3 seen 3 commands 2: b@1 id@1 over 1 all
    """)


def test_damage_found_while_the_next_one_is_written_is_not_extended_after_it(storing: Stage) -> None:
    stored_one(storing).play("""
        request account/0
        tick 1
        turn
        -> write account/0 #2 position 3 seen 3 commands 2: extending 1
        not-written account/0 damaged
        written account/0 #2
        request account/0
        tick 1
        turn
        -> write account/0 #3 position 3 seen 3 commands 2: b@1 id@1 over 2 all
        written account/0 #3
        request account/0
        tick 1
        turn
        -> write account/0 #4 position 3 seen 3 commands 2: extending 3
    """)


def test_merged_segments_are_extended_under_their_new_name(storing: Stage) -> None:
    stored_one(storing).play("""
        merged account/0 1
        request account/0
        tick 1
        turn
        -> write account/0 #2 position 3 seen 3 commands 2: extending 2
        written account/0 #2
        merged account/0 1
        request account/0
        tick 1
        turn
        -> write account/0 #3 position 3 seen 3 commands 2: extending 3
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


# ---- when


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
        "checkpoints come as fast as checkpoint_overhead (0.05) lets them; allow more, declare a longer objective, or add "
        "workers",
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


# ---- states


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
    """An `apply` let it grow out of its type. Commands go on, other partitions' checkpoints too; and the worker says why."""

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


@pytest.fixture
def one_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "settings", dataclasses.replace(pipeline.settings, live_aggregates=1))


@pytest.mark.usefixtures("one_live")
def test_cooling_leaves_what_is_not_committed_alone(storing: Stage) -> None:
    storing.play("""
        commands account/0 0:deposit5 1:b.deposit6
        -> commit account/0 0..2 @1#0 @1#0 by m1
        commands account/0 2:c.deposit6
        turn
    """)
    assert _live(storing) == {"id", "b", "c"}
    storing.play("""
        committed account/0=2
        -> answer ok@1 ok@1
        -> commit account/0 2..3 @1#0 by m1
        turn
    """)
    assert _live(storing) == {"c"}


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
    assert (len(_live(storing)), storing.engine.wants_turns) == (2, True)
    storing.play("turn")
    assert (len(_live(storing)), storing.engine.wants_turns) == (1, False)


def _live(stage: Stage) -> set[str]:
    partition = stage.engine.owned[ACCOUNT_0].partition
    assert partition is not None
    return {key.decode().rstrip("0123456789") for key in partition.live}


# ---- guards, taken away


def test_reproduction_states_written_before_their_commit_hold_what_never_was(
    storing: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevention: test_an_abort_in_the_middle_gathers_again."""

    def at_once(self: checkpoint.Checkpoints, at: object) -> list[object]:
        lineage = self._active
        assert lineage is not None
        assert lineage.gathering is not None
        self._encode_slice(lineage, lineage.gathering)
        return [self._write(lineage, lineage.gathering)]

    monkeypatch.setattr(checkpoint.Checkpoints, "gather", at_once)
    storing.play("""
        commands account/0 0:deposit5
        -> commit account/0 0..1 @1#0 by m1
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 1 seen 1 commands 0: id@1 all
        aborted
        -> open account/0 at 0
    """)
    assert [key for key, _ in storing.asked.entries] == [key_on(0)]  # type: ignore[union-attr]


def test_reproduction_of_a_position_taken_when_it_is_written(storing: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state encoded before the last commit does not hold it, and the position says that it does: a recovery loses it.
    Prevention: test_states_are_encoded_in_slices_with_batches_between."""
    monkeypatch.setattr(checkpoint, "SLICE_STATES", 2)
    monkeypatch.setattr(checkpoint, "replace", lambda committed, **changes: committed)
    storing.play("""
        commands account/0 0:deposit5 1:b.deposit6 2:c.deposit7
        -> commit account/0 0..3 @1#0 @1#0 @1#0 by m1
        committed account/0=3
        -> answer ok@1 ok@1 ok@1
        request account/0
        tick 1
        turn
        commands account/0 3:deposit1
        -> commit account/0 3..4 @2#0 by m1
        committed account/0=4
        -> answer ok@2
        turn
        -> write account/0 #1 position 5 seen 5 commands 4: b@1 c@1 id@1 all
    """)


def test_reproduction_of_changes_not_given_back(storing: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevention: test_a_failure_gives_the_changed_states_back."""
    monkeypatch.setattr(checkpoint.Checkpoints, "_give_back", lambda self, lineage, gathering: None)
    stored_one(storing).play("""
        commands account/0 2:deposit1
        -> commit account/0 2..3 @2#0 by m1
        committed account/0=3
        -> answer ok@2
        request account/0
        tick 1
        turn
        -> write account/0 #2 position 4 seen 4 commands 3: id@2 extending 1
        not-written account/0 #2
        request account/0
        tick 1.2
        turn
        -> write account/0 #3 position 4 seen 4 commands 3: extending 1
    """)


def test_a_store_that_hangs_is_named_until_it_answers(storing: Stage) -> None:
    storing.play("""
        commands account/0 0:deposit1
        -> commit account/0 0..1 @1#0 by m1
        committed account/0=1
        -> answer ok@1
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 2 seen 2 commands 1: id@1 all
        tick 1
    """)
    checkpoints = storing.engine.checkpoints
    assert checkpoints.problem is None
    storing.play("tick 12")
    assert checkpoints.problem == "the snapshot store has not answered for 12 s"
    storing.play("written account/0 #1")
    assert checkpoints.problem is None

"""Checkpoints: what they wait for, what drops them, and what is written after a failure."""

from __future__ import annotations

import itertools

import pytest

from eventsrc.engine import checkpoint
from eventsrc.engine.states import EntrySlices
from eventsrc.errors import SnapshotDamaged
from tests.scenario.stage import Stage
from tests.scenario.storing import TAKEN_AGAIN, Opened, stored_one
from tests.unit.engine.shop import key_on

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
    """)
    assert storing.engine.wants_commands  # nor does the loop wait for a transaction before the next slice
    storing.play("""
        turn
        committed account/0=6
        -> write account/0 #1 position 4 seen 7 commands 3: b@1 c@2 id@1 all
        -> answer ok@2 ok@2 ok@1
        written account/0 #1
        request account/0
        tick 1
        turn
        turn
        -> write account/0 #2 position 7 seen 7 commands 6: c@2 d@1 id@2 extending 1
    """)
    assert not storing.engine.wants_turns


def test_where_nearly_every_state_has_changed_all_are_written_and_nothing_is_left_to_merge(storing: Stage) -> None:
    storing.play("""
        commands account/0 0:deposit5 1:b.deposit6 2:c.deposit7 3:d.deposit8 4:e.deposit9
        -> commit account/0 0..5 @1#0 @1#0 @1#0 @1#0 @1#0 by m1
        committed account/0=5
        -> answer ok@1 ok@1 ok@1 ok@1 ok@1
        request account/0
        tick 1
        turn
        -> write account/0 #1 position 6 seen 6 commands 5: b@1 c@1 d@1 e@1 id@1 all
        written account/0 #1
        commands account/0 5:deposit1 6:b.deposit1 7:c.deposit1 8:d.deposit1
        -> commit account/0 5..9 @2#0 @2#0 @2#0 @2#0 by m1
        committed account/0=9
        -> answer ok@2 ok@2 ok@2 ok@2
        request account/0
        tick 1
        turn
        -> write account/0 #2 position 10 seen 10 commands 9: b@2 c@2 d@2 e@1 id@2 extending 1 all
        not-written account/0 #2
        commands account/0 9:deposit1
        -> commit account/0 9..10 @3#0 by m1
        committed account/0=10
        -> answer ok@3
        tick 1
        turn
        -> write account/0 #3 position 11 seen 11 commands 10: b@2 c@2 d@2 e@1 id@3 extending 1 all
    """)


def test_an_aggregate_that_appears_meanwhile_is_the_next_one_s_and_keeps_no_older_states(
    storing: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where ids are new all the time, each base would stand behind the one before it."""
    stored_one(storing)
    monkeypatch.setattr(checkpoint, "SLICE_STATES", 2)
    storing.play("""
        commands account/0 2:deposit1 3:b.deposit1
        -> commit account/0 2..4 @2#0 @2#0 by m1
        committed account/0=4
        -> answer ok@2 ok@2
        request account/0
        tick 1
        turn
        commands account/0 4:c.deposit1
        -> commit account/0 4..5 @1#0 by m1
        turn
        committed account/0=5
        -> write account/0 #2 position 5 seen 6 commands 4: b@2 id@2 extending 1 all
        -> answer ok@1
        written account/0 #2
        request account/0
        tick 1
        turn
        -> write account/0 #3 position 6 seen 6 commands 5: c@1 extending 2
    """)


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


def test_a_claim_that_is_refused_late_begins_a_takeover(storing: Stage) -> None:
    """Row 47: the new owner has claimed, and the group refuses the zombie's barrier. What is in flight is decided first."""
    stored_one(storing).play("""
        request account/0
        tick 40
        turn
        -> write account/0 #2 position 3 seen 3 commands 2: extending 1
        not-written account/0 #2 superseded
        commands account/0 2:deposit1
        -> commit account/0 2..3 @2#0 by m1
        commands account/0 3:deposit1
        tick 40
        turn
        committed account/0=3
        -> answer ok@2
        -> commit account/0 3..4 @3#0 by m1
        committed account/0=4
        -> write account/0 #3 position 3 seen 5 commands 2: b@1 id@3 over 1 claiming all
        -> answer ok@3
        commands account/0 4:deposit1
        -> commit account/0 4..5 @4#0 by m1
        commands account/0 5:deposit1
        not-written account/0 #3 superseded
        committed account/0=6
        -> answer ok@4
        -> open account/0 at 5
        -> pause account/0
        -> ask account/0 #2
        stable account/0 #2 committed 5 log 0..50 term 0
        -> commit barriers account/0 to 5 by m1
    """)


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


def test_a_slice_ends_early_where_states_are_large(storing: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SLICE_BYTES", 1)
    storing.play("""
        commands account/0 0:deposit5 1:b.deposit6
        -> commit account/0 0..2 @1#0 @1#0 by m1
        committed account/0=2
        -> answer ok@1 ok@1
        request account/0
        tick 1
        turn
        turn
        turn
        -> write account/0 #1 position 3 seen 3 commands 2: b@1 id@1 all
    """)


def test_a_stored_state_that_cannot_be_read_ends_no_worker(storing: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(slices: EntrySlices, states: int, size_bytes: int) -> list[tuple[bytes, bytes]]:
        raise SnapshotDamaged("an entry of 3 bytes")

    with monkeypatch.context() as patch:
        patch.setattr(EntrySlices, "take", damaged)
        storing.play("""
            commands account/0 0:deposit5
            -> commit account/0 0..1 @1#0 by m1
            committed account/0=1
            -> answer ok@1
            request account/0
            tick 1
            turn
        """)
    assert storing.engine.checkpoints.problem == "an entry of 3 bytes"
    storing.play("""
        tick 31
        turn
        -> write account/0 #2 position 2 seen 2 commands 1: id@1 all
    """)


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

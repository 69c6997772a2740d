"""The checker proved by planted bugs: each must be caught, under the invariant it breaks; a correct history passes."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.harness import bank_model, planted
from tests.harness.checker import check, report
from tests.harness.evidence import LogRecord
from tests.harness.synthetic import busy_bank

PLANTED: list[tuple[planted.Plant, set[str]]] = [
    (planted.lost_event, {"I3"}),
    (planted.acknowledged_command_missing, {"I1", "I5"}),
    (planted.half_applied, {"I2"}),
    (planted.gap, {"I3"}),
    (planted.equal_duplicate, {"I4"}),
    (planted.two_events_at_one_sequence, {"I4"}),
    (planted.reordered, {"I3"}),
    (planted.zombie_write_accepted, {"terms"}),
    (planted.barrier_of_a_term_was_aborted, {"terms"}),
    (planted.command_applied_twice, {"I1"}),
    (planted.applied_twice_from_one_record, {"I1"}),
    (planted.aborted_event_answered, {"I10"}),
    (planted.aborted_event_visible, {"I4"}),
    (planted.committed_behind, {"I5"}),
    (planted.committed_ahead, {"I5"}),
    (planted.group_rewound, {"I5"}),
    (planted.commands_skipped, {"I5"}),
    (planted.counts_untrue, {"I5"}),
    (planted.dead_letter_lost, {"I5"}),
    (planted.dead_letter_twice, {"I1"}),
    (planted.dead_lettered_and_applied, {"I1"}),
    (planted.event_of_another_command, {"I1"}),
    (planted.event_without_command, {"I1"}),
    (planted.events_of_a_command_under_two_terms, {"I2"}),
    (planted.hybrid_time_back, {"I9"}),
    (planted.effect_before_cause, {"I9"}),
    (planted.answered_out_of_order, {"I11"}),
    (planted.answered_rejected_but_applied, {"I1"}),
    (planted.answered_failed_without_dead_letter, {"I1"}),
    (planted.trailing_bytes, {"wire"}),
    (planted.key_with_a_leading_zero, {"wire"}),
]

ONLY_THE_ORACLE_SEES: list[tuple[planted.Plant, set[str]]] = [
    (planted.amount_changed, {"I1", "I6"}),
    (planted.aborted_event_in_a_state, {"I10"}),
    (planted.wrong_state_shown, {"I6"}),
]


@pytest.mark.parametrize("seed", range(20))
def test_a_correct_history_has_no_violation(seed: int) -> None:
    evidence = busy_bank(seed).evidence()
    found = check(evidence, bank_model)
    assert found == [], report(found)
    assert len(evidence.uncommitted_view) > len(evidence.committed_view) > 40  # aborted records were there to be missed
    assert evidence.dead_letters


def test_what_an_operator_did_about_a_dead_letter_is_none() -> None:
    evidence = busy_bank(1).evidence()
    letter = evidence.dead_letters[0]
    said = replace(letter, offset=letter.offset + 1000, key=b"0@0", headers=(("eventsrc.audit", b"dropped"),))
    evidence.dead_letters.append(said)
    assert check(evidence, bank_model) == []
    evidence.dead_letters.append(replace(said, headers=()))
    assert "a dead letter without its source" in report(check(evidence, bank_model))


def test_a_history_still_in_motion_is_judged_without_demanding_rest() -> None:
    bank = busy_bank(3)
    bank.send("a1", "Deposit", {"amount": 5})
    evidence = bank.evidence()
    assert {violation.invariant for violation in check(evidence, bank_model)} == {"I5"}
    evidence.at_rest = False
    assert check(evidence, bank_model) == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("plant", "broken"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_bug_is_caught_without_the_oracle(plant: planted.Plant, broken: set[str], seed: int) -> None:
    evidence = busy_bank(seed).evidence()
    plant(evidence, random.Random(seed))
    found = check(evidence)
    assert broken <= {violation.invariant for violation in found}, report(found)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("plant", "broken"), ONLY_THE_ORACLE_SEES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_bug_is_caught_by_the_oracle(plant: planted.Plant, broken: set[str], seed: int) -> None:
    evidence = busy_bank(seed).evidence()
    plant(evidence, random.Random(seed))
    found = check(evidence, bank_model)
    assert broken <= {violation.invariant for violation in found}, report(found)


def test_money_that_appears_from_nowhere_is_caught() -> None:
    bank = busy_bank(1)
    evidence = bank.evidence()
    evidence.history = [operation for operation in evidence.history if operation.name != "Deposit"]
    assert "I8" in {violation.invariant for violation in check(evidence, bank_model)}


def test_an_unknown_outcome_may_have_happened_or_not() -> None:
    bank = busy_bank(2)
    evidence = bank.evidence()
    answers = {"ok", "rejected", "failed"}
    evidence.history = [operation for operation in evidence.history if operation.kind not in answers]
    assert check(evidence, bank_model) == []


def test_a_gap_that_a_pruning_record_covers_is_none() -> None:
    evidence = busy_bank(4).evidence()
    events = planted.events_of(evidence, lambda event, view: event.key.sequence == 1 and event.count == 1)
    event = events[0]
    planted.remove(evidence, event)
    assert "I3" in {violation.invariant for violation in check(evidence)}
    pruned = evidence.schemas.encode("eventsrc.Pruned", {"id": event.key.id.decode(), "sequence": 1})
    end = planted.end_of(evidence, event.place[1])
    evidence.committed_view.append(LogRecord(*event.place, end, b"\0pruned@1", pruned))
    assert "I3" not in {violation.invariant for violation in check(evidence)}


def test_a_violation_names_invariant_place_offsets_and_key() -> None:
    evidence = busy_bank(5).evidence()
    planted.equal_duplicate(evidence, random.Random(5))
    violation = next(found for found in check(evidence) if found.invariant == "I4")
    assert violation.topic == "bank.account.events"
    assert len(violation.offsets) == 2
    assert "@" in violation.key
    assert str(violation.offsets[1]) in str(violation)

"""The check of I6 proved by planted bugs: each must be caught; correct checkpoints pass."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.harness import bank_model
from tests.harness.checker import check, report
from tests.harness.evidence import Evidence
from tests.harness.planted_snapshots import PLANTED, segment_lost
from tests.harness.synthetic import busy_bank
from tests.harness.synthetic_snapshots import with_snapshots

Plant = Callable[[Evidence, random.Random], None]


@pytest.mark.parametrize("seed", range(20))
def test_correct_checkpoints_have_no_violation(seed: int) -> None:
    evidence = with_snapshots(busy_bank(seed).evidence(), seed)
    found = check(evidence, bank_model)
    assert found == [], report(found)
    assert evidence.snapshots is not None
    assert len(evidence.snapshots.checkpoints) == 6
    assert any(row.seen != row.anchor for row in evidence.snapshots.checkpoints) or seed % 5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("plant", "broken"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_bug_is_caught(plant: Plant, broken: str, seed: int) -> None:
    evidence = with_snapshots(busy_bank(seed).evidence(), seed)
    plant(evidence, random.Random(seed))
    found = check(evidence, bank_model)
    assert broken in {violation.invariant for violation in found}, report(found)


def test_what_a_test_has_damaged_is_not_judged() -> None:
    evidence = with_snapshots(busy_bank(1).evidence(), 1)
    segment_lost(evidence, random.Random(1))
    stored = evidence.snapshots
    assert stored is not None
    stored.excused |= {row.id for row in stored.checkpoints}
    assert check(evidence, bank_model) == []

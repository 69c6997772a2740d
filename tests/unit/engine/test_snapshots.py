"""Whether a checkpoint may be used."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from eventsrc.engine.snapshots import PassedOver, is_of_later_term, refusal, verify_below
from eventsrc.errors import LogInconsistent
from eventsrc.model.snapshot import FoldedBy
from tests.unit.engine.stored import FOLDED_BY, TOPICS, checkpoint_at, some_anchor, stored_as

OLDER_CODE = FoldedBy(FOLDED_BY.version + 1, FOLDED_BY.state_fingerprint)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, None),
        ({"events_topic_id": "other"}, "another events topic (topic id other; now events)"),
        ({"commands_topic_id": "other"}, "another commands topic (topic id other; now commands)"),
        ({"folded_by": OLDER_CODE}, "folded by version 2 of the aggregate; the code has version 1"),
        (
            {"folded_by": FoldedBy(FOLDED_BY.version, 7)},
            "its states have other fields, types or defaults (schema 0000000000000007; now",
        ),
    ],
)
def test_why_one_cannot_be_used(said: dict[str, Any], words: str | None) -> None:
    found = refusal(checkpoint_at(some_anchor(3), **said), TOPICS, FOLDED_BY)
    assert found is None if words is None else words in (found or "")


def test_each_reason_why_some_are_passed_over_is_told_once() -> None:
    passed_over = PassedOver()
    for number, reason in ((2, "older code"), (3, "its hash is wrong"), (4, "older code")):
        passed_over.add(uuid.UUID(int=number), reason)
    assert passed_over.lines() == (
        f"2 checkpoints, the newest {uuid.UUID(int=2)}: older code",
        f"checkpoint {uuid.UUID(int=3)}: its hash is wrong",
    )


@pytest.mark.parametrize(("seen", "term", "allowed"), [(6, 7, True), (7, 7, False), (9, 7, False)])
def test_nothing_that_it_has_seen_may_be_at_or_above_our_own_barrier(seen: int, term: int, allowed: bool) -> None:
    checkpoint = checkpoint_at(some_anchor(3), some_anchor(seen))
    if allowed:
        verify_below(checkpoint, term)
        return
    with pytest.raises(LogInconsistent, match=f"up to offset {seen}, and our own barrier was written at offset 7"):
        verify_below(checkpoint, term)


@pytest.mark.parametrize(
    ("said", "term", "later"),
    [
        ({"term": 8}, 7, True),
        ({"term": 8, "folded_by": OLDER_CODE}, 7, True),
        ({"term": 8}, 8, False),
        ({"term": 20, "events_topic_id": "other"}, 7, False),
    ],
)
def test_a_later_owner_shows_in_its_checkpoints_of_this_log_whatever_code_wrote_them(
    said: dict[str, Any], term: int, later: bool
) -> None:
    stored = stored_as(checkpoint_at(some_anchor(9), **said))
    assert is_of_later_term(stored, TOPICS, term) is later

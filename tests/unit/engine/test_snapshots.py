"""Whether a checkpoint may be used."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from eventsrc.engine.notes import TopicIds
from eventsrc.engine.snapshots import later_term, refusal, usable, verify_below
from eventsrc.errors import LogInconsistent
from eventsrc.model.snapshot import DamagedCheckpoint, FoldedBy, StoredCheckpoint
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


def test_usable_ones_keep_their_order_and_each_reason_is_told_once() -> None:
    good = [stored_as(checkpoint_at(some_anchor(9 - number)), number) for number in (1, 5)]
    other = [stored_as(checkpoint_at(some_anchor(5), folded_by=OLDER_CODE), number) for number in (2, 3)]
    damaged = DamagedCheckpoint(uuid.UUID(int=4), "its hash is wrong")
    found, lines = usable([good[0], *other, damaged, good[1]], TOPICS, FOLDED_BY)
    assert found == good
    assert lines == [
        f"2 checkpoints, the newest {other[0].id}: it was folded by version 2 of the aggregate; the code has version 1",
        f"checkpoint {damaged.id}: its hash is wrong",
    ]


@pytest.mark.parametrize(("seen", "term", "allowed"), [(6, 7, True), (7, 7, False), (9, 7, False)])
def test_nothing_that_it_has_seen_may_be_at_or_above_our_own_barrier(seen: int, term: int, allowed: bool) -> None:
    checkpoint = checkpoint_at(some_anchor(3), some_anchor(seen))
    if allowed:
        verify_below(checkpoint, term)
        return
    with pytest.raises(LogInconsistent, match=f"up to offset {seen}, and our own barrier was written at offset 7"):
        verify_below(checkpoint, term)


def test_a_later_owner_shows_in_its_checkpoints_of_this_log_whatever_code_wrote_them() -> None:
    kept: list[StoredCheckpoint | DamagedCheckpoint] = [
        DamagedCheckpoint(uuid.UUID(int=1), "its hash is wrong"),
        stored_as(checkpoint_at(some_anchor(30), term=20, events_topic_id="other")),
        stored_as(checkpoint_at(some_anchor(9), term=8, folded_by=OLDER_CODE)),
        stored_as(checkpoint_at(some_anchor(5), term=4)),
    ]
    assert [later_term(kept, TOPICS, term) for term in (3, 4, 7, 8, 21)] == [8, 8, 8, None, None]
    assert later_term(kept, TopicIds("commands", "third"), 0) is None

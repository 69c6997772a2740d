"""What stands beside a committed offset."""

from __future__ import annotations

import json

import pytest

from eventsrc.engine.counts import Counts
from eventsrc.engine.notes import NOTE_BYTES, Claim, Note, Owner, TopicIds, read_note, write_note

LARGEST = (1 << 63) - 1


def test_a_note_is_the_contracts_json() -> None:
    text = write_note(Owner("host-1", "bank-host-1", "a word"), 17, Counts(5, 4, 3, 2, 1))
    assert json.loads(text) == {
        "instance": "host-1",
        "transactional_id": "bank-host-1",
        "term": 17,
        "counts": {"applied": 5, "rejected": 4, "empty": 3, "duplicate": 2, "dead": 1},
    }
    assert read_note(text) == Note("host-1", "bank-host-1", 17, None, Claim(17, 5))


def test_the_topics_and_what_was_found_stand_beside_it() -> None:
    text = write_note(Owner("i", "t"), 9, Counts(), TopicIds("c", "e"), Claim(4, 7))
    assert json.loads(text)["topics"] == {"commands": "c", "events": "e"}
    assert json.loads(text)["before"] == {"term": 4, "applied": 7}
    assert read_note(text) == Note("i", "t", 9, TopicIds("c", "e"), Claim(4, 7))
    assert read_note(write_note(Owner("i", "t"), 9, Counts(applied=2), None, Claim(4, 7))) == Note(
        "i", "t", 9, None, Claim(9, 2)
    ), "an owner that has applied something vouches for that"


def test_without_a_term() -> None:
    assert read_note(write_note(Owner("host-1", "bank-host-1"), None, Counts())) == Note("host-1", "bank-host-1", None)


def test_it_fits_for_ordinary_names_and_the_largest_numbers() -> None:
    owner = Owner("i" * 63 + "-0", "g" * 60 + "-" + "i" * 63 + "-0")
    assert len(write_note(owner, LARGEST, Counts(*[LARGEST] * 5)).encode()) <= NOTE_BYTES


@pytest.mark.parametrize("text", [None, "", "null", "[]", "5", "{", '{"instance": 5, "transactional_id": "x"}', "{}"])
def test_what_another_program_left_tells_nothing(text: str | None) -> None:
    assert read_note(text) is None


def test_a_term_that_is_no_number_is_none() -> None:
    assert read_note('{"instance": "i", "transactional_id": "t", "term": "x"}') == Note("i", "t", None)

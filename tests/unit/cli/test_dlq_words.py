"""Which dead letters the words of a command mean."""

from __future__ import annotations

import pytest

from eventsrc.cli.dlq_words import Filter, read_places
from eventsrc.cli.errors import UsageError
from eventsrc.engine.letters import Letter, LetterPlace, Source
from tests.unit.engine.shop import pipeline

SOURCE = Source("shop.account.commands", 3, 41)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["3@17"], [LetterPlace(3, 17)]),
        (["3@17", "0@0"], [LetterPlace(3, 17), LetterPlace(0, 0)]),
        (["3@17,0@0"], [LetterPlace(3, 17), LetterPlace(0, 0)]),
        (["account/3@41"], [SOURCE]),
        (["Account/3@41"], [SOURCE]),
        (["shop.account.commands/3", "offset", "41"], [SOURCE]),
        (["dead letter of shop.account.commands/3 offset 41"], [SOURCE]),
        (["command of partition account/3 at offset 41", "3@17"], [SOURCE, LetterPlace(3, 17)]),
        ([], []),
    ],
)
def test_a_place_as_it_is_printed_anywhere(words: list[str], expected: list[LetterPlace | Source]) -> None:
    assert read_places(pipeline, words) == expected


@pytest.mark.parametrize("words", [["17"], ["3@"], ["3@17x"], ["3@17", "rest"], ["other/3@1"], ["-1@3"], ["3@1@2"]])
def test_what_is_no_place_is_named(words: list[str]) -> None:
    with pytest.raises(UsageError):
        read_places(pipeline, words)


def test_filters_are_all_held() -> None:
    letter = Letter(LetterPlace(0, 1), 1_000_000, b"alice", b"", SOURCE, "constraint", "", None, (), True, 1, None)
    assert Filter.read(pipeline, None, None, None, None, None).admits(letter)
    since = "1970-01-01T00:16:40Z"
    assert Filter.read(pipeline, "constraint", "Account", "alice", since, since).admits(letter)
    for wrong in (
        Filter.read(pipeline, "undecodable", None, None, None, None),
        Filter.read(pipeline, None, "basket", None, None, None),
        Filter.read(pipeline, None, None, "bob", None, None),
        Filter.read(pipeline, None, None, None, "1970-01-01T00:16:41Z", None),
        Filter.read(pipeline, None, None, None, None, "1970-01-01T00:16:39Z"),
    ):
        assert not wrong.admits(letter)

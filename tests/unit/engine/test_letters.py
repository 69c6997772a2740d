"""The dead-letter topic read back: letters, what was done about them, and what is neither."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from eventsrc.engine.dead_letters import Refused, dead_letter
from eventsrc.engine.letters import Audit, LetterPlace, Letters, Source
from tests.unit.engine.shop import Record

TOPIC = "shop.account.commands"
NOW = datetime(2026, 11, 28, 8, 0, 0, 123456, UTC)


def feed(
    letters: Letters,
    place: LetterPlace,
    source: int,
    *,
    headers: tuple[tuple[str, bytes | None], ...] = (),
    trace: str | None = None,
    value: bytes | None = b"value",
    most: int = 1000,
) -> None:
    record = Record(source, b"alice", value, 1, of_headers=headers)
    made = dead_letter(record, TOPIC, Refused("handler-failed", "a bug", trace), most)
    letters.feed(place, 5, made.key, made.value, made.headers)


def audit(place: LetterPlace, **said: object) -> Audit:
    values = {"action": "dropped", "by": "me", "at": NOW, "why": "", "origin": Source(TOPIC, 1, 0), "sent": None} | said
    return Audit(place, **values)  # type: ignore[arg-type]  # as they are above


def feed_audit(letters: Letters, at: LetterPlace, said: Audit) -> None:
    letters.feed(at, 6, said.key, said.value(), said.headers)


def test_a_letter_is_what_the_engine_wrote() -> None:
    letters = Letters()
    feed(letters, LetterPlace(0, 3), 41, headers=(("traceparent", b"00"), ("null", None)), trace="Traceback ...")
    (letter,) = letters.waiting()
    assert (letter.reason, letter.message, letter.traceback) == ("handler-failed", "a bug", "Traceback ...")
    assert (letter.source, str(letter.source)) == (Source(TOPIC, 1, 41), f"{TOPIC}/1 offset 41")
    assert letter.headers == (("traceparent", b"00"), ("null", None))
    assert (letter.whole, letter.attempt, letter.retry_of, str(letter.place)) == (True, 1, None, "0@3")
    assert letters.from_source(Source(TOPIC, 1, 41)) is letter


def test_what_was_cut_is_not_whole() -> None:
    letters = Letters()
    feed(letters, LetterPlace(0, 0), 0, value=b"v" * 5000, most=2000)
    assert not letters.waiting()[0].whole


def test_a_retry_that_fails_again_names_its_attempt_and_the_letter_before() -> None:
    letters = Letters()
    of_retry = (("eventsrc.attempt", b"2"), ("eventsrc.retry-of", b"0@3"), ("own", b"1"))
    feed(letters, LetterPlace(0, 9), 50, headers=of_retry)
    (letter,) = letters.waiting()
    assert (letter.attempt, letter.retry_of, letter.headers) == (2, "0@3", (("own", b"1"),))


def test_headers_of_a_retry_that_are_forged_are_cut_off_or_without_effect() -> None:
    record = Record(
        1, b"alice", b"value", 0, of_headers=(("eventsrc.attempt", b"9" * 65), ("eventsrc.retry-of", b"\xff"))
    )
    headers = dict(dead_letter(record, TOPIC, Refused("constraint", "why"), 1000).headers)
    assert "eventsrc.attempt" not in headers
    letters = Letters()
    feed(letters, LetterPlace(0, 0), 1, headers=(("eventsrc.attempt", b"many"), ("eventsrc.retry-of", b"\xff")))
    assert (letters.waiting()[0].attempt, letters.waiting()[0].retry_of) == (1, "\\xff")


@pytest.mark.parametrize("sent", [None, Source(TOPIC, 1, 99)])
def test_an_audit_record_says_what_it_was_told_and_hides_its_letter(sent: Source | None) -> None:
    letters = Letters()
    feed(letters, LetterPlace(0, 3), 41)
    feed(letters, LetterPlace(0, 4), 42)
    said = audit(LetterPlace(0, 3), action="retried" if sent else "dropped", sent=sent, why="mended, \u00e9")
    feed_audit(letters, LetterPlace(0, 5), said)
    assert [each.place for each in letters.waiting()] == [LetterPlace(0, 4)]
    assert letters.audits == {LetterPlace(0, 3): said}
    assert letters.foreign == []


def test_the_origin_of_a_retry_is_where_the_command_stood_first() -> None:
    letters = Letters()
    first = audit(LetterPlace(0, 3), action="retried", origin=Source(TOPIC, 1, 41), sent=Source(TOPIC, 1, 99))
    feed_audit(letters, LetterPlace(0, 5), first)
    assert letters.origin(Source(TOPIC, 1, 99)) == Source(TOPIC, 1, 41)
    assert letters.origin(Source(TOPIC, 1, 7)) == Source(TOPIC, 1, 7)


def test_what_is_neither_is_kept_apart_and_settles_nothing() -> None:
    letters = Letters()
    feed(letters, LetterPlace(0, 0), 1)
    letters.feed(LetterPlace(0, 1), 5, b"0@0", b"not JSON", [("eventsrc.audit", b"dropped")])
    letters.feed(LetterPlace(0, 2), 5, b"0@0", b'{"letter": "0@0", "action": "eaten"}', [("eventsrc.audit", b"eaten")])
    letters.feed(LetterPlace(0, 3), 5, b"key", b"value", None)
    letters.feed(LetterPlace(0, 4), 5, b"key", b"value", [("eventsrc.reason", b"x"), ("eventsrc.topic", b"t")])
    assert letters.foreign == [LetterPlace(0, number) for number in (1, 2, 3, 4)]
    assert len(letters.waiting()) == 1


def test_a_command_cannot_pass_for_an_audit_record() -> None:
    """Its own headers that begin with `eventsrc.` are not kept, and a letter always has a reason."""
    letters = Letters()
    feed(
        letters, LetterPlace(0, 0), 1, headers=(("eventsrc.audit", b"dropped"),), value=audit(LetterPlace(0, 0)).value()
    )
    assert len(letters.waiting()) == 1


def test_a_reason_that_is_no_text_is_written_all_the_same() -> None:
    why = "a byte \udcff of the terminal"
    assert json.loads(audit(LetterPlace(0, 3), why=why).value())["why"] == why

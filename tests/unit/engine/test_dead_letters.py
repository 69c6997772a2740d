"""What a command that cannot be processed becomes."""

from __future__ import annotations

import decimal
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsrc.engine.dead_letters import HEADERS_BYTES, TRACEBACK_BYTES, Refused, dead_letter
from tests.unit.engine.deciding import header
from tests.unit.engine.shop import Record

MOST = 1_000_000

Headers = tuple[tuple[str, bytes | None], ...]


def _letter(refusal: Refused, headers: Headers | None = None, value: bytes | None = b"value") -> Headers:
    return dead_letter(Record(41, b"key", value, 3, of_headers=headers), "bank.account.commands", refusal, MOST).headers


def test_it_says_why_and_where_from() -> None:
    assert _letter(Refused("oversize", "too many bytes")) == (
        ("eventsrc.reason", b"oversize"),
        ("eventsrc.message", b"too many bytes"),
        ("eventsrc.topic", b"bank.account.commands"),
        ("eventsrc.partition", b"3"),
        ("eventsrc.offset", b"41"),
    )


def test_key_and_value_are_the_original_bytes_and_null_stays_null() -> None:
    refusal = Refused("null-value", "none")
    assert dead_letter(Record(0, b"\xff", b"\0\1", 5), "t", refusal, MOST)[:3] == (5, b"\xff", b"\0\1")
    assert dead_letter(Record(0, None, None, 5), "t", refusal, MOST)[:3] == (5, None, None)


def test_the_original_headers_follow_without_those_that_look_like_ours() -> None:
    given_headers: Headers = (
        ("traceparent", b"1"),
        ("eventsrc.reason", b"forged"),
        ("empty", None),
        ("Eventsrc.x", b""),
    )
    letter = _letter(Refused("undecodable", "why"), given_headers)
    assert letter[5:] == (("traceparent", b"1"), ("empty", None), ("Eventsrc.x", b""))
    assert [value for name, value in letter if name == "eventsrc.reason"] == [b"undecodable"]


def test_what_no_topic_takes_keeps_its_beginning_and_says_how_long_it_was() -> None:
    """A record of a few kilobytes, compressed, may unpack to more than a transaction could ever carry."""
    large = dead_letter(Record(0, b"k", b"v" * 10 * MOST), "t", Refused("oversize", "why"), MOST)
    assert (large.key, large.value) == (b"k", b"v" * (MOST - 1024))
    assert large.headers[5:] == (("eventsrc.key-bytes", b"1"), ("eventsrc.value-bytes", b"10000000"))
    bad_id = dead_letter(Record(0, b"k" * 10 * MOST, None), "t", Refused("bad-id", "why"), MOST)
    assert (bad_id.key, bad_id.value) == (b"k" * 1024, None)
    fits = dead_letter(Record(0, b"k", b"v" * (MOST - 1)), "t", Refused("oversize", "why"), MOST)
    assert (len(fits.value or b""), len(fits.headers)) == (MOST - 1, 5)


def test_headers_above_sixteen_kilobytes_are_all_dropped() -> None:
    fits = (("name", b"x" * (HEADERS_BYTES - 4)),)
    over = (("name", b"x" * (HEADERS_BYTES - 4)), ("a", None))
    forged = (("name", b"x" * (HEADERS_BYTES - 4)), ("eventsrc.reason", b"x"))
    assert _letter(Refused("undecodable", "why"), fits)[5:] == fits
    assert _letter(Refused("undecodable", "why"), over)[5:] == ()
    assert _letter(Refused("undecodable", "why"), forged)[5:] == fits


def test_headers_that_the_client_library_cannot_read_are_left_out() -> None:
    class Hostile(Record):
        def headers(self) -> Headers | None:
            raise SystemError("a name that is not UTF-8")

    assert len(dead_letter(Hostile(0, b"k", b"v"), "t", Refused("undecodable", "why"), MOST).headers) == 5


@given(st.text(max_size=40), st.integers(0, 400), st.text(alphabet=st.characters(), max_size=40))
def test_a_traceback_is_cut_to_four_kilobytes_of_valid_text_and_keeps_its_end(start: str, times: int, end: str) -> None:
    trace = start + "line of it: \u00e9\U0001f600\n" * times + end
    letter = dead_letter(Record(0, b"k", b"v"), "t", Refused("handler-failed", "why", trace), MOST)
    cut = header(letter, "eventsrc.traceback")
    whole = trace.encode(errors="backslashreplace").decode()
    assert len(cut.encode()) <= TRACEBACK_BYTES
    assert whole.endswith(cut)
    assert len(cut.encode()) > min(len(whole.encode()), TRACEBACK_BYTES) - 4


def test_a_failed_handlers_traceback_names_where() -> None:
    try:
        raise ZeroDivisionError("here")
    except ZeroDivisionError as failure:
        refusal = Refused.by_handler(failure, 3)
    letter = dead_letter(Record(0, b"k", b"v"), "t", refusal, MOST)
    assert header(letter, "eventsrc.reason") == "handler-failed"
    assert header(letter, "eventsrc.message") == "ZeroDivisionError: here (after 3 attempts)"
    assert 'raise ZeroDivisionError("here")' in header(letter, "eventsrc.traceback")


class Odd(Exception):  # noqa: N818 - named as a user's might be
    def __str__(self) -> str:
        raise ValueError("no words")


def _noted() -> Exception:
    failure = ValueError("with a note")
    failure.add_note("the note")
    return failure


@pytest.mark.parametrize(
    "failure",
    [
        ZeroDivisionError("here"),
        KeyError("a key"),
        RuntimeError(),
        RuntimeError("two\nlines"),
        decimal.InvalidOperation(),
        Odd(),
        _noted(),
        SyntaxError("what", ("file.py", 1, 2, "text", 1, 3)),
        ExceptionGroup("both", [ValueError("one"), KeyError("two")]),
        SystemExit(3),
        NameError("name 'x' is not defined", name="x"),
    ],
    ids=repr,
)
def test_what_is_said_of_an_exception_is_what_python_prints(failure: BaseException) -> None:
    printed = "".join(traceback.format_exception_only(failure))
    refusal = Refused.by_handler(failure, 3)
    assert str(refusal) == f"{printed.strip()} (after 3 attempts)"
    assert (refusal.trace or "").endswith(printed)


def test_a_message_is_cut_too() -> None:
    letter = dead_letter(Record(0, b"k", b"v"), "t", Refused("constraint", "\u00e9" * 5000), MOST)
    assert len(header(letter, "eventsrc.message").encode()) <= 1024

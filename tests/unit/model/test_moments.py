"""Points in time as they are typed: every form, every mistake, and the two days a year on which local time lies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from eventsrc import InvalidMoment
from eventsrc.model.moments import (
    END,
    START,
    AtPositions,
    AtSequence,
    AtTime,
    Place,
    at_time,
    moment_of,
    parse_instant,
    parse_moment,
)

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-15m", NOW - timedelta(minutes=15)),
        ("-1.5h", NOW - timedelta(minutes=90)),
        ("-250ms", NOW - timedelta(milliseconds=250)),
        ("-2w", NOW - timedelta(weeks=2)),
        ("-1h30m", NOW - timedelta(minutes=90)),
        ("-1d2h3m4s", NOW - timedelta(days=1, hours=2, minutes=3, seconds=4)),
        (" now ", NOW),
        ("2026-11-22T10:00:00Z", NOW),
        ("2026-11-22T12:00+02:00", NOW),
        ("2026-11-22 10:00:00.000001Z", NOW + timedelta(microseconds=1)),
        ("2026-11-22T10:00", datetime(2026, 11, 22, 10, 0).astimezone()),
        ("2026-11-22", datetime(2026, 11, 22).astimezone()),
    ],
)
def test_times(text: str, expected: datetime) -> None:
    assert parse_instant(text, NOW) == expected
    assert parse_moment(text, NOW) == at_time(expected)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "-15", "15m", "-9999999999w", "2026-13-01", "1700000000", "-15m-", "--15m", "-\u0661m"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidMoment, match="is not a time: write"):
        parse_instant(text, NOW)
    with pytest.raises(InvalidMoment, match=r"is not a time: write .*@p0:123,p1:456.*#17.*start, end"):
        parse_moment(text, NOW)


def test_a_local_time_is_taken_in_the_local_zone(berlin: None) -> None:
    assert parse_instant("2026-07-01T12:00", NOW) == datetime(2026, 7, 1, 10, 0, tzinfo=UTC)
    assert parse_instant("2026-12-01T12:00", NOW) == datetime(2026, 12, 1, 11, 0, tzinfo=UTC)


def test_a_local_time_that_is_none_or_two_is_refused(berlin: None) -> None:
    with pytest.raises(
        InvalidMoment, match=r"does not exist here.*write it with an offset, for example 2026-03-29T03:30"
    ):
        parse_instant("2026-03-29T02:30", NOW)
    with pytest.raises(
        InvalidMoment, match=r"happened twice here.*2026-10-25T02:30:00\+02:00 or 2026-10-25T02:30:00\+01:00"
    ):
        parse_instant("2026-10-25T02:30", NOW)


def test_other_forms() -> None:
    assert parse_moment("start", NOW) == START
    assert parse_moment("end", NOW) == END
    assert parse_moment("#17", NOW) == AtSequence(17)
    assert parse_moment("@p0:123,p1:456", NOW) == AtPositions({Place(None, 0): 123, Place(None, 1): 456})
    assert parse_moment("@stock-item/0:7, account/p12:0", NOW) == AtPositions(
        {Place("stock-item", 0): 7, Place("account", 12): 0}
    )


@pytest.mark.parametrize("text", ["#0", "#", "#-1", "#1.5", "#017", "#x"])
def test_what_is_no_sequence_is_refused(text: str) -> None:
    with pytest.raises(InvalidMoment, match=r"is no sequence: write #17; the first event is #1, before it is `start`"):
        parse_moment(text, NOW)


@pytest.mark.parametrize("text", ["@", "@p0", "@0:1", "@p0:-1", "@p0:1,", "@p0:1;p1:2", "@/0:1", "@px:1", "@p0:1e3"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(InvalidMoment, match=r"is no position: write @p0:123,p1:456, or @account/0:123"):
        parse_moment(text, NOW)


def test_a_partition_is_named_once() -> None:
    with pytest.raises(InvalidMoment, match="names p0 twice"):
        parse_moment("@p0:1,p0:2", NOW)


@pytest.mark.parametrize(
    "text", ["start", "end", "#17", "@p0:123,p1:456", "@account/0:5", "2026-11-22T10:00:00.000001Z"]
)
def test_a_moment_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_moment(text, NOW)) == text


def test_what_a_caller_gives_as_a_moment() -> None:
    assert moment_of(NOW) == AtTime(NOW.timestamp().__int__() * 1_000_000)
    assert moment_of("#3") == AtSequence(3)
    assert moment_of(END) is END
    with pytest.raises(InvalidMoment, match=r"17 is no moment: give an aware datetime, or a text"):
        moment_of(17)  # type: ignore[arg-type]  # what a caller without a type checker may give
    with pytest.raises(InvalidMoment, match="names no zone"):
        moment_of(datetime(2026, 11, 22))

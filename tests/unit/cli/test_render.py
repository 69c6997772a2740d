"""Values as JSON and as text, by the contract."""

from __future__ import annotations

import enum
import json
import math
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from time import tzset
from typing import Any

import pytest

from eventsrc.cli.render import changes, columns, dump, local_time, printable, rfc3339, to_json, value_text


class Colour(enum.Enum):
    RED = "red"
    NUMBER = 7
    PLAIN = object()


@dataclass(slots=True)
class Money:
    amount: Decimal
    currency: str


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**63 - 1, 2**63 - 1),
        ("ü\u2028", "ü\u2028"),
        (1.5, 1.5),
        (math.inf, "inf"),
        (math.nan, "nan"),
        (Decimal("9.80"), "9.80"),
        (datetime(2026, 11, 22, 12, 0, tzinfo=timezone(timedelta(hours=2))), "2026-11-22T10:00:00Z"),
        (datetime(2026, 11, 22, 12, 0, 0, 5, tzinfo=UTC), "2026-11-22T12:00:00.000005Z"),
        (date(2026, 11, 22), "2026-11-22"),
        (time(10, 30), "10:30:00"),
        (timedelta(days=1, microseconds=1500), "PT86400.0015S"),
        (timedelta(seconds=-90), "-PT90S"),
        (b"\x00\xff", "AP8="),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Colour.NUMBER, 7),
        (Colour.PLAIN, "PLAIN"),
        ([1, (2, 3)], [1, [2, 3]]),
        ({3, 1, 20}, [1, 3, 20]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({Decimal("1.10"), Decimal("1.2")}, ["1.10", "1.2"]),
        ({"k": Money(Decimal("1.0"), "EUR")}, {"k": {"amount": "1.0", "currency": "EUR"}}),
    ],
)
def test_every_field_type_has_its_json(value: Any, expected: Any) -> None:
    assert to_json(value) == expected
    assert json.loads(dump(to_json(value))) == expected


def test_what_has_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        to_json(object())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        (Decimal("9.80"), "9.80"),
        (3, "3"),
        (None, "null"),
        (Colour.RED, "red"),
        (["a"], '["a"]'),
        (True, "true"),
    ],
)
def test_values_as_a_person_reads_them(value: Any, text: str) -> None:
    assert value_text(value) == text


def test_times_name_their_offset() -> None:
    moment = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
    shown = local_time(moment)
    assert datetime.fromisoformat(shown) == moment.replace(microsecond=123000)
    assert rfc3339(moment).endswith("Z")


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_the_first_and_the_last_day_are_shown_in_any_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    tzset()
    try:
        for moment in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)):
            assert datetime.fromisoformat(local_time(moment)) == moment
    finally:
        monkeypatch.undo()
        tzset()


def test_only_changed_fields_are_changes() -> None:
    assert changes({"a": 1, "b": 2}, {"a": 1, "b": 3}) == {"b": (2, 3)}


def test_columns_are_aligned_without_trailing_space() -> None:
    assert columns([("a", "bb", "c"), ("aaa", "b", "")]) == "a    bb  c\naaa  b"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("o-1 tea", "o-1 tea"),
        ("ünï 😀", "ünï 😀"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("\u202e\udcff", "\\u202e\\udcff"),
    ],
)
def test_text_from_outside_does_not_move_the_cursor(line: str, shown: str) -> None:
    assert printable(line) == shown

"""What an aggregate remembers: its last K commands and those of the last ten minutes, at most 1,024."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsrc.engine.memory import ENTRY_BYTES, LIMIT, WINDOW_US, Remembered, moment, recall, remember

MINUTE_US = 60_000_000
UNIT_US = 1 << 20
"""Of what is remembered of a time."""
COME_ROUND_US = UNIT_US << 32


def _id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _after(times: list[int], keep: int) -> list[int]:
    """Numbers of the commands remembered after commands at those times."""
    memory = b""
    for number, time in enumerate(times):
        memory = remember(memory, keep, _id(number), time, 1, b"8 bytes.")
    starts = range(0, len(memory), ENTRY_BYTES)
    return [int.from_bytes(memory[start : start + 16], "big") for start in starts]


def test_an_entry_holds_what_a_repetition_is_answered_with() -> None:
    memory = remember(b"", 8, _id(5), 1_000, 3, b"payload!")
    assert recall(memory, _id(5), 12) == Remembered(12, b"payload!")
    assert recall(memory, _id(6), 12) is None
    assert recall(b"", _id(5), 12) is None


@given(st.lists(st.integers(1, 2_000), min_size=1, max_size=30), st.integers(0, 1 << 60), st.integers(1, 10))
def test_each_command_is_remembered_with_the_sequence_after_it(counts: list[int], before: int, keep: int) -> None:
    memory, sequence, after = b"", before, {}
    for number, count in enumerate(counts):
        memory = remember(memory, keep, _id(number), number * MINUTE_US, count, number.to_bytes(8, "big"))
        sequence += count
        after[number] = sequence
    for number in range(len(counts)):
        found = recall(memory, _id(number), sequence)
        assert found is None or found == (after[number], number.to_bytes(8, "big"))
        assert (found is not None) == (number >= len(counts) - len(memory) // ENTRY_BYTES)


def test_the_last_k_are_kept_however_old() -> None:
    assert _after([0, 60 * MINUTE_US, 120 * MINUTE_US, 180 * MINUTE_US], keep=3) == [1, 2, 3]


def test_one_command_is_kept_where_one_is_asked_for() -> None:
    assert _after([0, 60 * MINUTE_US], keep=1) == [1]


def test_those_of_the_last_ten_minutes_are_kept_however_many() -> None:
    assert _after([number * MINUTE_US for number in range(30)], keep=2) == list(range(19, 30))


def test_the_window_includes_its_edge_and_ends_a_second_later() -> None:
    assert _after([0, 1, WINDOW_US, WINDOW_US + 1], keep=1) == [0, 1, 2, 3]
    assert _after([UNIT_US - 1, UNIT_US, WINDOW_US + UNIT_US, WINDOW_US + 2 * UNIT_US - 1], keep=1) == [1, 2, 3]
    assert _after([UNIT_US - 1, UNIT_US, WINDOW_US + 2 * UNIT_US], keep=1) == [2]


@pytest.mark.parametrize("start_us", [COME_ROUND_US - 15 * MINUTE_US, -15 * MINUTE_US])
def test_times_that_come_round_are_compared_all_the_same(start_us: int) -> None:
    """In 2112; and a clock that was before 1970."""
    kept = _after([start_us + number * MINUTE_US for number in range(30)], keep=2)
    assert kept in (list(range(19, 30)), list(range(18, 30)))
    assert _after([start_us, start_us + 10 * 365 * 24 * 60 * MINUTE_US], keep=1) == [1]
    assert 0 <= moment(start_us) < 1 << 32


def test_never_more_than_the_limit() -> None:
    assert _after(list(range(LIMIT + 10)), keep=8) == list(range(10, LIMIT + 10))
    assert _after(list(range(LIMIT + 10)), keep=LIMIT) == list(range(10, LIMIT + 10))


def test_sixteen_bytes_that_straddle_entries_are_no_match() -> None:
    """An id that stands in the memory, but across a border, and behind it the true entry."""
    memory = remember(b"", 8, _id(1), 1, 1, b"8 bytes.")
    memory = remember(memory, 8, _id(2), 2, 1, b"8 bytes.")
    straddling = memory[24:40]
    assert straddling in memory
    assert recall(memory, straddling, 2) is None
    memory = remember(memory, 8, straddling, 3, 1, b"the true")
    assert recall(memory, straddling, 3) == (3, b"the true")


@given(st.lists(st.integers(0, 2 * WINDOW_US), max_size=40).map(sorted), st.integers(1, 10))
def test_it_is_as_the_contract_says(times: list[int], keep: int) -> None:
    """The last `keep`, and those of the last ten minutes; those that are a second older, perhaps."""
    kept = _after(times, keep)
    last = len(times) - 1
    for number, time in enumerate(times):
        age_us = times[last] - time
        if last - number < keep or age_us <= WINDOW_US:
            assert number in kept
        elif age_us > WINDOW_US + UNIT_US:
            assert number not in kept

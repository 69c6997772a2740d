"""What an aggregate remembers: its last K commands and those of the last ten minutes, at most 1,024."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventsrc.engine.memory import LIMIT, WINDOW_US, Remembered, entries, recall, remember

MINUTE_US = 60_000_000


def _id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _after(times: list[int], keep: int) -> list[int]:
    """Numbers of the commands remembered after commands at those times."""
    memory = b""
    for number, time in enumerate(times):
        memory = remember(memory, keep, _id(number), number + 1, time, 1, b"8 bytes.")
    return [int.from_bytes(each.command_id, "big") for each in entries(memory)]


def test_an_entry_holds_what_a_repetition_is_answered_with() -> None:
    memory = remember(b"", 8, _id(5), 12, 1_000, 3, b"payload!")
    assert recall(memory, _id(5)) == Remembered(_id(5), 12, 1_000, 3, b"payload!")
    assert recall(memory, _id(6)) is None
    assert recall(b"", _id(5)) is None


def test_the_last_k_are_kept_however_old() -> None:
    assert _after([0, 60 * MINUTE_US, 120 * MINUTE_US, 180 * MINUTE_US], keep=3) == [1, 2, 3]


def test_one_command_is_kept_where_one_is_asked_for() -> None:
    assert _after([0, 60 * MINUTE_US], keep=1) == [1]


def test_those_of_the_last_ten_minutes_are_kept_however_many() -> None:
    assert _after([number * MINUTE_US for number in range(30)], keep=2) == list(range(19, 30))


def test_the_window_includes_its_edge() -> None:
    assert _after([0, 1, WINDOW_US, WINDOW_US + 1], keep=1) == [1, 2, 3]


def test_never_more_than_the_limit() -> None:
    assert _after(list(range(LIMIT + 10)), keep=8) == list(range(10, LIMIT + 10))
    assert _after(list(range(LIMIT + 10)), keep=LIMIT) == list(range(10, LIMIT + 10))


def test_sixteen_bytes_that_straddle_entries_are_no_match() -> None:
    """An id that stands in the memory, but across a border, and behind it the true entry."""
    memory = remember(b"", 8, _id(1), 1, 1, 1, b"8 bytes.")
    memory = remember(memory, 8, _id(2), 2, 2, 1, b"8 bytes.")
    straddling = memory[40:56]
    assert straddling in memory
    assert recall(memory, straddling) is None
    memory = remember(memory, 8, straddling, 3, 3, 1, b"8 bytes.")
    found = recall(memory, straddling)
    assert found is not None
    assert found.sequence == 3


@given(st.lists(st.integers(0, 2 * WINDOW_US), max_size=40).map(sorted), st.integers(1, 10))
def test_it_is_as_the_contract_says(times: list[int], keep: int) -> None:
    kept = _after(times, keep)
    last = len(times) - 1
    wanted = [number for number, time in enumerate(times) if last - number < keep or times[last] - time <= WINDOW_US]
    assert kept == wanted

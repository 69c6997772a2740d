"""Long memories are not searched for each command, and nothing that a search would have found is missed."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsrc.engine import decide, known_ids
from eventsrc.engine.counts import Counts
from eventsrc.engine.known_ids import LONG_BYTES, SEARCHES, KnownIds, holds
from eventsrc.engine.memory import ENTRY_BYTES, LIMIT, WINDOW_US, remember
from tests.unit.engine.deciding import KEY, Desk
from tests.unit.engine.shop import Deposit

PAYLOAD_HASH = b"8 bytes."


def _memory(ids: list[bytes]) -> bytes:
    memory = b""
    for number, each in enumerate(ids):
        memory = remember(memory, LIMIT, each, number, 1, PAYLOAD_HASH)
    return memory


def _made(memory: bytes) -> KnownIds:
    """Its filter, too."""
    known = KnownIds(memory)
    assert all(known.may_hold(os.urandom(16)) for _ in range(SEARCHES + 1))
    return known


def _seen(known: KnownIds, count: int) -> int:
    return sum(known.may_hold(os.urandom(16)) for _ in range(count))


@pytest.mark.parametrize("alike", [False, True], ids=["random ids", "counted ids"])
def test_what_a_memory_holds_is_known_and_little_else(alike: bool) -> None:
    ids = [number.to_bytes(16, "big") if alike else os.urandom(16) for number in range(1000)]
    known = _made(_memory(ids))
    assert all(map(known.may_hold, ids))
    assert _seen(known, 1000) < 100
    assert sum(known.may_hold(number.to_bytes(16, "big")) for number in range(1000, 2000)) < 100


def test_it_grows_with_its_memory_and_is_made_anew_where_it_has_no_room() -> None:
    ids = [os.urandom(16) for _ in range(200)]
    memory = _memory(ids)
    known = _made(memory)
    for number in range(200):
        ids.append(os.urandom(16))
        memory = remember(memory, LIMIT, ids[-1], 201 + number, 1, PAYLOAD_HASH)
        known.has_grown(memory, ids[-1])
        assert known.of is memory
    assert all(map(known.may_hold, ids))
    assert _seen(known, 1000) < 200
    memory = remember(memory[200 * ENTRY_BYTES :], LIMIT, ids[0], 401, 1, PAYLOAD_HASH)
    known.has_grown(memory, ids[0])
    assert all(map(known.may_hold, [ids[0], *ids[200:]]))
    assert sum(map(known.may_hold, ids[1:200])) < 50  # forgotten


class _Counted(bytes):
    """Counts its searches."""

    searches = 0

    def rfind(self, *arguments: Any) -> int:
        _Counted.searches += 1
        return super().rfind(*arguments)


def test_a_long_memory_is_hardly_searched() -> None:
    desk = Desk()
    desk.decide(Deposit(1))
    ids = [os.urandom(16) for _ in range(1000)]
    memory = _Counted(_memory(ids))
    assert sum(holds(desk.live(), memory, os.urandom(16)) for _ in range(1000)) == 0
    assert SEARCHES < _Counted.searches < 130
    assert all(holds(desk.live(), memory, each) for each in ids)
    others = [os.urandom(16) for _ in range(200)]
    another = _memory(others)
    assert all(holds(desk.live(), another, each) for each in others)


def test_a_command_among_a_thousand_is_known_and_another_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[KnownIds] = []
    make = KnownIds._make

    def counted(known: KnownIds) -> None:
        made.append(known)
        make(known)

    monkeypatch.setattr(KnownIds, "_make", counted)
    desk = Desk()
    names = [f"n{number}" for number in range(LIMIT + 50)]
    for name in names:
        desk.decide(Deposit(1), names=[name])
    assert len(desk.live()._eventsrc_memory) == LIMIT * ENTRY_BYTES > LONG_BYTES
    assert 0 < len(made) < 6
    applied = desk.live().sequence
    desk.next_batch()
    for name in names[50:]:
        desk.decide(Deposit(1), names=[name])
    assert (desk.live().sequence, desk.partition.counts.duplicate) == (applied, LIMIT)
    desk.decide(Deposit(1), names=["another"])
    desk.decide(Deposit(1), names=[names[0]])  # forgotten
    assert desk.live().sequence == applied + 2


def test_what_came_while_a_memory_was_short_is_known_when_it_is_long_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "LONG_BYTES", 140 * ENTRY_BYTES)
    monkeypatch.setattr(known_ids, "SEARCHES", 0)
    desk = Desk()
    for _ in range(3):
        names = [f"n{desk.partition.position + number}" for number in range(145)]
        desk.decide(*[Deposit(1)] * 145, names=names)
        assert len(desk.live()._eventsrc_memory) >= 141 * ENTRY_BYTES
        desk.decide(*[Deposit(1)] * 145, names=names)
        desk.now_us += 2 * WINDOW_US
    assert desk.partition.counts == Counts(applied=435, duplicate=435)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.lists(st.integers(0, 40), min_size=1, max_size=12)),
        st.tuples(st.sampled_from(["next batch", "take back", "cool", "later"]), st.just([])),
    ),
    max_size=40,
)


@given(steps=STEPS)
@settings(max_examples=200, deadline=None)
def test_answers_are_those_of_a_search(steps: list[tuple[str, list[int]]]) -> None:
    """Also where batches are taken back, states cool and come back, and memories grow short and long again."""
    with pytest.MonkeyPatch.context() as patched:
        seen = []
        patched.setattr(known_ids, "SEARCHES", 1)
        for long_bytes in (2 * ENTRY_BYTES, LIMIT * ENTRY_BYTES * 2):
            patched.setattr(decide, "LONG_BYTES", long_bytes)
            seen.append(_run(steps))
        assert seen[0] == seen[1]


def _run(steps: list[tuple[str, list[int]]]) -> list[Any]:
    desk, sections = Desk(), []
    seen: list[Any] = []
    for step, numbers in steps:
        if step == "decide":
            desk.decide(*(Deposit(1 + number % 3) for number in numbers), names=[f"n{number}" for number in numbers])
            seen.append(desk.statuses)
            continue
        if desk.partition.key in desk.batch.sections:
            sections.append(desk.next_batch().sections[desk.partition.key])
        if step == "take back" and sections:
            desk.partition.take_back(sections.pop())
        elif step == "later":
            desk.now_us += 2 * WINDOW_US
        elif step == "cool":
            sections.clear()
            desk.partition.states.cool(1, ())
        instance = desk.partition.live.get(KEY)
        seen.append(instance and (instance.sequence, instance.balance, instance._eventsrc_memory))
    return seen

"""Where an aggregate's state is: live, encoded since, or as a checkpoint stored it."""

from __future__ import annotations

from typing import Any

import pytest

from eventsrc.codec.blocks import entry, entry_sequence, split_entry
from eventsrc.engine.states import EntrySlices, States
from eventsrc.errors import EncodingError, SnapshotDamaged
from tests.unit.engine.shop import ACCOUNT, BASKET, catalog
from tests.unit.engine.stored import account_entry, runs_of


def states(*runs: dict[bytes, bytes]) -> States:
    return States(ACCOUNT, catalog, runs_of(*runs) if runs else None)


def hydrated(of: States, key: bytes) -> Any:
    """It exists."""
    found = of.hydrate(key)
    assert found is not None
    return found


def live_account(of: States, key: bytes, balance: int, sequence: int = 1, memory: bytes = b"") -> None:
    account = ACCOUNT.new(key)
    account.balance, account._eventsrc_sequence, account._eventsrc_memory = balance, sequence, memory
    of.live[key] = account


def test_what_was_never_stored_does_not_exist() -> None:
    assert states().hydrate(b"a") is None
    assert states({b"b": account_entry(1, 5)}).hydrate(b"a") is None


def test_a_stored_aggregate_is_live_from_its_hydration_on_with_all_it_remembers() -> None:
    of = states({b"a": account_entry(3, 5, b"memory")})
    account = hydrated(of, b"a")
    assert of.live == {b"a": account}
    assert (account.id, account.balance, account.sequence, account._eventsrc_memory) == ("a", 5, 3, b"memory")


def test_the_newest_run_that_has_it_counts() -> None:
    of = states({b"a": account_entry(1, 5), b"b": account_entry(1, 6)}, {b"a": account_entry(2, 7)})
    assert (hydrated(of, b"a").balance, hydrated(of, b"b").balance) == (7, 6)


@pytest.mark.parametrize(
    "encoded", [entry(1, b"", b"\xff\xff"), entry(1, b"", account_entry(1, 5)[12:] + b"x"), b"short"]
)
def test_what_cannot_be_read_is_damage_and_never_a_new_aggregate(encoded: bytes) -> None:
    of = states({b"a": encoded})
    for _ in range(2):
        with pytest.raises(SnapshotDamaged):
            of.hydrate(b"a")
    assert of.live == {}


def test_a_live_state_is_encoded_as_it_is_now() -> None:
    of = states({b"a": account_entry(1, 5)})
    hydrated(of, b"a").balance = 8
    of.live[b"a"]._eventsrc_sequence = 2
    assert of.encoded(b"a") == entry(2, b"", split_entry(of.encoded(b"a"))[2])
    assert hydrated(states({b"a": of.encoded(b"a")}), b"a").balance == 8


def test_a_stored_state_is_passed_on_as_it_is_without_hydrating_it() -> None:
    encoded = account_entry(4, 5, b"memory")
    of = states({b"a": encoded})
    assert (of.encoded(b"a"), of.live) == (encoded, {})


def test_a_state_that_does_not_exist_cannot_be_encoded() -> None:
    with pytest.raises(AssertionError, match="no aggregate b'a'"):
        states().encoded(b"a")


def test_cooled_aggregates_are_newer_than_stored_ones_and_come_back() -> None:
    of = states({b"a": account_entry(1, 5)})
    hydrated(of, b"a").balance = 8
    assert of.cool(10, ()) == 1
    assert of.live == {}
    assert hydrated(of, b"a").balance == 8
    assert of.cool(10, ()) == 1
    assert split_entry(of.encoded(b"a"))[0] == 1


def test_those_that_have_been_live_longest_cool_first_and_pinned_ones_never() -> None:
    of = states()
    for key in (b"a", b"b", b"c", b"d"):
        live_account(of, key, 1)
    assert of.cool(3, {b"b"}) == 2
    assert list(of.live) == [b"b", b"d"]
    assert of.cool(9, {b"b", b"d"}) == 0


def test_a_cooled_dict_keeps_its_order() -> None:
    of = States(BASKET, catalog)
    basket = of.live[b"a"] = BASKET.new(b"a")
    basket.tags = {"z": [], "a": ["1"], "m": []}
    of.cool(1, ())
    assert list(hydrated(of, b"a").tags) == ["z", "a", "m"]


def test_what_cannot_be_encoded_stays_live_behind_the_others() -> None:
    of = states()
    live_account(of, b"a", 2**70)
    live_account(of, b"b", 1)
    assert of.cool(1, ()) == 0
    assert list(of.live) == [b"b", b"a"]
    assert of.cool(1, ()) == 1
    with pytest.raises(EncodingError, match="64 bits"):
        of.encoded(b"a")


def test_keys_name_each_aggregate_once_wherever_it_is() -> None:
    of = states(
        {b"a": account_entry(1, 1), b"b": account_entry(1, 1)}, {b"b": account_entry(2, 1), b"c": account_entry(1, 1)}
    )
    of.hydrate(b"b")
    live_account(of, b"d", 1)
    of.cool(1, ())
    assert sorted(of.keys()) == [b"a", b"b", b"c", b"d"]


def test_keys_may_be_read_while_aggregates_move() -> None:
    """As a checkpoint does, in slices; what exists when it begins is all in it, each once."""
    of = states({b"%d" % number: account_entry(1, number) for number in range(20)})
    live_account(of, b"new", 1)
    seen = []
    for key in of.keys():  # noqa: SIM118 - not a dictionary
        seen.append(key)
        if (moving := b"%d" % (len(seen) % 20)) not in of.live:
            of.hydrate(moving)
        if len(seen) % 3 == 0:
            of.cool(5, ())
        live_account(of, b"later%d" % len(seen), 1)
    assert sorted(set(seen)) == sorted(seen)
    assert set(seen) >= {b"%d" % number for number in range(20)} | {b"new"}
    assert all(entry_sequence(of.encoded(key)) == 1 for key in seen)


PLENTY = 1 << 30


def _rest(slices: EntrySlices) -> list[tuple[bytes, bytes]]:
    taken = []
    while not slices.done:
        taken += slices.take(3, PLENTY)
    return taken


def test_stored_keys_that_came_before_are_passed_over_some_at_a_time() -> None:
    """A million of them in one slice would hold the loop up for seconds."""
    of = states({b"%d" % number: account_entry(1, number) for number in range(20)})
    for number in range(20):
        of.hydrate(b"%d" % number)
    live_account(of, b"new", 1)
    slices = of.slices(None)
    assert {key for key, _ in slices.take(21, PLENTY)} == set(of.live)
    for _ in range(4):
        assert slices.take(5, PLENTY) == []
        assert not slices.done
    assert slices.take(1, PLENTY) == []
    assert slices.done


@pytest.mark.parametrize("first", [1, 10, 30])
def test_a_checkpoint_of_all_misses_none_that_moves_meanwhile(first: int) -> None:
    """A stored state that a command touches between two slices is neither among those that were live nor passed over."""
    numbers = range(20)
    of = states({b"%d" % number: account_entry(1, number) for number in numbers})
    for number in numbers[:10]:
        live_account(of, b"new%d" % number, 1)
    slices = of.slices(None)
    taken = slices.take(first, PLENTY)
    for number in numbers:
        of.hydrate(b"%d" % number)
    of.cool(7, ())
    live_account(of, b"later", 1)
    taken += _rest(slices)
    assert sorted(key for key, _ in taken) == sorted(
        {b"%d" % number for number in numbers} | {b"new%d" % number for number in numbers[:10]}
    )


@pytest.mark.parametrize("first", [1, 10, 30])
def test_each_that_changed_is_taken_once_wherever_it_is_by_then(first: int) -> None:
    of = states({b"%d" % number: account_entry(1, number) for number in range(20)})
    for number in range(10):
        live_account(of, b"new%d" % number, 1)
    changed = {b"%d" % number for number in range(5, 20)} | {b"new%d" % number for number in range(10)}
    of.hydrate(b"7")
    slices = of.slices(changed)
    taken = slices.take(first, PLENTY)
    of.hydrate(b"8")
    of.cool(6, ())
    live_account(of, b"later", 1)
    taken += _rest(slices)
    assert sorted(key for key, _ in taken) == sorted(changed)
    assert all(encoded == of.encoded(key) for key, encoded in taken)


@pytest.mark.parametrize("of_all", [True, False], ids=["of all", "of those that changed"])
@pytest.mark.parametrize("at_rest", [0, 400, 100], ids=["live", "at rest", "some at rest"])
def test_a_slice_of_large_states_ends_with_the_one_that_fills_it(of_all: bool, at_rest: int) -> None:
    """Wherever large ones stand among small ones: those that were looked up with it are in the next slice, as they are then."""
    of = states()
    for number in range(400):
        live_account(of, b"%d" % number, 1, memory=bytes(100_000 if number % 7 > 3 else 32))
    of.cool(at_rest, ())
    slices = of.slices(None if of_all else {b"%d" % number for number in range(400)})
    taken = []
    while not slices.done:
        slice_ = slices.take(400, 1 << 20)
        assert sum(len(encoded) for _, encoded in slice_[:-1]) < 1 << 20
        taken += slice_
        if not of_all and taken:
            of.hydrate(b"7")
            of.live[b"9"] = of.live.pop(b"9", None) or hydrated(of, b"9")
            of.cool(3, ())
    assert sorted(key for key, _ in taken) == sorted(b"%d" % number for number in range(400))
    assert all(encoded == of.encoded(key) for key, encoded in taken)


def test_a_state_that_is_left_for_the_next_slice_is_the_one_that_is_live_by_then() -> None:
    """Not the one that was found when it was looked up, nor none, if it was at rest then."""
    of = states()
    for number in range(3):
        live_account(of, b"%d" % number, 1)
    of.cool(3, ())
    slices = of.slices({b"0", b"1", b"2"})
    ((first, _),) = slices.take(3, 1)
    for key in {b"0", b"1", b"2"} - {first}:
        hydrated(of, key).balance = 5
    rest = _rest(slices)
    assert len(rest) == 2
    assert all(
        encoded == of.encoded(key) and split_entry(encoded)[2] != split_entry(account_entry(1, 1))[2]
        for key, encoded in rest
    )


def test_the_id_of_a_state_that_cannot_be_encoded_is_named() -> None:
    of = states()
    for number in range(100):
        live_account(of, b"%d" % number, 1)
    of.live[b"77"].balance = "much"
    with pytest.raises(EncodingError, match=r'^"77": '):
        _rest(of.slices(None))
    with pytest.raises(EncodingError, match=r'^"77": '):
        _rest(of.slices({b"3", b"77"}))
    assert [key for key, _ in _rest(of.slices({b"3"}))] == [b"3"]


def test_some_of_those_that_changed_may_be_at_rest() -> None:
    """Of a class whose states hold containers."""
    of = States(BASKET, catalog)
    for number in range(10):
        of.live[b"%d" % number] = BASKET.new(b"%d" % number)
    of.cool(5, ())
    changed = {b"%d" % number for number in range(10)}
    assert sorted(_rest(of.slices(changed))) == sorted((key, of.encoded(key)) for key in changed)

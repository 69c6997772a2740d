"""An aggregate's state, taken and put back."""

from __future__ import annotations

import pytest

from eventsrc.engine.preimage import pre_images_of
from eventsrc.errors import EncodingError
from eventsrc.model.aggregate import AggregateType
from tests.unit.engine.shop import ACCOUNT, BASKET, catalog


def test_a_flat_state_returns_to_what_it_was() -> None:
    capture, _, restore, _ = pre_images_of(ACCOUNT, catalog)
    account = ACCOUNT.new(b"alice")
    account.balance, account.deposits, account._eventsrc_sequence, account._eventsrc_memory = 5, 1, 3, b"memory"
    before = capture(account)
    account.balance, account.deposits, account._eventsrc_sequence, account._eventsrc_memory = 9, 2, 4, b"other"
    restore(account, before)
    assert (account.balance, account.deposits, account.sequence, account._eventsrc_memory) == (5, 1, 3, b"memory")


def test_a_state_with_containers_returns_whatever_was_done_inside_them() -> None:
    capture, _, restore, _ = pre_images_of(BASKET, catalog)
    basket = BASKET.new(b"alice")
    basket.items, basket.tags, basket._eventsrc_sequence = ["pen"], {"pen": ["blue"]}, 1
    before = capture(basket)
    basket.items.append("cup")
    basket.tags["pen"].clear()
    basket._eventsrc_sequence = 2
    restore(basket, before)
    assert (basket.items, basket.tags, basket.sequence) == (["pen"], {"pen": ["blue"]}, 1)


def test_a_pre_image_can_be_put_back_twice_and_shares_nothing_with_the_state() -> None:
    capture, _, restore, _ = pre_images_of(BASKET, catalog)
    basket = BASKET.new(b"alice")
    basket.items = ["pen"]
    before = capture(basket)
    restore(basket, before)
    basket.items.append("cup")
    restore(basket, before)
    assert basket.items == ["pen"]


def test_a_restored_dict_has_the_order_that_a_replay_gives_it() -> None:
    capture, _, restore, _ = pre_images_of(BASKET, catalog)
    basket = BASKET.new(b"alice")
    basket.tags = {"pen": ["blue"], "cup": []}
    before = capture(basket)
    restore(basket, before)
    assert list(basket.tags) == ["pen", "cup"]


@pytest.mark.parametrize("aggregate", [ACCOUNT, BASKET], ids=["flat", "nested"])
def test_equal_states_have_equal_pre_images_and_sequence_and_memory_stand_last(aggregate: AggregateType) -> None:
    capture = pre_images_of(aggregate, catalog).capture
    first, second = aggregate.new(b"alice"), aggregate.new(b"bob")
    assert capture(first) == capture(second)
    second._eventsrc_sequence, second._eventsrc_memory = 7, b"m"
    assert capture(first) != capture(second)
    assert capture(second)[-2:] == (7, b"m")


def test_a_state_that_cannot_be_encoded_has_no_pre_image() -> None:
    capture = pre_images_of(BASKET, catalog).capture
    basket = BASKET.new(b"alice")
    basket.items.append(5)
    with pytest.raises(EncodingError, match="items"):
        capture(basket)


def test_a_state_that_events_have_changed_is_encoded_anew() -> None:
    """Also where nobody told: a fold applies events, and knows nothing of what is kept."""
    capture = pre_images_of(BASKET, catalog).capture
    basket = BASKET.new(b"alice")
    before = capture(basket)
    basket.items.append("pen")
    basket._eventsrc_sequence = 1
    assert capture(basket)[0] == catalog.snapshot_writer(BASKET)(basket) != before[0]

"""What the demo's customers ask for."""

from __future__ import annotations

from collections import Counter

from examples.bank.load import orders


def test_the_load_is_the_same_for_the_same_seed() -> None:
    assert list(orders(500, 10, "run", seed=7)) == list(orders(500, 10, "run", seed=7))
    assert list(orders(500, 10, "run", seed=7)) != list(orders(500, 10, "run", seed=8))


def test_some_commands_are_sent_twice_and_equal_then() -> None:
    sent = [(order.account, order.idempotency_key) for order in orders(2000, 10, "run")]
    times = Counter(sent)
    assert 10 < sum(count - 1 for count in times.values()) < 100
    bodies: dict[tuple[str, str], object] = {}
    for order in orders(2000, 10, "run"):
        assert bodies.setdefault((order.account, order.idempotency_key), (order.name, order.body)) == (
            order.name,
            order.body,
        )


def test_every_account_is_opened_first_and_carries_the_run() -> None:
    opened = set()
    for order in orders(2000, 10, "run"):
        if order.name == "Open":
            opened.add(order.account)
        assert order.account in opened
        assert order.account.endswith("-run")
    assert len(opened) == 11

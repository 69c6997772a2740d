from __future__ import annotations

import pytest

from eventsrc.model import names


@pytest.mark.parametrize(
    ("class_name", "expected"),
    [
        ("Account", "account"),
        ("HTTPServer", "http-server"),
        ("StockItem", "stock-item"),
        ("MyHTTPServer", "my-http-server"),
        ("Route66Stop", "route66-stop"),
        ("OAuth2Token", "o-auth2-token"),
        ("V2", "v2"),
        ("URL", "url"),
        ("Stock_Item", "stock-item"),
        ("_Private", "private"),
    ],
)
def test_kebab_case(class_name: str, expected: str) -> None:
    assert names.kebab_case(class_name) == expected


@pytest.mark.parametrize("name", ["account", "http-server", "a", "route66-stop", "a-1"])
def test_names_that_fit_a_topic(name: str) -> None:
    assert names.is_kebab_name(name)


@pytest.mark.parametrize("name", ["", "1a", "-a", "a-", "a--b", "A", "a_b", "a.b", "konto-ä", "a\n"])
def test_names_that_do_not_fit_a_topic(name: str) -> None:
    assert not names.is_kebab_name(name)


def test_topics_and_namespace() -> None:
    assert names.commands_topic("bank", "stock-item") == "bank.stock-item.commands"
    assert names.events_topic("bank", "stock-item") == "bank.stock-item.events"
    assert names.replies_topic("bank") == "bank.replies"
    assert names.dead_letter_topic("bank") == "bank.dead-letter"
    assert names.avro_namespace("order-desk", "stock-item") == "order_desk.stock_item"

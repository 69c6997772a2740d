from __future__ import annotations

import uuid
from typing import Any

import pytest

from eventsrc import InvalidCommand, InvalidId
from eventsrc.model import identity


@pytest.mark.parametrize("text", ["alice", "a@b#c d", "ü" * 127, "x" * 255, "-flag", " "])
def test_ids_are_their_utf8(text: str) -> None:
    assert identity.check_aggregate_id(text) == text.encode()
    assert identity.is_aggregate_id(text.encode())


def test_ids_are_not_normalised() -> None:
    assert identity.check_aggregate_id("é") != identity.check_aggregate_id("e\N{COMBINING ACUTE ACCENT}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "empty"), ("x" * 256, "256 bytes"), ("ü" * 128, "256 bytes"), ("a\0b", "U+0000"), ("\ud800", "surrogate")],
)
def test_refused_ids(text: str, reason: str) -> None:
    with pytest.raises(InvalidId, match=reason.replace("+", r"\+")):
        identity.check_aggregate_id(text)


def test_an_id_is_text() -> None:
    with pytest.raises(InvalidId, match="not int"):
        identity.check_aggregate_id(5)  # type: ignore[arg-type]  # what an untyped caller may do


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"\0barrier@1", b"a\0", b"\xff", b"\xed\xa0\x80"])
def test_keys_that_are_no_ids(key: bytes) -> None:
    assert not identity.is_aggregate_id(key)


def test_derived_ids_follow_the_contract() -> None:
    namespace = uuid.uuid5(uuid.NAMESPACE_OID, "eventsrc")
    expected = uuid.uuid5(namespace, "bank\0account\0alice\0order-7").bytes
    assert identity.command_id_for("bank", "account", "alice", "order-7") == expected
    assert identity.event_id_text("account", "a@b", 41) == "account/a@b@41"
    assert identity.event_id("account/a@b@41") == uuid.uuid5(namespace, "account/a@b@41").bytes


def test_random_command_ids_differ() -> None:
    first, second = identity.random_command_id(), identity.random_command_id()
    assert len(first) == len(second) == 16
    assert first != second


@pytest.mark.parametrize("key", [5, b"order-7", "\ud800", ""])
def test_an_idempotency_key_is_text_and_not_empty(key: Any) -> None:
    with pytest.raises(InvalidCommand, match="idempotency key"):
        identity.command_id_for("bank", "account", "alice", key)

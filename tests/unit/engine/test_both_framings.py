"""Deciding and folding where commands and events come in both framings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventsrc.codec.catalog import Catalog
from eventsrc.codec.framing import registry_prefix
from eventsrc.engine.dead_letters import Refused
from tests.unit.codec.test_registered import Registered
from tests.unit.engine import deciding, shop
from tests.unit.engine.deciding import Desk
from tests.unit.engine.shop import Deposit, Poison, command_value


@pytest.fixture
def single() -> Catalog:
    return shop.catalog


@pytest.fixture
def framed(monkeypatch: pytest.MonkeyPatch, single: Catalog) -> Iterator[Catalog]:
    """What the desk works with, and what commands are written by."""
    made = Catalog(shop.pipeline, None, Registered())
    monkeypatch.setattr(deciding, "catalog", made)
    monkeypatch.setattr(shop, "catalog", made)
    return iter([made])


@pytest.mark.parametrize("first", ["registry", "single"])
def test_a_command_sent_again_in_the_other_framing_is_a_duplicate_and_no_conflict(
    framed: Iterator[Catalog], monkeypatch: pytest.MonkeyPatch, single: Catalog, first: str
) -> None:
    catalog = next(framed)
    by_id = command_value(Deposit(5), "same")
    other = command_value(Deposit(6), "same")
    monkeypatch.setattr(shop, "catalog", single)
    by_fingerprint = command_value(Deposit(5), "same")
    monkeypatch.setattr(shop, "catalog", catalog)
    assert by_id[:1] != by_fingerprint[:1]
    order = [by_id, by_fingerprint] if first == "registry" else [by_fingerprint, by_id]
    desk = Desk()
    desk.decide(*order, other)
    assert desk.statuses == [("ok", 1), ("duplicate", 1), ("conflict", 1)]


def test_an_unknown_id_pauses_and_is_dead_lettered_when_it_is_given_up(framed: Iterator[Catalog]) -> None:
    next(framed)
    unknown = registry_prefix(999) + b"0123456789abcdef...."
    desk = Desk()
    assert desk.decide(Deposit(1), unknown) == 1
    assert desk.partition.waiting_for == (1, unknown[1:5])
    desk.partition.waiting_for = None
    desk.surroundings.given_up.add(unknown[1:5])
    assert desk.decide(unknown) == 1
    assert desk.reasons == ["unknown-schema"]
    assert desk.dead[0].value == unknown


def test_a_dead_letters_caller_is_told_in_either_framing(framed: Iterator[Catalog]) -> None:
    next(framed)
    desk = Desk()
    desk.decide(Poison())
    assert desk.reasons == ["handler-failed"]
    assert [status for status, _ in desk.statuses] == ["failed"]
    letter = Refused("handler-failed", "it ended the process", deadly=True)
    meta = letter.meta_of(shop.Record(0, b"k", command_value(Poison(), "c")), desk.partition.compiled)
    assert meta is not None
    assert meta.id == shop.command_id("c")

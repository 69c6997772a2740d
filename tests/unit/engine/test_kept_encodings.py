"""The encoding that is kept beside a state with containers is always what the state would be encoded to now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsrc.codec.blocks import entry, split_entry
from eventsrc.codec.catalog import Catalog
from eventsrc.engine.batch import Batch
from eventsrc.engine.decide import Limits
from eventsrc.errors import Rejected
from eventsrc.model.aggregate import AggregateType
from tests.unit.engine import deciding
from tests.unit.engine.deciding import KEY, Desk
from tests.unit.engine.shop import BASKET, Custom, Placed, Put, behaviour, catalog, key_on, pipeline

OTHER = key_on(0, prefix="other")


@pytest.fixture(autouse=True)
def behaviours() -> Iterator[None]:
    behaviour.update(leave=_leave, spoil=_spoil, several=_several, break_apply=_break_apply, unkeepable=_unkeepable)
    behaviour["apply"] = _apply
    yield
    behaviour.clear()


def _leave(basket: Any, command: Any, context: Any) -> list[Placed]:
    basket.items.append("left by a handler")
    raise Rejected("after it had changed the state")


def _spoil(basket: Any, command: Any, context: Any) -> list[Placed]:
    basket.tags.clear()
    raise ZeroDivisionError


def _several(basket: Any, command: Any, context: Any) -> Iterator[Placed]:
    for number in range(3):
        yield Placed(f"{len(basket.items)}-{number}", ["several"])


def _break_apply(basket: Any, command: Any, context: Any) -> list[Placed]:
    return [Placed("fine", []), Placed("broken", [])]


def _unkeepable(basket: Any, command: Any, context: Any) -> list[Placed]:
    return [Placed("unkeepable", [])]


def _apply(basket: Any, event: Placed, recorded: Any) -> None:
    if event.item == "broken":
        raise KeyError(event.item)
    if event.item == "unkeepable":
        basket.items.append(2**70)


def _assert_kept_is_true(desk: Desk) -> None:
    write, states = catalog.snapshot_writer(BASKET), desk.partition.states
    for key, basket in desk.partition.live.items():
        anew = write(basket)
        assert desk.partition.compiled.capture(basket)[0] == anew
        assert states.encoded(key) == entry(basket._eventsrc_sequence, basket._eventsrc_memory, anew)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "put",
                "put",
                "empty",
                "leave",
                "spoil",
                "several",
                "break_apply",
                "unkeepable",
                "next batch",
                "take back",
                "cool",
            ]
        ),
        st.sampled_from([KEY, OTHER]),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(STEPS, st.sampled_from([1, 3, 1000]))
def test_whatever_comes_to_a_state_what_is_kept_is_its_encoding(
    steps: list[tuple[str, bytes]], purity_sample: int
) -> None:
    desk, pending = Desk(BASKET, limits=Limits(purity_sample=purity_sample)), list[Batch]()
    for number, (step, key) in enumerate(steps):
        match step:
            case "put" | "empty":
                desk.decide(Put(f"item {number % 7}", [step] if step == "put" else []), key=key)
            case "next batch":
                pending = [*pending[-1:], desk.next_batch()]
            case "take back":
                for batch in (desk.next_batch(), *reversed(pending)):
                    if desk.partition.key in batch.sections:
                        desk.partition.take_back(batch.sections[desk.partition.key])
                pending = []
            case "cool":
                desk.partition.states.cool(1, _pinned(desk, pending))
            case _:
                desk.decide(Custom(step), key=key)
        _assert_kept_is_true(desk)


def _pinned(desk: Desk, pending: list[Batch]) -> set[bytes]:
    sections = [batch.sections.get(desk.partition.key) for batch in (*pending, desk.batch)]
    return {key for section in sections if section is not None for key in section.undo}


class Counting(Catalog):
    """Counts what is encoded."""

    def __init__(self) -> None:
        super().__init__(pipeline, None)
        self.written: Counter[str] = Counter()

    def snapshot_writer(self, aggregate: AggregateType) -> Callable[[Any], bytes]:
        write = super().snapshot_writer(aggregate)

        def counted(instance: Any) -> bytes:
            self.written[aggregate.name] += 1
            return write(instance)

        return counted


def test_a_state_is_encoded_once_for_a_command_and_not_for_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting()
    monkeypatch.setattr(deciding, "catalog", counting)
    desk = Desk(BASKET)
    desk.decide(Put("pen", []))  # once before it, being new, and once before its handler, which is sampled
    before = counting.written["basket"]
    desk.decide(*[Put(f"item {number}", []) for number in range(10)])
    assert counting.written["basket"] - before == 10
    desk.decide(Put("pen", []))  # rejected
    sequence, _, state = split_entry(desk.partition.states.encoded(KEY))
    desk.partition.states.cool(1, ())
    assert counting.written["basket"] - before == 10
    assert (sequence, state) == (11, catalog.snapshot_writer(BASKET)(_read(state)))
    desk.decide(Put("last", []))
    assert len(desk.live().items) == 12


def _read(state: bytes) -> Any:
    basket = BASKET.new(KEY)
    catalog.state_reader(BASKET)(state, basket)
    return basket


def test_a_handler_that_changes_the_state_is_found_though_an_encoding_is_kept() -> None:
    def impure(basket: Any, command: Any, context: Any) -> list[Placed]:
        basket.items.append("by a handler")
        return [Placed("pen", [])]

    behaviour["impure"] = impure
    desk = Desk(BASKET, limits=Limits(purity_sample=2))
    desk.decide(Put("cup", []), Put("jug", []), Custom("impure"))
    assert desk.reasons == ["handler-failed"]
    assert desk.live().items == ["cup", "jug"]


def test_the_handler_that_is_sampled_is_not_blamed_for_what_another_did() -> None:
    def impure(basket: Any, command: Any, context: Any) -> list[Placed]:
        if basket.items == ["cup"]:
            basket.items.append("by a handler")
        return []

    behaviour["impure"] = impure
    desk = Desk(BASKET, limits=Limits(purity_sample=2))
    desk.decide(Put("cup", []), Custom("impure"), Put("jug", []))
    assert desk.partition.counts.dead == 0
    assert desk.live().items == ["cup", "by a handler", "jug"]
    _assert_kept_is_true(desk)


def test_what_an_unsampled_handler_left_and_cannot_be_encoded_is_taken_back() -> None:
    """Whether the next command is looked at or not: it is not to blame."""

    def impure(basket: Any, command: Any, context: Any) -> list[Placed]:
        basket.items.append(2**70)
        return []

    behaviour["impure"] = impure
    for commands in ([Custom("impure")], [Custom("impure"), Put("mug", [])]):
        desk = Desk(BASKET, limits=Limits(purity_sample=2, handler_attempts=2))
        desk.decide(Put("cup", []), *commands, Put("jug", []), Put("pot", []))
        assert desk.partition.counts.dead == 0
        assert [item for item in desk.live().items if isinstance(item, str)] == desk.live().items
        assert desk.live().items[-2:] == ["jug", "pot"]
        _assert_kept_is_true(desk)


def test_a_checkpoint_leaves_no_second_copy_of_a_state_that_no_command_touches() -> None:
    of = Desk(BASKET).partition.states
    of.live[KEY] = basket = BASKET.new(KEY)
    assert len(of.slices(None).take(1, 1)) == 1
    assert basket._eventsrc_encoded is None

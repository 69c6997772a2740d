"""Which dead letters may be sent again: every reason to hold one back, and the order of those that go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from eventsrc.engine.letters import Audit, Letter, LetterPlace, Letters, Source
from eventsrc.engine.retrying import Applied, Meanwhile, Pending, RetryPlan, Subject, plan_retry
from tests.unit.engine.shop import ACCOUNT, Deposit, catalog, command_id

TOPIC = "shop.account.commands"
ALICE = Subject(TOPIC, b"alice")
PARTITION = 1


def value(name: str) -> bytes:
    return catalog.command_writer(ACCOUNT, Deposit)(command_id(name), None, None, 0, None, Deposit(1))


def letter(offset: int, at: int, /, **different: object) -> Letter:
    made = Letter(
        LetterPlace(PARTITION, offset), 1000 + offset, b"alice", value(f"c{at}"), Source(TOPIC, PARTITION, at),
        "handler-failed", "a bug", None, (), True, 1, None,
    )  # fmt: skip
    return replace(made, **different)  # type: ignore[arg-type]  # fields of it


def of(*found: Letter) -> Letters:
    return Letters({each.place: each for each in found})


def planned(
    letters: Letters,
    *selected: int,
    applied: list[Applied] | None = None,
    pending: list[Pending] | None = None,
    out_of_order: bool = False,
) -> RetryPlan:
    places = {LetterPlace(PARTITION, offset) for offset in selected} or set(letters.by_place)
    meanwhile = Meanwhile({ALICE: applied or []}, {ALICE: pending or []})
    return plan_retry(letters, places, meanwhile, {TOPIC}, lambda key: PARTITION, out_of_order=out_of_order)


def event(source: int, sequence: int = 1, name: str = "other", time_ms: int = 0) -> Applied:
    return Applied(Source(TOPIC, PARTITION, source), command_id(name), sequence, time_ms)


def sent(plan: RetryPlan) -> list[int]:
    return [each.letter.place.offset for each in plan.ready]


def why(plan: RetryPlan) -> str:
    (held,) = plan.held
    return held.why


def test_they_go_in_the_order_in_which_they_stood() -> None:
    plan = planned(of(letter(7, 30), letter(2, 40), letter(9, 20, key=b"bob")))
    assert sent(plan) == [9, 7, 2]
    assert plan.held == []


def test_earlier_events_of_the_id_are_in_nobodys_way() -> None:
    assert sent(planned(of(letter(0, 30)), applied=[event(29)], pending=[])) == [0]


def test_later_events_hold_it_back_unless_the_order_may_go() -> None:
    found = of(letter(0, 30))
    plan = planned(found, applied=[event(31, 8), event(40, 9)])
    assert "2 later commands of this id took effect after it failed, up to sequence 9" in why(plan)
    assert plan.held[0].order
    plan = planned(found, applied=[event(31)], out_of_order=True)
    assert (sent(plan), plan.held) == ([0], [])
    assert "a later command" in (plan.ready[0].note or "")


def test_later_commands_that_wait_hold_it_back() -> None:
    plan = planned(of(letter(0, 30)), pending=[Pending(Source(TOPIC, PARTITION, 31), 0)])
    assert "a later command of this id would come before it" in why(plan)


def test_an_earlier_letter_that_stays_behind_holds_the_later_one_back() -> None:
    plan = planned(of(letter(0, 30), letter(1, 31)), 1)
    assert f"an earlier command of this id, {PARTITION}@0, is not sent before it" in why(plan)
    assert sent(planned(of(letter(0, 30), letter(1, 31)), 0)) == [0]


def test_one_that_is_held_back_holds_back_what_follows_of_its_id_alone() -> None:
    found = of(letter(0, 30), letter(1, 35), letter(2, 30, key=b"bob"))
    plan = planned(found, applied=[event(33)])
    assert sent(plan) == [2]
    assert [each.letter.place.offset for each in plan.held] == [0, 1]


def test_one_that_can_never_work_holds_nothing_back() -> None:
    plan = planned(of(letter(0, 30, reason="null-value", value=None), letter(1, 31)))
    assert sent(plan) == [1]
    assert "it has no value" in why(plan)


def test_what_has_taken_effect_is_not_sent_whatever_is_allowed() -> None:
    plan = planned(of(letter(0, 30), letter(1, 31)), applied=[event(29, 4, "c30")], out_of_order=True)
    assert sent(plan) == [1]
    assert "has taken effect meanwhile: its events begin with sequence 4" in why(plan)


def test_a_retry_keeps_the_place_that_its_command_had_first() -> None:
    """Its event's source is at the end of the topic; what was sent again before is no later command."""
    found = of(letter(0, 30), letter(1, 31))
    first = Audit(
        LetterPlace(PARTITION, 0), "retried", "me", datetime.now(UTC), "", Source(TOPIC, PARTITION, 30),
        Source(TOPIC, PARTITION, 90),
    )  # fmt: skip
    found.feed(LetterPlace(PARTITION, 5), 0, first.key, first.value(), first.headers)
    assert sent(planned(found, 1, applied=[event(90)])) == [1]
    assert sent(planned(found, 1, pending=[Pending(Source(TOPIC, PARTITION, 90), 0)])) == [1]
    again = letter(6, 90)
    found.by_place[again.place] = again  # it failed again: it still stands before the second one
    assert sent(planned(found, 1, 6)) == [6, 1]


def test_commands_of_different_partitions_are_ordered_by_the_clock() -> None:
    elsewhere = letter(0, 30, source=Source(TOPIC, 0, 3), reason="wrong-partition")
    plan = planned(of(elsewhere), applied=[event(2, time_ms=2000)])
    assert "took effect after it failed" in why(plan)
    plan = planned(of(elsewhere), applied=[event(99, time_ms=500)])
    assert [(each.letter, each.partition) for each in plan.ready] == [(elsewhere, PARTITION)]


@pytest.mark.parametrize(
    ("different", "said"),
    [
        ({"reason": "null-key", "key": None}, "it has no key"),
        ({"reason": "bad-id"}, "can be no aggregate's id"),
        ({"whole": False}, "the whole command is in its topic"),
        ({"source": Source("other.topic", 1, 30)}, "none of this pipeline's"),
        ({"key": None}, "it has no key"),
    ],
)
def test_what_cannot_be_sent_again_at_all(different: dict[str, object], said: str) -> None:
    plan = planned(of(letter(0, 30, **different)), out_of_order=True)
    assert said.lower() in why(plan).lower()
    assert not plan.held[0].order


def test_what_was_handled_is_not_sent_again() -> None:
    found = of(letter(0, 30))
    found.audits[LetterPlace(PARTITION, 0)] = Audit(
        LetterPlace(PARTITION, 0), "dropped", "me", datetime.now(UTC), "", Source(TOPIC, PARTITION, 30)
    )
    assert planned(found) == RetryPlan()

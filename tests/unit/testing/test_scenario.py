"""Scenarios: what they decide, what they assert, and every way to write one wrongly."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from eventsrc import Aggregate, InvalidCommand, InvalidId
from eventsrc.testing import ImpureHandler, MisusedScenario, UnassertedScenario, UnsoundFold, assertion_duty, scenario
from eventsrc.testing.scenarios import START
from tests.unit.testing.desk import (
    Case,
    Close,
    Closed,
    Foreign,
    Misbehave,
    Odd,
    Open,
    Opened,
    Reopened,
    Tag,
    Tagged,
)

TICKET = UUID(int=7)
OPENED = Opened("lamp", TICKET, START, 5)
closed_case = scenario(Case).given(OPENED, Closed())
_ = closed_case.when(Close()).then_nothing()  # it is kept for several tests: continued, it has met its duty


def test_a_new_aggregate_decides_in_the_context_that_is_set() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    opened = scenario(Case).at(at).uuids(TICKET).random_seed(3).when(Open("lamp")).events[0]
    assert (opened.ticket, opened.at) == (TICKET, at)
    again = scenario(Case).at(at).uuids(TICKET).random_seed(3).when(Open("lamp")).then(opened)
    assert again.aggregate.times == [at]
    lots = {scenario(Case).random_seed(seed).when(Open("lamp")).events[0].lot for seed in range(9)}
    assert len(lots) > 1


def test_what_is_not_set_is_the_same_in_every_run() -> None:
    first, second = (scenario(Case).when(Open("lamp")).events for _ in range(2))
    assert first == second


def test_ids_reach_the_handler() -> None:
    decided = scenario(Case).with_id("a/1").given(OPENED).correlation_id(UUID(int=1)).causation_id(UUID(int=2))
    decided.when(Close()).then(Tagged(["a/1@1", str(UUID(int=1)), str(UUID(int=2))]), Closed())


def test_given_takes_commands_too() -> None:
    scenario(Case).given(Open("lamp"), Tag(["a"]), Reopened()).when(Close()).then_state(open=False, title="lamp")


def test_several_commands_and_several_steps() -> None:
    step = scenario(Case).given(OPENED).when(Tag(["a"]), Tag(["b"])).then(Tagged(["a"]), Tagged(["b"]))
    step.then_state(tags=["b", "!"]).when(Close()).then_state(open=False).when(Close()).then_nothing()


def test_events_keep_what_was_decided_whatever_apply_does_to_its_copy() -> None:
    scenario(Case).when(Tag(["a"])).then(Tagged(["a"])).then_state(tags=["a", "!"])


def test_a_nan_is_as_expected() -> None:
    taken = scenario(Case).given(Tagged([], float("nan")), Closed())
    taken.compensating(Closed()).then(Reopened(), Tagged(["undid 2"]))


def test_time_goes_on_between_steps() -> None:
    later = START + timedelta(hours=1)
    done = scenario(Case).given(OPENED, Closed()).at(later).when(Open("chair"))
    assert done.aggregate.times == [START, later]


def test_a_rejection_is_compared_as_a_client_gets_it() -> None:
    refused = scenario(Case).given(OPENED).when(Open("chair"))
    refused.then_rejected("already open").then_rejected("already open", title="lamp", since=START)
    refused.then_state(title="lamp")
    with pytest.raises(AssertionError, match=r"was rejected: already open .title='lamp'"):
        refused.then_rejected("already open", title="chair")
    with pytest.raises(AssertionError, match="expected to be rejected: closed"):
        refused.then_rejected("closed")
    with pytest.raises(AssertionError, match="amount=3"):
        refused.then_rejected("already open", amount=3)


def test_a_failure_is_told_by_its_class() -> None:
    scenario(Case).when(Misbehave("raises")).then_failed(ValueError)
    scenario(Case).when(Misbehave("exits")).then_failed(SystemExit)
    scenario(Case).when(Misbehave("apply raises")).then_failed(KeyError).then_state(number=0)
    with pytest.raises(
        AssertionError, match=r"failed: KeyError: 'gone' \(raised in the @apply method of Odd"
    ) as failure:
        scenario(Case).when(Misbehave("apply raises")).then(Odd("apply raises"))
    assert isinstance(failure.value.__cause__, KeyError)
    with pytest.raises(AssertionError, match="expected it to raise LookupError"):
        scenario(Case).when(Misbehave("raises")).then_failed(LookupError)


@pytest.mark.parametrize("how", ["impure", "impure and rejects"])
def test_a_handler_that_changes_the_state_is_found_in_every_call(how: str) -> None:
    for _ in range(3):
        with pytest.raises(ImpureHandler, match=r"Case.misbehave changed the state of the Case"):
            scenario(Case).when(Misbehave(how))


def test_a_fold_that_does_not_repeat_itself() -> None:
    with pytest.raises(UnsoundFold, match=r"number: was \d+, replayed \d+"):
        scenario(Case).when(Misbehave("counts"))
    with pytest.raises(UnsoundFold, match=r"cannot be kept: .*number"):
        scenario(Case).when(Misbehave("cannot be kept"))


def test_a_repeated_command_id_is_a_duplicate() -> None:
    twice = scenario(Case).command_id(UUID(int=9)).when(Tag(["a"])).then(Tagged(["a"]))
    twice.command_id(UUID(int=9)).when(Tag(["a"])).then_duplicate().then_state(tags=["a", "!"])
    given = scenario(Case).command_id(UUID(int=9)).given(Tag(["a"]), Tag(["b"]))  # of the first alone
    given.command_id(UUID(int=9)).when(Tag(["a"])).then_duplicate().then_state(tags=["b", "!"])
    scenario(Case).command_id(UUID(int=9)).given().when(Close()).then_nothing()
    with pytest.raises(AssertionError, match="was a conflict"):
        twice.command_id(UUID(int=9)).when(Tag(["b"])).then(Tagged(["b"]))


def test_a_compensation_is_of_the_latest_equal_event() -> None:
    undone = scenario(Case).given(OPENED, Closed(), Reopened(), Closed()).compensating(Closed())
    undone.then(Reopened(), Tagged(["undid 4"])).then_state(open=True)


def test_events_are_compared_one_by_one() -> None:
    with pytest.raises(AssertionError) as failure:
        scenario(Case).given(OPENED).when(Tag(["a"]), Tag(["b"])).then(Tagged(["a"]), Tagged(["c"], 1.5), Closed())
    assert str(failure.value).splitlines() == [
        "Case 'case-1': Tag(tags=['b']) made other events than expected:",
        "  1  Tagged(tags=['a'], weight=0.0)",
        "  2  expected Tagged(tags=['c'], weight=1.5)",
        "     decided  Tagged(tags=['b'], weight=0.0)",
        "       tags[0]: expected 'c', decided 'b'",
        "       weight: expected 1.5, decided 0.0",
        "  3  expected Closed()",
        "     decided  nothing more",
    ]


def test_state_is_compared_field_by_field() -> None:
    with pytest.raises(AssertionError, match=r"title: expected 'chair', found 'lamp'\n  tags\[1\]: expected nothing"):
        scenario(Case).given(OPENED).when(Tag(["a"])).then_state(title="chair", tags=["a"], open=True)


MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: scenario(int), "no class declared with @pipeline.aggregate"),
    (lambda: scenario(Aggregate), "no class declared with @pipeline.aggregate"),
    (
        lambda: scenario(Case).then(Closed()),  # type: ignore[attr-defined]
        ".then comes before .when",
    ),
    (
        lambda: scenario(Case).given().then_nothing(),  # type: ignore[attr-defined]
        ".then_nothing comes before .when",
    ),
    (lambda: scenario(Case).given(Closed), "is a class: write .given(Closed(...))"),
    (lambda: scenario(Case).given(Foreign()), "is no event that Case applies; it applies Closed, Odd"),
    (lambda: scenario(Case).given(Tagged([1])), "cannot be encoded: "),  # type: ignore[list-item]
    (lambda: scenario(Case).given(Closed()).with_id("a"), "it stands before .given"),
    (lambda: scenario(Case).at(datetime(2026, 1, 1)), "is no aware datetime"),
    (lambda: scenario(Case).command_id("7"), "takes a UUID"),  # type: ignore[arg-type]
    (lambda: scenario(Case).when(), "names no command"),
    (lambda: scenario(Case).when(Close), "is a class"),
    (lambda: scenario(Case).when(Closed()), "is an event: history is given"),
    (
        lambda: scenario(Case).when(Close()).given(),  # type: ignore[attr-defined]
        ".given comes after .when",
    ),
    (lambda: scenario(Case).when(Close()).then(), "write .then_nothing()"),
    (lambda: scenario(Case).when(Close()).then(Close()), "is no event that Case applies"),
    (lambda: scenario(Case).when(Close()).then_failed("ValueError"), "takes a class of exceptions"),  # type: ignore[arg-type]
    (lambda: scenario(Case).when(Close()).then_state(), "names no field"),
    (lambda: scenario(Case).when(Close()).then_state(titel="x"), "no field of Case: title, open"),
    (lambda: scenario(Case).given(OPENED).compensating(Closed()), "is not in the history: give it first"),
    (lambda: scenario(Case).given(OPENED).compensating(OPENED), "has no @compensate method for Opened"),
    (lambda: scenario(Case).given(OPENED).when(Tag(["a"])).then(Tagged([3])), "cannot be encoded"),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("write", "told"), MISTAKES, ids=[told for _, told in MISTAKES])
def test_a_mistake_in_writing_one_is_told(write: Callable[[], Any], told: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MisusedScenario, match=re.escape(told)):
            write()


def test_what_a_client_refuses_before_it_sends() -> None:
    with pytest.raises(InvalidCommand, match=r"Open.title"):
        scenario(Case).when(Open(""))
    with pytest.raises(InvalidCommand, match="Case handles no Thing"):
        scenario(Case).when(type("Thing", (), {})())
    with pytest.raises(InvalidId):
        scenario(Case).with_id("")


def test_history_that_is_refused_is_no_history() -> None:
    with pytest.raises(AssertionError, match=r"in given, Open.title='chair'. was rejected: already open"):
        scenario(Case).given(OPENED, Open("chair"))
    with pytest.raises(AssertionError, match="a replay fails"):
        scenario(Case).given(Odd("apply raises"))
    with pytest.raises(AssertionError, match=r"command 1 of 2, Open.title='chair'. was rejected"):
        scenario(Case).given(OPENED).when(Open("chair"), Close())


def test_one_that_asserts_nothing_is_told_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assertion_duty, "on_unasserted", assertion_duty.warn)  # as without the pytest plugin
    with pytest.warns(UnassertedScenario, match=r"scenario\(Case\) asserts nothing") as told:
        scenario(Case).when(Close())
    assert told[0].filename == __file__


def test_a_step_is_continued_several_times() -> None:
    closed_case.when(Tag(["a"])).then(Tagged(["a"]))
    closed_case.when(Tag(["b"])).then(Tagged(["b"])).then_state(tags=["b", "!"])

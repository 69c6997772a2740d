"""What the demo's customers ask for."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from typing import Any, cast

from eventsrc import Client, Outcome, OutcomeUnknown
from eventsrc.testing import MemoryPipeline
from examples.bank.app import pipeline
from examples.bank.check import UNANSWERED
from examples.bank.load import drive, orders


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


class Forgetful:
    """A client that loses its first answers, each of a command that takes effect all the same."""

    def __init__(self, client: Client, lost: int) -> None:
        self._client, self._lost = client, lost

    def submit(self, *args: Any, **options: Any) -> Future[Outcome]:
        future = self._client.submit(*args, **options)
        if self._lost == 0:
            return future
        self._lost -= 1
        future.result()
        lost: Future[Outcome] = Future()
        lost.set_exception(OutcomeUnknown("no answer came"))
        return lost


def test_what_got_no_answer_is_sent_again() -> None:
    opened = list(orders(0, 2, "run"))[-2:]
    with MemoryPipeline(pipeline) as memory:
        sent = drive(cast(Client, Forgetful(memory.client, 3)), opened, lambda answered: None)
    assert [(each.account, each.answer, each.duplicate) for each in sent] == [
        (opened[0].account, UNANSWERED, False),
        (opened[1].account, UNANSWERED, False),
        (opened[0].account, UNANSWERED, False),
        (opened[0].account, "ok", True),
        (opened[1].account, "ok", True),
    ]


class Counting:
    """A client that answers each command at once, and counts them."""

    def __init__(self, client: Client) -> None:
        self._client, self.submitted = client, 0

    def submit(self, *args: Any, **options: Any) -> Future[Outcome]:
        self.submitted += 1
        return self._client.submit(*args, **options)


def test_when_half_are_answered_a_quarter_is_still_to_be_sent() -> None:
    """However fast the answers come: whoever kills a worker in the middle of the load has work left for its next life."""
    opened = list(orders(0, 40, "run"))[-40:]
    submitted_at_half: list[int] = []
    with MemoryPipeline(pipeline) as memory:
        client = Counting(memory.client)

        def on_progress(answered: int) -> None:
            if answered >= 20:
                submitted_at_half.append(client.submitted)

        drive(cast(Client, client), opened, on_progress)
    assert submitted_at_half[0] <= 30
    assert submitted_at_half[-1] == 40

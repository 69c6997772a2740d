"""Customers of the bank: who they are, what they ask for, and how it reaches the bank through the public client."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

from eventsrc import Client, EventsrcError, Outcome, OutcomeUnknown, Rejected
from examples.bank.app import Account, Deposit, Open, Withdraw
from examples.bank.check import UNANSWERED, Sent

_IN_FLIGHT = 4000
_LOOK_S = 0.02
_ANSWERED_WITHIN_S = 10.0
_TIMES_SENT = 5
_NAMES = (
    "ada",
    "alan",
    "barbara",
    "donald",
    "edsger",
    "frances",
    "grace",
    "ken",
    "leslie",
    "margaret",
    "niklaus",
    "tony",
)
_COMMANDS: dict[str, type] = {"Open": Open, "Deposit": Deposit, "Withdraw": Withdraw}


class Order(NamedTuple):
    """One command to be sent. Sent again, it has the same idempotency key, and must take effect once."""

    account: str
    idempotency_key: str
    name: str
    body: dict[str, Any]


def orders(commands: int, accounts: int, run: str, seed: int = 1) -> Iterator[Order]:
    """Alice's story; every other account opened; then deposits and withdrawals at random, some beyond the balance, and
    one in fifty sent twice, as by a customer who clicks twice. `run` is in every id, so that runs may share a log."""
    chance = random.Random(seed)
    yield from _story(f"alice-{run}")
    everyone = [f"{_NAMES[number % len(_NAMES)]}-{number}-{run}" for number in range(accounts)]
    for account in everyone:
        yield Order(account, "open", "Open", {"owner": account.partition("-")[0].title()})
    recent: list[Order] = []
    for number in range(commands):
        if recent and chance.random() < 0.02:
            yield chance.choice(recent)
            continue
        name, most = ("Deposit", 10_000) if chance.random() < 0.6 else ("Withdraw", 15_000)
        order = Order(chance.choice(everyone), f"order-{number}", name, {"amount": chance.randint(1, most)})
        recent = [*recent[-19:], order]
        yield order


def _story(account: str) -> Iterator[Order]:
    yield Order(account, "open", "Open", {"owner": "Alice"})
    yield Order(account, "salary", "Deposit", {"amount": 250_000})
    yield Order(account, "rent", "Withdraw", {"amount": 90_000})
    yield Order(account, "rent", "Withdraw", {"amount": 90_000})
    yield Order(account, "yacht", "Withdraw", {"amount": 70_000_000})
    yield Order(account, "refund", "Deposit", {"amount": 1_250})


def drive(client: Client, to_send: list[Order], on_progress: Callable[[int], None]) -> list[Sent]:
    """Send everything, a few thousand and at most a quarter at a time, and wait for every answer; what got none is sent again
    afterwards, with its key, and stands at the end once more. `on_progress` is called with the number of answers, many times
    a second and before each command: when half are answered, a quarter is still to be sent. What it raises ends the load."""
    room = threading.Semaphore(min(_IN_FLIGHT, len(to_send) // 4 + 1))
    waiting: list[tuple[Order, Future[Outcome]]] = []
    answered: deque[None] = deque()

    def on_answer(_: Future[Outcome]) -> None:
        answered.append(None)
        room.release()

    for order in to_send:
        while not room.acquire(timeout=_LOOK_S):
            on_progress(len(answered))
        on_progress(len(answered))
        future = _submit(client, order)
        future.add_done_callback(on_answer)
        waiting.append((order, future))
    while len(answered) < len(waiting):
        on_progress(len(answered))
        room.acquire(timeout=_LOOK_S)
    on_progress(len(waiting))
    sent = [_sent(order, future) for order, future in waiting]
    return sent + list(_sent_again(client, sent))


def _sent_again(client: Client, sent: list[Sent]) -> Iterator[Sent]:
    """One after the other, as a customer does who got no answer: a worker that was killed may have taken it with it."""
    for unanswered in [each for each in sent if each.answer == UNANSWERED]:
        order = Order(*unanswered[:3], dict(unanswered.body))
        for _ in range(_TIMES_SENT - 1):
            again = _sent(order, _submit(client, order))
            yield again
            if again.answer != UNANSWERED:
                break


def _submit(client: Client, order: Order) -> Future[Outcome]:
    command = _COMMANDS[order.name](**order.body)
    return client.submit(
        Account, order.account, command, idempotency_key=order.idempotency_key, timeout=_ANSWERED_WITHIN_S
    )


def _sent(order: Order, future: Future[Outcome]) -> Sent:
    try:
        outcome = future.result()
    except Rejected:
        return Sent(*order, "rejected", None, False)
    except OutcomeUnknown:
        return Sent(*order, UNANSWERED, None, False)
    except EventsrcError as error:
        return Sent(*order, f"{type(error).__name__}: {error}", None, False)
    return Sent(*order, "ok", outcome.sequence, outcome.duplicate)

"""What an interrupted `send --file` says of the lines that it had sent, and how outcomes are named."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pytest

from eventsrc.cli import send_lines
from eventsrc.cli.outcomes import Sent, status_of
from eventsrc.errors import InvalidCommand, NotAuthorized, OutcomeUnknown, Unreachable
from tests.harness.collect import wait_until


def test_a_line_that_waits_for_its_turn_to_be_shown_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_lines, "_MOST_IN_FLIGHT", 2)
    printer = send_lines._Printer(as_json=True)
    futures: list[Future[Any]] = [Future() for _ in range(6)]

    def put_all() -> None:
        for number, future in enumerate(futures, 1):
            printer.put(send_lines._UnderWay(number, Sent("account", "a", None), future))

    putting = threading.Thread(target=put_all, daemon=True)
    putting.start()
    # one is waited for, two are queued, and the fourth waits for room
    wait_until(lambda: printer._put == 4, 30, "there is no more room")
    assert putting.is_alive()
    assert "lines 1 to 4 were sent" in printer.interrupted()
    for future in futures:
        future.set_exception(OutcomeUnknown("over"))
    putting.join(30)


@pytest.mark.parametrize(
    ("error", "status"),
    [(Unreachable("away"), "unsent"), (NotAuthorized("refused"), "unsent"), (InvalidCommand("wrong"), "invalid")],
)
def test_what_was_not_sent_is_not_called_wrong(error: Any, status: str) -> None:
    assert status_of(error) == status

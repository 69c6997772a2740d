"""The bank behind HTTP, without services: the real client and worker in memory, and every error a client may raise."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

import eventsrc
from eventsrc import (
    CommandFailed,
    EventsrcError,
    IdempotencyConflict,
    InvalidId,
    NotAuthorized,
    OutcomeUnknown,
    SchemaIncompatible,
    TopicsInvalid,
    Unreachable,
)  # fmt: skip
from eventsrc.runtime.settings import Settings
from eventsrc.testing import MemoryPipeline
from examples.bank.app import Deposited, Opened, Withdrawn, pipeline
from examples.http import answers, app, live
from examples.http.bodies import LIMIT_BYTES
from examples.http.live import Board

STATIC = Path(app.__file__).parent / "static"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture
def service() -> TestClient:
    """The application without a client: its lifespan, which connects, is not entered."""
    return TestClient(app.application(Settings()), base_url="http://127.0.0.1")


@pytest.fixture
def bank(service: TestClient) -> Iterator[TestClient]:
    with MemoryPipeline(pipeline) as memory:
        service.app.state.client = memory.async_client  # type: ignore[attr-defined]  # declared as any ASGI callable
        yield service


def post(service: TestClient, path: str, fields: Any, key: str | None = None) -> Any:
    return service.post(f"/accounts/{path}", json=fields, headers={} if key is None else {"Idempotency-Key": key})


# ---- commands


def test_a_command_is_answered_with_its_events(bank: TestClient) -> None:
    answer = post(bank, "ada/open", {"owner": "Ada"}, "first")
    assert (answer.status_code, answer.headers["Idempotency-Key"]) == (200, "first")
    assert answer.json() == {"id": "ada", "sequence": 1, "events": [{"event": "Opened", "owner": "Ada"}]}
    assert "Idempotent-Replayed" not in answer.headers


def test_a_key_that_was_used_gets_the_first_answer(bank: TestClient) -> None:
    post(bank, "ada/open", {"owner": "Ada"})
    first, second = (post(bank, "ada/deposit", {"amount": 500}, "salary") for _ in range(2))
    assert second.content == first.content
    assert second.headers["Idempotent-Replayed"] == "true"
    assert bank.get("/accounts/ada").json()["balance"] == 500


@pytest.mark.parametrize(("action", "fields"), [("deposit", {"amount": 501}), ("withdraw", {"amount": 500})])
def test_a_key_belongs_to_one_payload(bank: TestClient, action: str, fields: Any) -> None:
    post(bank, "ada/open", {"owner": "Ada"})
    post(bank, "ada/deposit", {"amount": 500}, "salary")
    answer = post(bank, f"ada/{action}", fields, "salary")
    assert (answer.status_code, answer.json()["error"]) == (409, "IdempotencyConflict")
    assert bank.get("/accounts/ada").json() == {"id": "ada", "owner": "Ada", "balance": 500, "sequence": 2}


def test_a_key_is_an_accounts_own(bank: TestClient) -> None:
    for name in ("ada", "ben"):
        assert post(bank, f"{name}/open", {"owner": name}, "open").json()["events"] == [
            {"event": "Opened", "owner": name}
        ]


def test_without_a_key_one_is_made_and_told(bank: TestClient) -> None:
    post(bank, "ada/open", {"owner": "Ada"})
    keys = [post(bank, "ada/deposit", {"amount": 1}).headers["Idempotency-Key"] for _ in range(2)]
    assert len(set(keys)) == 2
    assert post(bank, "ada/deposit", {"amount": 1}, keys[0]).headers["Idempotent-Replayed"] == "true"


def test_a_rejection_has_reason_details_and_key(bank: TestClient) -> None:
    post(bank, "ada/open", {"owner": "Ada"})
    answer = post(bank, "ada/withdraw", {"amount": 1}, "k")
    assert (answer.status_code, answer.headers["Idempotency-Key"]) == (422, "k")
    assert answer.json() == {"error": "Rejected", "reason": "insufficient funds", "details": {"balance": 0}}


def test_history_and_state_of_an_account(bank: TestClient) -> None:
    name = quote(NASTY + "/ä", safe="")
    assert bank.get(f"/accounts/{quote(NASTY)}").status_code == 404
    post(bank, f"{quote(NASTY)}/open", {"owner": "Eve"})
    post(bank, f"{quote(NASTY)}/deposit", {"amount": 7})
    told = bank.get(f"/accounts/{quote(NASTY)}/history").json()
    assert told["id"] == NASTY
    assert [(each["sequence"], each["event"]) for each in told["events"]] == [(1, "Opened"), (2, "Deposited")]
    assert datetime.fromisoformat(told["events"][0]["time"]).tzinfo is not None
    assert bank.get("/accounts/nobody/history").json() == {"id": "nobody", "events": []}
    assert bank.post(f"/accounts/{name}/open", json={"owner": "Eve"}).status_code == 404  # a slash ends an id here


# ---- what is refused before it is sent


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "said"),
    [
        ("ada/deposit", b'{"amount": 0}', {}, 400, "Deposit.amount: input should be greater than 0"),
        ("ada/deposit", b'{"amount": "5 euros"}', {}, 400, "Deposit.amount"),
        ("ada/deposit", b'{"amount": 5, "currency": "EUR"}', {}, 400, "there is no such field"),
        ("ada/deposit", b"{amount: 5}", {}, 400, "no JSON"),
        ("ada/deposit", b"[" * 10_000, {}, 400, "no JSON"),
        ("ada/deposit", b"\xff", {}, 400, "no JSON"),
        ("ada/deposit", b"[5]", {}, 400, "no JSON object"),
        ("ada/deposit", b" " * (LIMIT_BYTES + 1), {}, 413, "larger than"),
        ("ada/deposit", b'{"amount": 5}', {"Content-Type": "text/plain"}, 415, "text/plain"),
        ("ada/deposit", b'{"amount": 5}', {"Idempotency-Key": ""}, 400, "1 to 255"),
        ("ada/deposit", b'{"amount": 5}', {"Idempotency-Key": "k" * 256}, 400, "1 to 255"),
        ("ada/steal", b'{"amount": 5}', {}, 404, "no such action"),
        ("ada/deposit", b'{"amount": 5}', {"Host": "rebound.example"}, 400, "Invalid host"),
        ("a" * 256 + "/deposit", b'{"amount": 5}', {}, 400, "InvalidId"),
        ("%00/deposit", b'{"amount": 5}', {}, 400, "InvalidId"),
    ],
)  # fmt: skip
def test_what_is_no_command(
    bank: TestClient, path: str, body: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    answer = bank.post(f"/accounts/{path}", content=body, headers={"Content-Type": "application/json", **headers})
    assert (answer.status_code, said in answer.text) == (status, True), answer.text


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/accounts/ada/open", 405)])
def test_what_is_not_served_is_told_in_json(service: TestClient, method: str, path: str, status: int) -> None:
    answer = service.request(method, path)
    assert (answer.status_code, set(answer.json())) == (status, {"error", "next"})


# ---- every error of the client


class Failing:
    """A client that raises."""

    def __init__(self, error: EventsrcError) -> None:
        self._error = error

    async def send(self, *args: Any, **options: Any) -> Any:
        raise self._error

    async def get(self, *args: Any) -> Any:
        raise self._error

    async def history(self, *args: Any) -> AsyncIterator[Any]:
        raise self._error
        yield  # what makes it a generator


@pytest.mark.parametrize(
    ("error", "status", "retry_after", "safe"),
    [
        (OutcomeUnknown("no answer within 10 s"), 503, "1", "send it again with the same Idempotency-Key"),
        (Unreachable("broker kafka-1.internal does not answer"), 503, "1", "nothing was done"),
        (TopicsInvalid("bank.account.commands is missing"), 503, "1", "nothing was done"),
        (IdempotencyConflict("used before"), 409, None, "used before"),
        (CommandFailed("handler-failed", "bank.dead-letter/3 of offset 17"), 500, None, "handler-failed"),
        (NotAuthorized("user bank may not write to kafka-1.internal"), 500, None, "its operator has to grant"),
        (InvalidId("the id is empty"), 400, None, "the id is empty"),
        (SchemaIncompatible("the answer cannot be read"), 500, None, "SchemaIncompatible"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_a_caller_is_told(
    service: TestClient, error: EventsrcError, status: int, retry_after: str | None, safe: str
) -> None:
    service.app.state.client = Failing(error)  # type: ignore[attr-defined]
    answer = post(service, "ada/deposit", {"amount": 5}, "k")
    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, retry_after)
    assert answer.headers["Idempotency-Key"] == "k"
    assert safe in answer.text
    assert "kafka-1.internal" not in answer.text
    for path in ("", "/history"):
        assert service.get(f"/accounts/ada{path}").status_code == status


def test_no_error_that_a_client_raises_was_forgotten() -> None:
    raised = {cls for name in eventsrc.__all__ if isinstance(cls := getattr(eventsrc, name), type)}
    errors = {cls for cls in raised if issubclass(cls, EventsrcError)}
    not_of_requests = {"EventsrcError", "DeclarationError", "InvalidSettings", "InvalidMoment", "SchemaIncompatible"}
    assert {cls.__name__ for cls in errors - answers.STATUS.keys()} == not_of_requests


# ---- the page and its stream


def frames(text: str) -> list[tuple[str, Any]]:
    found = re.findall(r"^event: (\w+)\ndata: (.*)\n\n", text, re.MULTILINE)
    return [(name, json.loads(content)) for name, content in found]


def listened(board: Board, then: Any = None) -> str:
    """Everything that a page hears that is there first, when `then` happens and the streams end."""

    async def listen() -> str:
        heard: list[str] = []

        async def hear() -> None:
            async for frame in board.stream():
                heard.append(frame)

        page = asyncio.create_task(hear())
        await asyncio.sleep(0)
        if then is not None:
            then()
        board.end_streams()
        await page
        return "".join(heard)

    return asyncio.run(listen())


def a_board() -> Board:
    """Ben's partition is read after ada's, though he came before her last two events."""
    board = Board()
    board.apply("ada", 1, NOW - timedelta(seconds=4), Opened("Ada"))
    board.apply("ada", 2, NOW - timedelta(seconds=2), Deposited(500))
    board.apply("ada", 3, NOW - timedelta(seconds=1), Withdrawn(200))
    board.apply("ben", 1, NOW - timedelta(seconds=3), Opened("Ben"))
    return board


def test_a_page_begins_with_what_is() -> None:
    ((name, told),) = frames(listened(a_board()))
    assert (name, told["total"]) == ("accounts", 2)
    assert [(each["id"], each["balance"], each["sequence"]) for each in told["accounts"]] == [
        ("ben", 0, 1),
        ("ada", 300, 3),
    ]
    assert [(each["id"], each["event"]) for each in told["recent"]] == [
        ("ada", "Opened"), ("ben", "Opened"), ("ada", "Deposited"), ("ada", "Withdrawn"),
    ]  # fmt: skip


def test_then_it_hears_every_change_once() -> None:
    board = a_board()

    def change() -> None:
        board.apply("ada", 4, NOW, Deposited(7))
        board.apply("ada", 4, NOW, Deposited(7))  # read again, as after a connection was lost
        board.apply("ada", 3, NOW, Withdrawn(200))

    _, *changes = frames(listened(board, change))
    assert changes == [
        (
            "change",
            {"total": 2, "id": "ada", "owner": "Ada", "balance": 307, "sequence": 4, "changed": "2026-03-02T12:00:00.000+00:00",
             "event": "Deposited", "amount": 7},
        )
    ]  # fmt: skip


def test_a_page_is_told_of_the_latest_accounts() -> None:
    board = Board()
    for number in range(live.SHOWN + 5):
        board.apply(f"a-{number}", 1, NOW + timedelta(seconds=number), Opened("x"))
    ((_, told),) = frames(listened(board))
    assert (told["total"], len(told["accounts"]), len(told["recent"])) == (
        live.SHOWN + 5,
        live.SHOWN,
        live.SHOWN_EVENTS,
    )
    assert told["accounts"][-1]["id"] == f"a-{live.SHOWN + 4}"


def test_a_page_that_falls_behind_is_ended() -> None:
    board = Board()

    def too_much() -> None:
        for number in range(1, 1_500):
            board.apply("ada", number, NOW, Deposited(1))

    assert len(frames(listened(board, too_much))) < 1_500


def test_streams_end_where_the_server_does() -> None:
    board = a_board()
    board.end_streams()
    assert listened(board) == ""


def test_a_quiet_stream_says_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KEEP_ALIVE_S", 0.01)

    async def second_frame() -> str:
        stream = a_board().stream()
        await anext(stream)
        frame = await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]  # a generator, though it is not declared as one
        return frame

    assert asyncio.run(second_frame()) == ": nothing new\n\n"


def test_nothing_in_a_stream_can_be_markup() -> None:
    board = Board()
    board.apply(NASTY, 1, NOW, Opened("</script><script>&\n\nevent: forged\ndata: {}"))
    heard = listened(board)
    assert not re.search(r"[<>&]", heard)
    ((name, told),) = frames(heard)
    assert (name, told["accounts"][0]["id"]) == ("accounts", NASTY)
    assert told["accounts"][0]["owner"].startswith("</script>")


def test_the_page_runs_its_own_script_and_loads_nothing_from_elsewhere(service: TestClient) -> None:
    answer = service.get("/")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    sources = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert sources == ["/static/icon.svg", "/static/page.css", "/static/page.js"]
    assert all(service.get(path).status_code == 200 for path in sources)
    everything = "".join((STATIC / f"page.{kind}").read_text() for kind in ("html", "css", "js"))
    assert "//" not in re.sub(r"^\s*//.*|;\s*//.*", "", everything, flags=re.MULTILINE)


def test_the_script_writes_text_never_markup() -> None:
    script = (STATIC / "page.js").read_text()
    assert "textContent" in script
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function", script
    )

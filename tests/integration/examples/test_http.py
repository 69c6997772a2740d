"""The bank behind HTTP on a real Kafka: a worker process, a listening server, browsers' streams."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from eventsrc import Unreachable
from eventsrc.localstack.services import Services
from eventsrc.runtime.settings import Settings
from eventsrc.testing.pytest_plugin import Run
from eventsrc.testing.running import RunningPipeline
from examples.bank.app import Account, Deposit, Open, pipeline
from examples.http.app import application
from examples.http.serve import Server

ROOT = Path(__file__).parents[3]
NASTY = "</td><script>alert(1)</script>"
WITHIN_S = 60.0


@pytest.fixture
def bank(eventsrc_run: Run) -> RunningPipeline:
    """A worker of the bank, under a name of the test's own."""
    return eventsrc_run(pipeline)


@contextmanager
def served(bank: RunningPipeline, **options: Any) -> Iterator[httpx.Client]:
    """The application behind a real server, in a thread of its own; ends in order, whatever still listens."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    app = application(bank.settings, bank=bank.pipeline, **options)
    server = Server(uvicorn.Config(app, log_level="warning", lifespan="on"), app.state.board)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    try:
        with httpx.Client(base_url=address, timeout=WITHIN_S, transport=httpx.HTTPTransport(retries=50)) as client:
            client.get("/")
            yield client
    finally:
        server.should_exit = True
        thread.join(WITHIN_S)
        assert not thread.is_alive(), "the server did not end"


class Tab:
    """A page's stream, as a browser reads it."""

    def __init__(self, client: httpx.Client, cleanup: ExitStack) -> None:
        self.answer = cleanup.enter_context(client.stream("GET", "/live"))
        self.lines = self.answer.iter_lines()

    def hear(self, wanted: Callable[[str, Any], bool]) -> Any:
        """The content of the next event that is wanted."""
        name = ""
        for line in self.lines:
            kind, _, content = line.partition(": ")
            if kind == "event":
                name = content
            elif kind == "data" and wanted(name, json.loads(content)):
                return json.loads(content)
        raise AssertionError("the stream ended")


def post(client: httpx.Client, path: str, fields: Any, key: str | None = None) -> httpx.Response:
    return client.post(f"/accounts/{path}", json=fields, headers={} if key is None else {"Idempotency-Key": key})


def test_two_pages_see_a_deposit_each_made_anywhere(bank: RunningPipeline) -> None:
    with served(bank) as client, ExitStack() as cleanup:
        assert post(client, "ada/open", {"owner": "Ada"}).status_code == 200
        tabs = [Tab(client, cleanup) for _ in range(2)]
        assert tabs[0].answer.headers["Content-Type"].startswith("text/event-stream")
        for tab in tabs:
            first = tab.hear(lambda name, told: any(each["id"] == "ada" for each in told.get("accounts", [told])))
            assert first["total"] == 1
        assert post(client, "ada/deposit", {"amount": 500}).json()["sequence"] == 2
        bank.client.send(Account, "ada", Deposit(30))  # by a program that knows nothing of this server
        for tab in tabs:
            assert tab.hear(lambda name, told: name == "change" and told["sequence"] == 2)["balance"] == 500
            heard = tab.hear(lambda name, told: name == "change")
            assert (heard["sequence"], heard["event"], heard["amount"], heard["balance"]) == (3, "Deposited", 30, 530)
        assert client.get("/accounts/ada").json() == {"id": "ada", "owner": "Ada", "balance": 530, "sequence": 3}
        # The streams are still open: the server has to end all the same.


def test_an_id_is_never_markup(bank: RunningPipeline) -> None:
    bank.client.send(Account, NASTY, Open("<b>Eve</b>"))
    with served(bank) as client, ExitStack() as cleanup:
        tab = Tab(client, cleanup)
        raw = ""
        for line in tab.lines:
            raw += line
            if "script" in line:
                break
        assert not re.search("[<>]", raw)
        told = json.loads(raw.rpartition("data: ")[2])
        account = told.get("accounts", [told])[0]
        assert (account["id"], account["owner"]) == (NASTY, "<b>Eve</b>")
        page = client.get("/")
        assert "script" not in re.sub(r'<script src="/static/page.js" defer></script>', "", page.text)
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]


def settled(client: httpx.Client, path: str, fields: Any, key: str) -> httpx.Response:
    """Sent again under the same key for as long as no answer comes in time, as a caller may."""
    while (answer := post(client, path, fields, key)).status_code == 503:
        pass
    return answer


def test_no_answer_and_the_same_key_again(bank: RunningPipeline) -> None:
    with served(bank, answer_within_s=1.5) as client:
        settled(client, "ada/open", {"owner": "Ada"}, "open")
        bank.kill()
        lost = post(client, "ada/deposit", {"amount": 500})
        assert (lost.status_code, lost.headers["Retry-After"]) == (503, "1")
        assert lost.json()["error"] == "OutcomeUnknown"
        key = lost.headers["Idempotency-Key"]
        bank.start()
        again = settled(client, "ada/deposit", {"amount": 500}, key)
        assert again.json() == {"id": "ada", "sequence": 2, "events": [{"event": "Deposited", "amount": 500}]}
        assert settled(client, "ada/deposit", {"amount": 500}, key).content == again.content
        history = client.get("/accounts/ada/history").json()["events"]
        assert [(each["sequence"], each["event"]) for each in history] == [(1, "Opened"), (2, "Deposited")]
        assert settled(client, "ada/deposit", {"amount": 501}, key).status_code == 409
        refused = settled(client, "ada/withdraw", {"amount": 501}, "rent")
        assert (refused.status_code, refused.json()["details"]) == (422, {"balance": 500})


def test_a_service_without_kafka_does_not_start() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        settings = Settings(bootstrap_servers=f"127.0.0.1:{closed.getsockname()[1]}")
        app = application(settings)

        async def start() -> None:
            async with app.router.lifespan_context(app):
                pass

        with pytest.raises(Unreachable):
            asyncio.run(start())


def test_one_command_runs_everything_and_ctrl_c_stops_it(services: Services, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": services.bootstrap_servers,
        "DATABASE_URL": services.database_url,
    }
    command = [sys.executable, "-m", "examples.http", "--port", "0", "--state-dir", str(tmp_path / "http")]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        address = next(line.split()[1] for line in process.stdout if line.split()[0] == "page")
        with httpx.Client(base_url=address, timeout=WITHIN_S) as client, ExitStack() as cleanup:
            account = tmp_path.name
            answer = settled(client, f"{account}/open", {"owner": "Ada"}, "open")
            assert answer.json()["events"] == [{"event": "Opened", "owner": "Ada"}]
            Tab(client, cleanup)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=WITHIN_S)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (0, "")
    assert "what was started is stopped" in out


def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "examples.http", "--port", str(port), "--state-dir", str(tmp_path / "http")]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"127.0.0.1:{port} cannot be listened on" in ended.stderr
    assert "next: give another --port" in ended.stderr
    assert not (tmp_path / "http").exists()

"""The command line against a real broker and a real worker process: what a person types, what a program reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventsrc.cli.init import scaffold

SOURCE = str(Path(__file__).parents[2])
PLACE = '{"sku": "tea", "quantity": 2}'


class Shop:
    """A scaffolded application in a directory of its own, and `eventsrc` in it."""

    def __init__(self, directory: Path, name: str, kafka: str) -> None:
        self.directory = directory
        self.name = name
        self._environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": SOURCE,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "TZ": "Europe/Berlin",
        }
        for path, text in scaffold(name).items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text)

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "eventsrc", *words]
        return subprocess.Popen(command, cwd=self.directory, env=self._environ, text=True, **options)

    def __call__(self, *words: str, text: str | None = None, exit_code: int = 0) -> str:
        """Stdout of a command, which must end with this exit code and without a traceback."""
        process = self.start(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(text, timeout=90)
        assert process.returncode == exit_code, f"{words}: exit {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err
        return out + err if exit_code in (2, 3) else out

    def json(self, *words: str, **options: Any) -> Any:
        lines = [json.loads(line) for line in self(*words, "--json", **options).splitlines()]
        return lines[0] if len(lines) == 1 else lines


@pytest.fixture(scope="module")
def shop(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """With topics, and a worker that runs while this module's tests do."""
    shop = Shop(tmp_path_factory.mktemp("shop"), f"shop-{uuid.uuid4().hex[:8]}", kafka)
    shop("topics", "create")
    worker = shop.start("run", "--log-level", "warning", stderr=subprocess.PIPE)
    shop("send", "Order", "first", "Place", PLACE, "--timeout", "60")  # answered when the worker has begun
    yield shop
    worker.send_signal(signal.SIGTERM)
    _, log = worker.communicate(timeout=60)
    assert worker.returncode == 0, log


@pytest.fixture
def order(unique_name: Callable[[str], str]) -> str:
    return unique_name("o")


def test_topics_are_created_once_and_verified(shop: Shop) -> None:
    assert shop.json("topics", "create") == {"created": [], "existing": list(shop.json("topics", "verify")["topics"])}
    assert shop("topics", "verify").count(" ok ") == 4


def test_a_command_its_state_and_its_timeline(shop: Shop, order: str) -> None:
    placed = shop("send", "Order", order, "Place", PLACE)
    assert placed.startswith("Placed(sku='tea', quantity=2)   sequence 1, partition ")
    rejected = shop("send", "Order", order, "Ship", exit_code=1)
    assert rejected == f"rejected: not paid yet   (order {order}, status placed)\n"
    assert shop.json("send", "order", order, "pay")["events"] == [{"event": "Paid", "payload": {}}]
    state = {"sku": "tea", "quantity": 2, "status": "paid"}
    expected = {"aggregate": "order", "id": order, "sequence": 2, "state": state, "at": None}
    assert shop.json("show", "Order", order) == expected
    shown = shop("show", "Order", order)
    assert shown.splitlines()[0] == f"order {order}   sequence 2"
    assert 'sku       "tea"' in shown

    log = shop.json("log", "Order", order, "--diff")
    assert [(each["sequence"], each["event"]) for each in log] == [(1, "Placed"), (2, "Paid")]
    assert log[0]["payload"] == {"sku": "tea", "quantity": 2}
    assert log[1]["changes"] == {"status": {"before": "placed", "after": "paid"}}
    lines = shop("log", "Order", order, "--diff").splitlines()
    assert 'status "placed" -> "paid"' in lines[1]
    assert "+01:00" in lines[0] or "+02:00" in lines[0]


def test_the_past_is_shown(shop: Shop, order: str) -> None:
    shop("send", "Order", order, "Place", PLACE)
    before = shop.json("show", "Order", order, "--at", "-15m", exit_code=1)
    assert (before["state"], before["sequence"]) == (None, 0)
    assert before["at"].endswith("Z")
    assert shop.json("show", "Order", order, "--at", shop.json("log", "Order", order)["time"])["sequence"] == 1


def test_what_never_existed_exits_1(shop: Shop, order: str) -> None:
    assert shop.json("show", "Order", order, exit_code=1)["state"] is None
    assert "never existed" in shop("show", "Order", order, exit_code=1)
    assert "never existed" in shop("log", "Order", order, exit_code=1)


def test_an_id_may_begin_with_a_hyphen(shop: Shop, order: str) -> None:
    shop("send", "Order", "--", f"-{order}", "Place", PLACE)
    out = shop("show", "--json", "Order", "--", f"-{order}")
    assert json.loads(out)["id"] == f"-{order}"


def test_an_idempotency_key_takes_effect_once(shop: Shop, order: str) -> None:
    first = shop.json("send", "Order", order, "Place", PLACE, "--idempotency-key", "k")
    second = shop.json("send", "Order", order, "Place", PLACE, "--idempotency-key", "k")
    assert second == {**first, "duplicate": True}
    other = shop.json("send", "Order", order, "Pay", "--idempotency-key", "k", exit_code=1)
    assert other["status"] == "conflict"


def test_lines_are_sent_pipelined_with_one_result_each(shop: Shop, order: str) -> None:
    lines: list[Any] = [
        {"aggregate": "Order", "id": order, "command": "Place", "payload": {"sku": "tea", "quantity": 2}},
        {"aggregate": "Order", "id": order, "command": "Pay", "idempotency_key": "pay"},
        {"aggregate": "Order", "id": order, "command": "Pay", "idempotency_key": "pay"},
        {"aggregate": "Order", "id": order, "command": "Pay"},
        {"aggregate": "Order", "id": order, "command": "Place", "payload": {"sku": "", "quantity": 0}},
        {"aggregate": "Order", "id": "", "command": "Pay"},
        {"aggregate": "Order", "command": "Pay"},
        "not an object",
        {"aggregate": "Order", "id": "\ud800", "command": "Pay"},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + "\n{broken\n\n"
    results = shop.json("send", "--file", "-", text=text, exit_code=1)
    statuses = ["ok", "ok", "ok", "rejected", *["invalid"] * 6]
    assert [each["status"] for each in results] == statuses
    assert [each["line"] for each in results] == list(range(1, 11))
    assert results[2]["duplicate"]
    (shop.directory / "commands.jsonl").write_text(
        "".join(
            json.dumps({"aggregate": "order", "id": f"{order}-{n}", "command": "place", "payload": json.loads(PLACE)})
            + "\n"
            for n in range(300)
        )
    )
    out = shop("send", "--file", "commands.jsonl")
    assert len(out.splitlines()) == 300
    assert f"order {order}-299  Placed(sku='tea', quantity=2)   sequence 1" in out


def test_who_writes_a_line_and_waits_gets_its_result(shop: Shop, order: str) -> None:
    process = shop.start(
        "send", "--json", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        for command, payload in (("Place", json.loads(PLACE)), ("Pay", {}), ("Ship", {})):
            line: dict[str, Any] = {"aggregate": "Order", "id": order, "command": command, "payload": payload}
            process.stdin.write(json.dumps(line) + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["status"] == "ok"
    assert process.wait(30) == 0


def test_the_tail_shows_what_is_there_decoded_and_filtered(shop: Shop, order: str) -> None:
    shop("send", "Order", order, "Place", PLACE)
    shop("send", "Order", order, "Pay")
    everything = shop.json("tail", "--no-follow", "--commands", "--where", f"Order/{order}")
    assert sorted((each["kind"], each["name"]) for each in everything) == [
        ("command", "Pay"), ("command", "Place"), ("event", "Paid"), ("event", "Placed"),
    ]  # fmt: skip
    commands = {each["command_id"] for each in everything if each["kind"] == "command"}
    assert commands == {each["command_id"] for each in everything if each["kind"] == "event"}
    assert shop("tail", "--no-follow", "--where", f"Order/{order}", "--until", "-15m") == ""
    assert shop("tail", "--no-follow", "--where", f"Order/{order}", "--since", "-15m").count(order) == 2
    assert shop("tail", "--no-follow", "--where", f"Order/{order}", "--since", "start").count(order) == 2
    shop("tail", "--no-follow", "--where", "Nothing", exit_code=2)


def test_a_following_tail_shows_what_comes(shop: Shop, order: str) -> None:
    shop("send", "Order", order, "Place", PLACE)
    tail = shop.start("tail", "--json", "--since", "-15m", "--where", f"order/{order}", stdout=subprocess.PIPE)
    try:
        assert tail.stdout is not None
        assert json.loads(tail.stdout.readline())["name"] == "Placed"
        shop("send", "Order", order, "Pay")  # it has shown what there was, and follows
        assert json.loads(tail.stdout.readline())["name"] == "Paid"
    finally:
        tail.send_signal(signal.SIGINT)
        tail.communicate(timeout=30)
    assert tail.returncode == 130


def test_without_a_worker_the_outcome_is_unknown(
    shop: Shop, kafka: str, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    idle = Shop(tmp_path, unique_name("idle"), kafka)
    idle("topics", "create")
    result = idle.json("send", "Order", "x", "Place", PLACE, "--timeout", "0.2", exit_code=1)
    assert result["status"] == "unknown"
    assert "idempotency key" in result["message"]


def test_missing_topics_exit_1_with_the_mend(kafka: str, tmp_path: Path, unique_name: Callable[[str], str]) -> None:
    bare = Shop(tmp_path, unique_name("bare"), kafka)
    missing = bare.json("topics", "verify", exit_code=1)
    assert len(missing["problems"]) == 4
    process = bare.start("send", "Order", "x", "Pay", stderr=subprocess.PIPE)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "eventsrc topics create" in err


def test_an_unreachable_broker_exits_3(shop: Shop) -> None:
    for words in (("show", "Order", "x"), ("send", "Order", "x", "Pay"), ("topics", "verify")):
        assert "127.0.0.1:1" in shop(*words, "--bootstrap-servers", "127.0.0.1:1", exit_code=3)

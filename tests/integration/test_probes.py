"""Probes and metrics of real workers on real Kafka and Postgres, and their logs as JSON."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from eventsrc.adapters.postgres.upgrading import upgrade
from tests.harness.collect import wait_until
from tests.integration.test_operations import Bank

PARTITIONS = 4


class Served:
    """`eventsrc run --http` on a port of its own, with logs as JSON."""

    def __init__(self, bank: Bank, *words: str, **environ: str) -> None:
        self._log = bank.directory / f"run-{uuid.uuid4().hex[:6]}.log"
        command = [sys.executable, "-m", "eventsrc", "run", "--log-format", "json", *(words or ("--http", "0"))]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=bank.directory,
                env=bank.environ | environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self.served, 30, "it says where it is served")
        address = next(line["address"] for line in self.lines() if line["logger"] == "eventsrc.http")
        self.port = address.rpartition(":")[2]
        self.token: str | None = None

    def lines(self) -> list[dict[str, Any]]:
        """Everything it printed; nothing of it is no JSON."""
        whole, _, _ = self._log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def served(self) -> bool:
        return any(line["logger"] == "eventsrc.http" for line in self.lines())

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.port), timeout=10)
        if self.token is not None:
            headers = {"Authorization": f"Bearer {self.token}", **headers}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        found = response.status, response.read()
        connection.close()
        return found

    def ready(self) -> tuple[int, list[dict[str, Any]]]:
        status, body = self.get("/readyz")
        return status, json.loads(body)["workers"]

    def wait_ready(self) -> None:
        wait_until(lambda: self.ready()[0] == 200, 40, "it is ready")

    def metrics(self) -> dict[tuple[str, frozenset[str]], float]:
        """By name and the values of the labels, the worker's left out."""
        status, body = self.get("/metrics")
        assert status == 200
        found: dict[tuple[str, frozenset[str]], float] = {}
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                values = frozenset(value for name, value in sample.labels.items() if name != "worker")
                found[sample.name, values] = found.get((sample.name, values), 0.0) + sample.value
        return found

    def commands(self) -> dict[str, float]:
        found = self.metrics()
        outcomes = ("applied", "rejected", "empty", "duplicate", "dead")
        return {each: found["eventsrc_commands_total", frozenset({each})] for each in outcomes}

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


@pytest.fixture
def bank(kafka: str, make_database: Callable[[str], AbstractContextManager[str]], tmp_path: Path) -> Iterator[Bank]:
    with make_database("probes") as address:
        upgrade(address)
        yield Bank(tmp_path, kafka, address)


@pytest.fixture
def serve(bank: Bank) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(*words: str, **environ: str) -> Served:
        started.append(Served(bank, *words, **environ))
        return started[-1]

    yield start
    for each in started:
        each.end()


def send(bank: Bank, *lines: dict[str, Any]) -> None:
    text = "\n".join(json.dumps({"aggregate": "Account", **line}) for line in lines)
    with suppress(AssertionError):  # exit 1: some were refused, as they should be
        bank("send", "--file", "-", text=text)


def produce(bank: Bank, topic: str, partition: int, key: bytes, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bank.environ["KAFKA_BOOTSTRAP_SERVERS"]})
    name = f"{bank.environ['EVENTSRC_TEST_PIPELINE']}.{topic}"
    producer.produce(name, value, key, partition=partition)
    assert producer.flush(20) == 0


@contextmanager
def unopenable(bank: Bank) -> Iterator[None]:
    """No partition can be taken over meanwhile: another program's transaction is open in each log, and held to."""
    servers = bank.environ["KAFKA_BOOTSTRAP_SERVERS"]
    other = Producer({"bootstrap.servers": servers, "transactional.id": f"other-{uuid.uuid4()}"})
    other.init_transactions(30)
    other.begin_transaction()
    for number in range(PARTITIONS):
        other.produce(f"{bank.environ['EVENTSRC_TEST_PIPELINE']}.account.events", b"undecided", b"key", number)
    assert other.flush(20) == 0
    yield
    other.abort_transaction(30)


def test_it_is_ready_when_it_is_open_and_counts_what_was_sent(bank: Bank, serve: Callable[..., Served]) -> None:
    with unopenable(bank):
        served = serve()
        status, (first,) = served.ready()
    assert (status, first["ready"]) == (503, False)
    assert first["reason"] or first["not_open"]
    served.wait_ready()
    assert served.ready()[1][0]["open"] == PARTITIONS
    assert served.get("/healthz")[0] == 200

    deposit = {"command": "Deposit", "payload": {"amount": 5}}
    send(
        bank,
        *({"id": f"a{number}", **deposit} for number in range(20)),
        {"id": "a0", **deposit, "idempotency_key": "once"},
        {"id": "a0", **deposit, "idempotency_key": "once"},
        {"id": "a1", "command": "Withdraw", "payload": {"amount": 1000}},
        {"id": "a2", "command": "Audit"},
        {"id": "a3", "command": "Poison"},
        {"id": "a4", "command": "DepositInParts", "payload": {"amount": 1, "parts": 3}},
    )
    produce(bank, "account.commands", 1, b"no-one", b"\xc3\x01garbage")
    expected = {"applied": 22, "rejected": 1, "empty": 1, "duplicate": 1, "dead": 2}
    wait_until(lambda: served.commands() == expected, 30, "every command is counted")
    found = served.metrics()
    letters = {
        next(iter(values)): value for (name, values), value in found.items() if name == "eventsrc_dead_letters_total"
    }
    assert letters.pop("handler-failed") == 1
    assert sum(letters.values()) == 1
    assert found["eventsrc_events_total", frozenset()] == 24
    assert found["eventsrc_batch_commands_sum", frozenset()] == sum(expected.values())
    assert found["eventsrc_transactions_total", frozenset({"committed"})] >= 2
    lags = {values: value for (name, values), value in found.items() if name == "eventsrc_lag_commands"}
    assert (len(lags), sum(lags.values())) == (PARTITIONS, 0)
    assert found["process_resident_memory_bytes", frozenset()] > 1e7

    bank("checkpoint", "now")
    wait_until(
        lambda: served.metrics()["eventsrc_checkpoints_total", frozenset({"written"})] >= PARTITIONS,
        30,
        "checkpoints count",
    )
    assert served.metrics()["eventsrc_checkpoint_bytes_total", frozenset()] > 0

    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(30) == 0
    about = [line for line in served.lines() if line["logger"] == "eventsrc.engine" and "open after" in line["message"]]
    assert {line["partition"] for line in about} == {f"account/{number}" for number in range(PARTITIONS)}
    assert {line["pipeline"] for line in about} == {bank.environ["EVENTSRC_TEST_PIPELINE"]}
    letter = next(line for line in served.lines() if line["message"].startswith("dead letter"))
    assert letter["code"] in {"handler-failed", *letters}


def test_a_halted_partition_keeps_it_from_being_ready_and_says_why(bank: Bank, serve: Callable[..., Served]) -> None:
    produce(bank, "account.events", 2, b"alice@1#0", b"foreign")
    served = serve()

    def only_that_one() -> bool:
        return [each["phase"] for each in served.ready()[1][0]["not_open"]] == ["halted"]

    wait_until(only_that_one, 40, "the others are open")
    status, (worker,) = served.ready()
    assert status == 503
    assert worker["not_open"][0]["partition"] == "account/2"
    assert worker["not_open"][0]["code"] == "foreign-record"
    assert "no owner of this partition wrote it" in worker["not_open"][0]["reason"]
    assert served.get("/healthz")[0] == 200
    found = served.metrics()
    assert (found["eventsrc_partitions_halted", frozenset()], found["eventsrc_halts_total", frozenset()]) == (1, 1)
    halt = next(line for line in served.lines() if line["level"] == "error")
    assert (halt["partition"], halt["code"]) == ("account/2", "foreign-record")
    shown = bank("status", exit_code=1)
    assert "see: docs/errors.md#foreign-record" in shown
    assert {each["code"] for each in bank.json("status", exit_code=1)["partitions"]} == {None, "foreign-record"}


def test_a_command_of_an_unknown_schema_shows_while_its_partition_waits(
    bank: Bank, serve: Callable[..., Served]
) -> None:
    served = serve()
    served.wait_ready()
    from confluent_kafka import murmur2

    key = next(key for key in (b"k%d" % number for number in range(100)) if murmur2(key, PARTITIONS) == 3)
    produce(bank, "account.commands", 3, key, b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08rest")
    wait_until(lambda: served.ready()[0] == 503, 30, "it is not ready")
    (waiting,) = served.ready()[1][0]["not_open"]
    assert (waiting["partition"], waiting["code"]) == ("account/3", "unknown-schema")
    assert "0807060504030201" in waiting["reason"]


def test_one_address_serves_all_workers_of_a_supervisor(bank: Bank, serve: Callable[..., Served]) -> None:
    served = serve("--http", "0", "--workers", "2")
    served.wait_ready()
    wait_until(lambda: sorted(each["open"] for each in served.ready()[1]) == [2, 2], 40, "they share the partitions")
    send(bank, *({"id": f"a{number}", "command": "Deposit", "payload": {"amount": 5}} for number in range(20)))
    wait_until(lambda: served.commands()["applied"] == 20, 30, "every command is counted, whichever worker had it")
    started = next(line["message"] for line in served.lines() if " started, process " in line["message"])
    killed = int(started.rpartition(" ")[2])
    began = served.metrics()["process_start_time_seconds", frozenset()]
    with unopenable(bank):  # else its successor may be ready before anybody has looked
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: served.ready()[0] == 503, 20, "one of them is not ready")
    served.wait_ready()
    assert served.metrics()["process_start_time_seconds", frozenset()] > began
    assert {line["instance"] for line in served.lines() if "open after" in line["message"]} == {
        each["instance"] for each in served.ready()[1]
    }
    served.process.terminate()
    assert served.process.wait(30) == 0
    with pytest.raises(ConnectionRefusedError):
        served.get("/healthz")


def test_other_machines_want_the_token(bank: Bank, serve: Callable[..., Served]) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "eventsrc", "run", "--http", "0.0.0.0:0"],
        cwd=bank.directory, env=bank.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (2, "see: docs/errors.md#http-token-missing")
    served = serve("--http", "0.0.0.0:0", EVENTSRC_HTTP_TOKEN="let-me-in")
    assert served.get("/healthz") == (200, b'{\n "healthy": true\n}\n')
    assert served.get("/metrics")[0] == 401
    served.token = "let-me-in"
    assert served.get("/metrics", Host="elsewhere.example")[0] == 200
    assert b"let-me-in" not in served._log.read_bytes()


def test_garbage_does_not_harm_the_worker(bank: Bank, serve: Callable[..., Served]) -> None:
    import socket

    served = serve()
    for sent in (b"\x00\xff" * 5000, b"GET /metrics", b"POST /healthz HTTP/1.1\r\nContent-Length: 999999\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", int(served.port)), 10) as connection:
            connection.sendall(sent)
    served.wait_ready()
    send(bank, {"id": "a", "command": "Deposit", "payload": {"amount": 5}})
    wait_until(lambda: served.commands()["applied"] == 1, 30, "it works on")
    assert {line["level"] for line in served.lines()} <= {"info", "warning"}

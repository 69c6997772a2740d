"""Workers under a supervisor, `status` and `checkpoint`, as an operator meets them: real processes, Kafka and Postgres."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from eventsrc.adapters.local.processes import is_alive
from eventsrc.adapters.postgres.upgrading import upgrade
from tests.harness.collect import wait_until

ROOT = str(Path(__file__).parents[2])
APP = "tests.harness.bank:pipeline"
STARTED = re.compile(r"(\S+) started.*, process (\d+)")


class Bank:
    """A pipeline of the test's own, and `eventsrc` for it."""

    def __init__(self, directory: Path, kafka: str, database_url: str) -> None:
        self.directory = directory
        self.environ = {
            "PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "EVENTSRC_APP": APP,
            "KAFKA_BOOTSTRAP_SERVERS": kafka, "DATABASE_URL": database_url,
            "EVENTSRC_TEST_PIPELINE": f"bank-{uuid.uuid4().hex[:8]}",
        }  # fmt: skip
        self("topics", "create")

    def __call__(self, *words: str, exit_code: int = 0, text: str | None = None, **environ: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "eventsrc", *words],
            cwd=self.directory, env=self.environ | environ, text=True, input=text or "", capture_output=True,
            check=False, timeout=90,
        )  # fmt: skip
        assert done.returncode == exit_code, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def json(self, *words: str, exit_code: int = 0, **environ: str) -> Any:
        return json.loads(self(*words, "--json", exit_code=exit_code, **environ))

    def deposit(self, count: int) -> None:
        lines = [
            {"aggregate": "Account", "id": f"a{number}", "command": "Deposit", "payload": {"amount": 1}}
            for number in range(count)
        ]
        self("send", "--file", "-", text="\n".join(map(json.dumps, lines)))


class Supervised:
    """`eventsrc run --workers 2`."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self._log = bank.directory / f"run-{uuid.uuid4().hex[:6]}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "eventsrc", "run", "--workers", "2"],
                cwd=bank.directory, env=bank.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def started(self) -> list[tuple[str, int]]:
        """Instance id and process of every start."""
        return [(instance, int(process)) for instance, process in STARTED.findall(self.log)]

    def wait_open(self, workers: int = 2) -> None:
        """Until all partitions are open, at so many workers."""

        def is_open() -> bool:
            found = self.bank.json("status")
            owners = {each["owner"] for each in found["partitions"] if each["phase"] == "open"}
            return len(owners) == workers and all(each["phase"] == "open" for each in found["partitions"])

        wait_until(is_open, 40, f"all partitions are open\n{self.log[-3000:]}")

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        for _, process in self.started:
            wait_until(lambda process=process: not is_alive(process), 30, f"worker {process} ends")  # type: ignore[misc]  # mypy #12557


@pytest.fixture(scope="module")
def bank(
    kafka: str, make_database: Callable[[str], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bank]:
    with make_database("operations") as address:
        upgrade(address)
        yield Bank(tmp_path_factory.mktemp("bank"), kafka, address)


@pytest.fixture
def supervised(bank: Bank) -> Iterator[Supervised]:
    running = Supervised(bank)
    yield running
    running.end()


def test_a_killed_worker_is_back_at_once_under_its_id_and_sigterm_drains_all(supervised: Supervised) -> None:
    supervised.wait_open()
    (first, process), (second, _) = supervised.started
    assert first != second
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: len(supervised.started) == 3, 20, "it is started again")
    assert supervised.started[2][0] == first
    assert f"{first} was killed by SIGKILL" in supervised.log
    assert "started again in" not in supervised.log  # as it says where it waits before that
    supervised.wait_open()
    supervised.process.terminate()
    assert supervised.process.wait(30) == 0, supervised.log[-3000:]
    assert supervised.log.count("drained") >= 3
    assert not any(is_alive(process) for _, process in supervised.started)


def test_a_killed_supervisor_leaves_nobody_and_its_slots_free(supervised: Supervised, bank: Bank) -> None:
    wait_until(lambda: supervised.log.count(" joins at ") == 2, 40, "both join")
    supervised.process.kill()
    supervised.process.wait()
    for _, process in supervised.started:
        wait_until(lambda process=process: not is_alive(process), 30, f"worker {process} ends")  # type: ignore[misc]  # mypy #12557
    again = Supervised(bank)
    try:
        wait_until(lambda: len(again.started) == 2, 30, "the next one starts")
        assert {name for name, _ in again.started} == {name for name, _ in supervised.started}
    finally:
        again.end()


def test_a_second_signal_ends_all_at_once(supervised: Supervised) -> None:
    wait_until(lambda: supervised.log.count(" joins at ") == 2, 40, "both join")
    os.kill(supervised.started[0][1], signal.SIGSTOP)  # it will not drain
    supervised.process.send_signal(signal.SIGINT)
    wait_until(lambda: "SIGINT: 2 workers drain" in supervised.log, 30, "it drains")
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.process.wait(30) == 130
    assert not any(is_alive(process) for _, process in supervised.started)


def test_checkpoints_are_asked_for_listed_verified_and_discarded(supervised: Supervised, bank: Bank) -> None:
    supervised.wait_open()
    bank.deposit(200)
    taken = bank.json("checkpoint", "now")
    assert (len(taken["taken"]), taken["missing"]) == (4, [])
    listed = bank.json("checkpoint", "list")["checkpoints"]
    assert {each["id"] for each in taken["taken"]} <= {each["id"] for each in listed}
    heads = [each for each in listed if each["head"]]
    assert sum(each["aggregates"] for each in heads) == 200
    found = bank.json("status")
    assert all(each["checkpoint"]["id"] for each in found["partitions"])
    assert [each["lag"] for each in found["partitions"]] == [0] * 4
    assert [worker["objective_held"] for worker in found["workers"]] == [True, True]
    assert bank.json("checkpoint", "verify")["ok"]
    supervised.process.terminate()
    assert supervised.process.wait(30) == 0, supervised.log[-3000:]

    _spoil_a_block(bank.environ["DATABASE_URL"], bank.environ["EVENTSRC_TEST_PIPELINE"], 1)
    verified = bank.json("checkpoint", "verify", exit_code=1)
    assert {each["partition"] for each in verified["damaged"]} == {1}
    assert all("other bytes" in each["damage"] for each in verified["damaged"])
    assert "used instead: " in bank("checkpoint", "verify", exit_code=1)

    discard = ("checkpoint", "discard", "--aggregate", "Account", "--partition", "1")
    bank(*discard, exit_code=2)
    assert bank.json(*discard, "--yes")["discarded"] >= 1
    assert bank.json("checkpoint", "verify")["ok"]
    assert bank.json("checkpoint", "list", "--partition", "1") == {"checkpoints": []}
    assert bank.json(*discard, "--yes")["discarded"] == 0

    missing = bank.json("checkpoint", "now", "--timeout", "20", exit_code=1)["missing"]
    assert len(missing) == 4
    assert all("no worker runs" in each["reason"] for each in missing)


def _spoil_a_block(database_url: str, pipeline: str, partition: int) -> None:
    import psycopg

    with psycopg.connect(database_url, autocommit=True) as connection:
        spoilt = connection.execute(
            "UPDATE eventsrc.segment SET block = set_byte(block, length(block) - 1, get_byte(block, length(block) - 1) # 1) "
            "WHERE pipeline = %s AND partition = %s",
            [pipeline, partition],
        )
        assert spoilt.rowcount >= 1


def test_what_is_away_is_said_and_the_rest_shown(bank: Bank) -> None:
    found = bank.json("status", exit_code=3, DATABASE_URL="postgresql://x@127.0.0.1:1/x")
    assert "postgres" in found["problems"]
    assert all(each["lag"] is not None for each in found["partitions"])
    found = bank.json("status", exit_code=3, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert "127.0.0.1:1" in found["problems"]["kafka"]
    assert len(found["partitions"]) == 4
    bank("checkpoint", "list", exit_code=3, DATABASE_URL="postgresql://x@127.0.0.1:1/x")
    assert "no worker runs on this host" in bank("status")
    bank("status", "--watch", "never", exit_code=2)
    bank("status", "5", exit_code=2)


def test_a_watched_status_comes_again(bank: Bank) -> None:
    watch = subprocess.Popen(
        [sys.executable, "-m", "eventsrc", "status", "--json", "--watch", "0.2"],
        cwd=bank.directory, env=bank.environ, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with watch:
        assert watch.stdout is not None
        first, second = (json.loads(watch.stdout.readline()) for _ in range(2))
        watch.send_signal(signal.SIGINT)
        assert watch.wait(30) == 130
    assert first["at"] < second["at"]

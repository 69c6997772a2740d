"""Workers, clients and commands with a real schema registry. Run them with `-m registry`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from eventsrc import Client
from eventsrc.adapters.kafka.history import HistoryReader
from eventsrc.adapters.kafka.topics import create_topics
from eventsrc.localstack.provision import cache_directory
from eventsrc.model.names import commands_topic, dead_letter_topic, events_topic, replies_topic
from eventsrc.model.pipeline import Pipeline
from eventsrc.runtime.settings import Settings
from tests.harness import bank
from tests.harness.applications import load_application
from tests.harness.brokers import unique, wait_led
from tests.harness.registry import RegistryServer, registry_server
from tests.harness.workers import OPEN, ROOT, Worker

PARTITIONS = 2


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    cache = cache_directory(fallback=Path(tempfile.gettempdir()) / f"eventsrc-cache-{os.getuid()}")
    with registry_server(tmp_path_factory.mktemp("registry"), cache) as server:
        yield server


class Stage:
    """A pipeline of its own. Workers share one state directory unless they are given another."""

    def __init__(self, kafka: str, database_url: str, registry: RegistryServer, directory: Path) -> None:
        self.kafka, self.registry = kafka, registry
        self.name = unique("registered")
        self._directory = directory
        self.environment = {
            "EVENTSRC_TEST_PIPELINE": self.name, "EVENTSRC_TEST_PARTITIONS": str(PARTITIONS),
            "EVENTSRC_TEST_SETTINGS": json.dumps({"unknown_schema_deadline": "60s", "checkpoint_interval": "0.3s"}),
        }  # fmt: skip
        self.database_url = database_url
        self.app = load_application(bank.__name__, **self.environment)
        self.pipeline: Pipeline = self.app.pipeline
        wait_led(kafka, create_topics(self.pipeline, kafka).created)
        self._workers: list[Worker] = []
        prepared = self.run("db", "upgrade", environment={})
        assert prepared.returncode == 0, prepared.stderr

    @property
    def with_registry(self) -> dict[str, str]:
        return {"SCHEMA_REGISTRY_URL": self.registry.url}

    def worker(self, *, state: str = "here", **environment: str) -> Worker:
        directory = self._directory / state
        directory.mkdir(exist_ok=True)
        address = {"KAFKA_BOOTSTRAP_SERVERS": self.kafka, "DATABASE_URL": self.database_url}
        schemas = {"EVENTSRC_SCHEMAS_DIR": str(directory / "schemas")}
        worker = Worker(
            "tests.harness.bank:pipeline", "one", directory, {**self.environment, **address, **schemas, **environment}
        )
        self._workers.append(worker)
        worker.start()
        return worker

    def open_worker(self, *, state: str = "here", **environment: str) -> Worker:
        worker = self.worker(state=state, **environment)
        worker.wait_log(OPEN, 60)
        return worker

    def client(self, url: str | None) -> Client:
        settings = Settings(
            bootstrap_servers=self.kafka, schema_registry_url=url, state_dir=self._directory / "client",
            schemas_dir=self._directory / "client-schemas",
        )  # fmt: skip
        return Client(self.pipeline, settings=settings)

    def run(self, *words: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "eventsrc", *words],
            capture_output=True, text=True, timeout=90, check=False, cwd=self._directory,
            env={
                **os.environ, "PYTHONPATH": str(ROOT), "EVENTSRC_APP": "tests.harness.bank:pipeline",
                "KAFKA_BOOTSTRAP_SERVERS": self.kafka, "DATABASE_URL": self.database_url,
                **self.environment, **environment,
            },
        )  # fmt: skip

    def first_bytes(self, topic: str) -> set[bytes]:
        """Those of every committed value."""
        with HistoryReader(self.kafka) as reader:
            records = [each for number in range(PARTITIONS) for each in reader.read(topic, number)]
        return {(record.value or b"")[:1] for record in records}

    def send(self, client: Client, id: str, amount: int, key: str | None = None) -> Any:
        return client.send(self.app.Account, id, self.app.Deposit(amount), idempotency_key=key, timeout=30)

    def end(self) -> None:
        for worker in self._workers:
            worker.end()
            print(worker.log(whole=True)[-4000:])


@pytest.fixture
def stage(kafka: str, database_url: str, registry: RegistryServer, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(kafka, database_url, registry, tmp_path)
    yield made
    made.end()


SINGLE, BY_ID = b"\xc3", b"\0"


def test_everything_is_written_with_ids_and_read_back(stage: Stage) -> None:
    worker = stage.open_worker(**stage.with_registry)
    with stage.client(stage.registry.url) as client:
        assert stage.send(client, "alice", 5, "k").events == (stage.app.Deposited(5),)
        again = stage.send(client, "alice", 5, "k")
        assert (again.duplicate, again.events) == (True, (stage.app.Deposited(5),))
        with pytest.raises(Exception, match="handler-failed"):
            client.send(stage.app.Account, "alice", stage.app.Poison(), timeout=30)
        account = client.get(stage.app.Account, "alice")
        assert account is not None
        assert account.balance == 5
    for topic in (
        commands_topic(stage.name, "account"), events_topic(stage.name, "account"), replies_topic(stage.name),
        dead_letter_topic(stage.name),
    ):  # fmt: skip
        assert stage.first_bytes(topic) == {BY_ID}, topic
    subjects = set(stage.registry.subjects())
    space = f"{stage.name.replace('-', '_')}.account"
    assert {
        f"{stage.name}.account.commands-{space}.Deposit", f"{stage.name}.account.events-{space}.Deposited",
        f"{stage.name}.account.events-eventsrc.Barrier", f"{stage.name}.replies-eventsrc.Reply",
    } <= subjects  # fmt: skip
    for words, seen in (
        (["show", "account", "alice"], '"balance": 5'), (["log", "account", "alice"], "Deposited"),
        (["tail", "--commands", "--since", "-10m", "--no-follow"], "Poison"), (["replay", "--until", "end"], "digest"),
        (["replay", "--until", "end", "--compare"], ""), (["fsck"], '"sound": true'),
    ):  # fmt: skip
        done = stage.run(*words, "--json", environment=stage.with_registry)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        assert seen in done.stdout
        assert "unreadable" not in done.stdout
    assert worker.drain() == 0


def test_topics_of_both_framings_are_one_history(stage: Stage) -> None:
    worker = stage.open_worker()
    with stage.client(None) as client:
        stage.send(client, "alice", 5, "k")
    assert worker.drain() == 0
    worker = stage.open_worker(**stage.with_registry)
    with stage.client(stage.registry.url) as client:
        again = stage.send(client, "alice", 5, "k")  # the same command in another framing
        assert (again.duplicate, again.sequence) == (True, 1)
        assert stage.send(client, "alice", 7).sequence == 2
        with pytest.raises(Exception, match="payload"):
            stage.send(client, "alice", 6, "k")
        account = client.get(stage.app.Account, "alice")
        assert account is not None
        assert account.balance == 12
        assert [each.event for each in client.history(stage.app.Account, "alice")] == [
            stage.app.Deposited(5), stage.app.Deposited(7),
        ]  # fmt: skip
    assert stage.first_bytes(events_topic(stage.name, "account")) == {SINGLE, BY_ID}
    assert stage.first_bytes(commands_topic(stage.name, "account")) == {SINGLE, BY_ID}
    worker.kill()
    worker = stage.open_worker(state="elsewhere", **stage.with_registry)  # nothing is cached there
    with stage.client(stage.registry.url) as client:
        assert stage.send(client, "alice", 1).sequence == 3
    compared = stage.run("replay", "--until", "end", "--compare", environment=stage.with_registry)
    assert compared.returncode == 0, compared.stdout + compared.stderr


def test_a_start_without_the_registry_needs_what_was_kept(stage: Stage) -> None:
    worker = stage.open_worker(**stage.with_registry)
    assert worker.drain() == 0
    with stage.client(stage.registry.url) as client:
        client.submit(stage.app.Account, "alice", stage.app.Deposit(5), timeout=60)
        stage.registry.pause()
        try:
            new = stage.worker(state="new", **stage.with_registry)
            assert new.wait_ended(60) == 3
            assert "the schema registry at" in new.log()
            assert "Traceback" not in new.log()
            worker = stage.open_worker(**stage.with_registry)
            worker.wait_log(
                r"of a schema not known here \(the registry's id \d+\)", 30
            )  # the command's: it is not one of its own
        finally:
            stage.registry.resume()
        assert stage.send(client, "alice", 7).sequence == 2
    assert worker.drain() == 0


def test_a_schema_that_the_registry_refuses_ends_the_start(stage: Stage) -> None:
    space = f"{stage.name.replace('-', '_')}.account"
    other = {
        "type": "record", "name": "Deposited", "namespace": space,
        "fields": [{"name": "meta", "type": "string"}, {"name": "amount", "type": "string"}],
    }  # fmt: skip
    stage.registry.register(f"{stage.name}.account.events-{space}.Deposited", other)
    worker = stage.worker(**stage.with_registry)
    assert worker.wait_ended(60) == 5
    assert f"registering {stage.name}.account.events-{space}.Deposited" in worker.log()
    assert "ncompatible" in worker.log()


def test_what_is_configured_wrongly_is_said(stage: Stage) -> None:
    worker = stage.worker(SCHEMA_REGISTRY_URL="localhost:8081")
    assert worker.wait_ended(60) == 2
    assert "SCHEMA_REGISTRY_URL must be" in worker.log()
    worker = stage.worker(SCHEMA_REGISTRY_URL="http://me:hunter2@127.0.0.1:1")
    assert worker.wait_ended(60) == 3
    assert "the schema registry at http://127.0.0.1:1 does not answer" in worker.log()
    assert "hunter2" not in worker.log()

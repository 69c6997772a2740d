"""A broker with TLS, SCRAM users and an authorizer: what each role can do with the least rights, and what it says without
one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from eventsrc import Client, CommandFailed, NotAuthorized, Unreachable
from eventsrc.adapters.kafka.command_producer import CommandProducer, NotDelivered
from eventsrc.adapters.kafka.config import client_config
from eventsrc.adapters.kafka.events_reader import EventsReader, events_reader_config
from eventsrc.adapters.kafka.rights import Right, Role, rights_of
from eventsrc.adapters.kafka.topics import create_topics
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import AccessDenied
from eventsrc.localstack.distribution import KafkaDistribution
from eventsrc.model.names import events_topic
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.position import Position
from eventsrc.runtime.settings import Settings
from tests.harness import bank
from tests.harness.applications import load_application
from tests.harness.brokers import unique
from tests.harness.collect import wait_until
from tests.harness.secured import SecuredBroker, authority, secured_broker
from tests.harness.workers import OPEN, ROOT, Worker

PARTITIONS = 2
PASSWORD = "hunter2-of-the-test"


@pytest.fixture(scope="module")
def secured(kafka_distribution: KafkaDistribution, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    with secured_broker(tmp_path_factory.mktemp("secured"), kafka_distribution) as broker:
        yield broker


class Stage:
    """A pipeline of its own with topics, whose users get rights by the product's table."""

    def __init__(self, broker: SecuredBroker, directory: Path) -> None:
        self.broker = broker
        self.name = unique("safe")
        self._directory = directory
        self.environment = {"EVENTSRC_TEST_PIPELINE": self.name, "EVENTSRC_TEST_PARTITIONS": str(PARTITIONS)}
        self.application = load_application(bank.__name__, **self.environment)
        self.pipeline: Pipeline = self.application.pipeline
        create_topics(self.pipeline, broker.plain)
        self._workers: list[Worker] = []

    def user(self, role: Role, without: Right | None = None) -> dict[str, str]:
        """A new user's client settings; it has the role's rights, but for one."""
        name = unique(role)
        settings = self.broker.add_user(name, PASSWORD)
        self.broker.allow(name, [_plain(right) for right in rights_of(self.pipeline, role) if right != without])
        return settings

    def worker(self, kafka: Mapping[str, str], instance: str = "one", fault: str = "", **environment: str) -> Worker:
        directory = self._directory / unique("worker")
        directory.mkdir()
        address = {"KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap_servers}
        worker = Worker(
            "tests.harness.bank:pipeline", instance, directory,
            {**self.environment, **address, **variables(kafka), **environment},
        )  # fmt: skip
        self._workers.append(worker)
        worker.start(fault)
        return worker

    def client(self, kafka: Mapping[str, str]) -> Client:
        settings = Settings(
            bootstrap_servers=self.broker.bootstrap_servers, kafka=kafka, schemas_dir=self._directory / "schemas"
        )
        return Client(self.pipeline, settings=settings)

    def run(self, *words: str, kafka: Mapping[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "eventsrc", *words],
            capture_output=True, text=True, timeout=90, check=False, cwd=self._directory,
            env={
                **os.environ, "PYTHONPATH": str(ROOT), "EVENTSRC_APP": "tests.harness.bank:pipeline",
                "KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap_servers,
                **self.environment, **variables(kafka), **environment,
            },
        )  # fmt: skip

    def end(self) -> None:
        for worker in self._workers:
            worker.end()
            print(worker.log(whole=True)[-3000:])


@pytest.fixture
def stage(secured: SecuredBroker, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(secured, tmp_path)
    yield made
    made.end()


def variables(kafka: Mapping[str, str]) -> dict[str, str]:
    return {f"EVENTSRC_KAFKA_{name.upper().replace('.', '_')}": value for name, value in kafka.items()}


def _plain(right: Right) -> tuple[str, str, str, bool]:
    return right.operation, right.kind, right.name, right.prefixed


def each_of(role: Role, *but: str) -> pytest.MarkDecorator:
    """Every right that is not optional, by its place in the table: the pipeline is made in the test."""
    cases = [
        pytest.param(index, id=str(right))
        for index, right in enumerate(rights_of(bank.pipeline, role))
        if not right.optional and str(right) not in but
    ]
    return pytest.mark.parametrize("number", cases)


def send(client: Client, application: Any, id: str, amount: int) -> int:
    return client.send(application.Account, id, application.Deposit(amount), timeout=30).sequence


def test_a_worker_and_a_client_do_all_they_must_with_the_least_rights(stage: Stage, database_url: str) -> None:
    app, kafka = stage.application, stage.user("worker")
    database = {"DATABASE_URL": database_url}
    assert stage.run("db", "upgrade", kafka={}, **database).returncode == 0
    # killed with a transaction open: the second worker must end that itself, long before it times out
    worker = stage.worker(kafka, fault="after-send-offsets:8", **database)
    with stage.client(stage.user("client")) as client:
        assert send(client, app, "alice", 5) == 1
        failed = client.submit(app.Account, "alice", app.Poison(), timeout=60)
        with pytest.raises(CommandFailed, match="handler-failed"):
            failed.result(60)
        done = stage.run("checkpoint", "now", kafka=stage.user("reader"), **database)
        assert done.returncode == 0, done.stdout + done.stderr
        sent = 0
        while worker.running:
            last = client.submit(app.Account, "alice", app.Deposit(1), timeout=60)
            sent += 1
            time.sleep(0.1)
        assert worker.wait_ended(5) == -signal.SIGKILL
        successor = stage.worker(kafka, "two", **database)
        assert last.result(60).sequence == 1 + sent
        assert "fencing instance one" in successor.log()
        account = client.get(app.Account, "alice")
        assert account is not None
        assert account.balance == 5 + sent
        assert len(client.history(app.Account, "alice")) == 1 + sent
    assert successor.drain() == 0
    assert "Authorization" not in worker.log(whole=True) + successor.log(whole=True)
    assert "may not" not in successor.log(whole=True)


@each_of("worker")
def test_a_worker_without_one_right_ends_at_once_and_names_it(stage: Stage, number: int) -> None:
    missing = rights_of(stage.pipeline, "worker")[number]
    kafka = stage.user("worker", without=missing)
    worker = stage.worker(kafka)
    assert worker.wait_ended(30) == 1
    said = worker.log()
    assert f"error: Kafka refuses User:{kafka['sasl.username']} what it needs: {missing}" in said
    assert f"--operation {missing.operation} --{missing.kind} {missing.name}" in said
    assert "Traceback" not in said


# a running worker reads no events: see the test after the next
@each_of("worker", f"Read on topic {events_topic(bank.pipeline.name, 'account')}")
def test_a_right_that_is_taken_from_a_running_worker_ends_it_and_is_named(stage: Stage, number: int) -> None:
    missing = rights_of(stage.pipeline, "worker")[number]
    kafka = stage.user("worker")
    worker = stage.worker(kafka)
    wait_until(lambda: worker.log().count(OPEN) >= PARTITIONS, 60, "its partitions are open")
    with stage.client(stage.user("client")) as client:
        app = stage.application
        assert send(client, app, "alice", 5) == 1
        stage.broker.withdraw(kafka["sasl.username"], [_plain(missing)])
        client.submit(app.Account, "alice", app.Poison(), timeout=5)
        client.submit(app.Account, "alice", app.Deposit(1), timeout=5)
        assert worker.wait_ended(40) == 1
    assert str(missing) in worker.log()
    assert f"--operation {missing.operation} --{missing.kind} {missing.name}" in worker.log()


def test_a_takeover_that_may_not_read_the_log_is_denied(stage: Stage) -> None:
    kafka = stage.user("client")
    topic = events_topic(stage.name, "account")
    stage.broker.withdraw(kafka["sasl.username"], [("Read", "topic", topic, False)])
    stage.broker.allow(kafka["sasl.username"], [("Describe", "topic", topic, False)])
    config = events_reader_config(client_config(stage.broker.bootstrap_servers, kafka), "none")
    reader = EventsReader(config, {"account": topic}, lambda key, reason: None)
    reader.start(PartitionKey("account", 0), Position(0))
    with pytest.raises(AccessDenied, match="reading events"):
        wait_until(lambda: bool(reader.poll(10, 0.1)), 20, "the broker refuses")
    reader.close()


def test_without_the_right_to_end_anothers_transaction_it_is_waited_for(stage: Stage) -> None:
    app = stage.application
    (of_group,) = [right for right in rights_of(stage.pipeline, "worker") if right.kind == "transactional-id"]
    alone = stage.user("worker", without=of_group)
    own = (of_group.operation, of_group.kind, f"{of_group.name}two", False)
    stage.broker.allow(alone["sasl.username"], [own])
    worker = stage.worker(stage.user("worker"), fault="after-send-offsets:5")
    with stage.client(stage.user("client")) as client:
        sent = 0
        while worker.running:
            last = client.submit(app.Account, "alice", app.Deposit(1), timeout=90)
            sent += 1
            time.sleep(0.1)
        successor = stage.worker(alone, "two")
        assert last.result(90).sequence == sent
    assert "its earlier owner's transaction cannot be ended, and is waited for" in successor.log()
    assert successor.drain() == 0


def test_what_is_optional_is_said_and_gone_without(stage: Stage) -> None:
    name = unique("worker")
    kafka = stage.broker.add_user(name, PASSWORD)
    needed = [right for right in rights_of(stage.pipeline, "worker") if not right.optional]
    stage.broker.allow(name, [_plain(right) for right in needed])
    worker = stage.worker(kafka)
    worker.wait_log(OPEN, 30)
    assert "DescribeConfigs" in worker.log()
    assert worker.drain() == 0


@each_of("client")
def test_a_client_without_one_right_is_told_which(stage: Stage, number: int) -> None:
    missing = rights_of(stage.pipeline, "client")[number]
    worker = stage.worker(stage.user("worker"))
    worker.wait_log(OPEN, 30)
    app, kafka = stage.application, stage.user("client", without=missing)
    with stage.client(kafka) as client, pytest.raises(NotAuthorized) as refused:
        _send_and_get(client, app)
    assert f"User:{kafka['sasl.username']}" in str(refused.value)
    # without any right on a topic, it may not even be looked at: that right is named then, which the missing one implies
    assert f"{missing.kind} {missing.name}" in str(refused.value)


def _send_and_get(client: Client, application: Any) -> None:
    send(client, application, "alice", 5)
    client.get(application.Account, "alice")


def test_reading_needs_no_right_to_write(stage: Stage) -> None:
    app = stage.application
    stage.worker(stage.user("worker"))
    with stage.client(stage.user("client")) as client:
        send(client, app, "alice", 5)
    kafka = stage.user("reader")
    for words in (
        ["show", "account", "alice"], ["log", "account", "alice"], ["replay", "--until", "end"],
        ["tail", "--since", "-10m", "--no-follow"], ["topics", "verify"], ["status"],
    ):  # fmt: skip
        done = stage.run(*words, "--json", kafka=kafka)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    refused = stage.run("send", "account", "alice", "Deposit", '{"amount": 1}', kafka=kafka)
    assert refused.returncode == 1
    # Kafka refuses the fetch of answers and the producer, in either order
    lacked = (f"Read on topic {stage.name}.replies", f"Write on topic {stage.name}.account.commands")
    assert any(right in refused.stderr for right in lacked), refused.stderr


def _not_reported(failure: NotDelivered) -> None:
    raise AssertionError(f"nothing was sent: {failure}")


def test_a_producer_that_is_refused_before_it_sends_says_so_and_closes(stage: Stage) -> None:
    topic, kafka = f"{stage.name}.account.commands", stage.user("reader")
    producer = CommandProducer(stage.broker.bootstrap_servers, kafka, _not_reported)
    producer.partition_count(topic)
    refusals: list[NotAuthorized] = []

    def told() -> bool:
        try:
            producer.poll()
        except NotAuthorized as refusal:
            refusals.append(refusal)
        return bool(refusals)

    wait_until(told, 20, "the producer to be refused")
    assert f"Write on topic {topic}" in str(refusals[0])
    with pytest.raises((NotAuthorized, Unreachable)):
        producer.produce(topic, 0, b"alice", b"never sent")
    producer.close()
    unasked = CommandProducer(stage.broker.bootstrap_servers, kafka, _not_reported)
    unasked.partition_count(topic)
    time.sleep(1.0)  # refused by now, and nobody asked
    unasked.close()


@each_of("reader")
def test_a_reader_without_one_right_is_told_which(stage: Stage, number: int) -> None:
    missing = rights_of(stage.pipeline, "reader")[number]
    kafka = stage.user("reader", without=missing)
    said = ""
    for words in (
        ["topics", "verify"],
        ["replay", "--until", "end"],
        ["tail", "--commands", "--since", "-1m", "--no-follow"],
        ["status"],
    ):
        done = stage.run(*words, kafka=kafka)
        said += done.stdout + done.stderr
        if done.returncode:
            break
    else:
        raise AssertionError(f"nothing failed without {missing}:\n{said}")
    assert f"{missing.kind} {missing.name}" in said


def test_an_operator_creates_topics_and_without_the_right_is_told(stage: Stage) -> None:
    environment = {**stage.environment, "EVENTSRC_TEST_PIPELINE": unique("fresh")}
    stage.environment = environment
    stage.pipeline = load_application(bank.__name__, **environment).pipeline
    refused = stage.run("topics", "create", kafka=stage.user("client"))
    assert refused.returncode == 1
    assert f"Create on topic {stage.pipeline.name}.account.commands" in refused.stderr
    operator = stage.user("operator")
    assert stage.run("topics", "create", kafka=operator).returncode == 0
    assert stage.run("topics", "verify", kafka=operator).returncode == 0


def test_an_operator_sends_a_dead_letter_again_and_a_reader_may_not(stage: Stage) -> None:
    app = stage.application
    stage.worker(stage.user("worker"))
    with stage.client(stage.user("client")) as client, pytest.raises(CommandFailed):
        client.send(app.Account, "alice", app.Poison(), timeout=60)
    refused = stage.run("dlq", "retry", "--all", "--yes", kafka=stage.user("reader"))
    assert refused.returncode == 1
    assert f"Write on transactional-id {stage.name}.dlq" in refused.stderr
    done = stage.run("dlq", "retry", "--all", "--yes", kafka=stage.user("operator"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_doctor_tries_a_broker_with_its_own_rights_and_says_which_login_is_refused(stage: Stage) -> None:
    kafka = stage.user("doctor")
    done = stage.run("doctor", "--json", kafka=kafka)
    found = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    assert {name: found[name]["verdict"] for name in ("kafka", "transaction", "fencing")} == {
        "kafka": "ok", "transaction": "ok", "fencing": "ok",
    }, found  # fmt: skip
    refused = stage.run("doctor", "--json", kafka={**kafka, "sasl.password": "wrong"})
    assert refused.returncode == 3
    assert "refuses the login" in refused.stdout


def test_the_printed_rights_are_those_of_the_table(stage: Stage) -> None:
    done = stage.run("topics", "acls", "--principal", "User:app", "--role", "worker", kafka={})
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == len(rights_of(stage.pipeline, "worker"))
    assert f"--allow-principal User:app --operation Read --group {stage.name}  #" in done.stdout
    printed = json.loads(stage.run("topics", "acls", "--principal", "User:app", "--json", kafka={}).stdout)
    assert [(each["operation"], each["name"]) for each in printed] == [
        (right.operation, right.name) for right in rights_of(stage.pipeline, "worker")
    ]
    nobody = stage.run("topics", "acls", kafka={})
    assert nobody.returncode == 2
    assert "--principal" in nobody.stderr


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sasl.password": "wrong-" + PASSWORD}, "refuses the login"),
        ({"sasl.mechanism": "PLAIN"}, "refuses the login"),
        ({"ssl.ca.location": "another authority"}, "TLS handshake"),
        ({"security.protocol": "PLAINTEXT"}, "may want TLS"),
        ({"security.protocol": "SASL_PLAINTEXT"}, "may want TLS"),
        ({"bootstrap.servers": "the plain listener"}, "does not speak TLS"),
    ],
)
def test_a_handshake_that_fails_says_why(stage: Stage, changed: dict[str, str], words: str, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(authority("another").pem())
    places = {"another authority": str(other), "the plain listener": stage.broker.plain}
    kafka = {**stage.user("worker"), **{name: places.get(value, value) for name, value in changed.items()}}
    address = kafka.pop("bootstrap.servers", stage.broker.bootstrap_servers)
    done = stage.run("run", "--log-level", "debug", kafka=kafka, KAFKA_BOOTSTRAP_SERVERS=address)
    assert done.returncode == 3
    *_, said, where_explained = done.stderr.splitlines()
    assert said.startswith("error: Kafka at ")
    assert words in said
    assert where_explained == "see: docs/errors.md#unreachable"
    with pytest.raises(Unreachable, match=words):
        Client(stage.pipeline, settings=Settings(bootstrap_servers=address, kafka=kafka)).send(
            stage.application.Account, "alice", stage.application.Deposit(1)
        )


def test_no_secret_is_ever_printed(stage: Stage, tmp_path: Path) -> None:
    kafka = stage.user("worker")
    talkative = {**kafka, "debug": "all"}
    done = stage.run("--debug", "topics", "verify", "--log-level", "debug", kafka=talkative)
    assert done.returncode == 0
    said = [done.stdout, done.stderr, repr(Settings(kafka=talkative))]
    said.append(stage.run("--debug", "topics", "verify", kafka={**talkative, "sasl.username": "nobody"}).stderr)
    key = tmp_path / "key.pem"
    key.write_bytes(stage.broker.authority.client_pem("app", b"another password")[1])
    with_key = {**kafka, "ssl.key.location": str(key), "ssl.key.password": "wrong-" + PASSWORD}
    refused = stage.run("--debug", "topics", "verify", kafka=with_key)
    assert refused.returncode == 2
    assert "ssl.key.location" in refused.stderr
    said.append(refused.stderr)
    worker = stage.worker(kafka, EVENTSRC_LOG_LEVEL="debug")
    worker.wait_log(OPEN, 30)
    said.append(worker.log())
    state = [
        path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file() and path != key
    ]
    assert state, "the worker left files to look into"
    assert not [text for text in (*said, *state) if PASSWORD in text]


def test_a_client_certificate_with_an_encrypted_key_is_a_login(stage: Stage, tmp_path: Path) -> None:
    stage.broker.allow("CN=app", [_plain(right) for right in rights_of(stage.pipeline, "reader")])
    ca = {"security.protocol": "SSL", "ssl.ca.location": str(stage.broker.ca)}
    address = {"KAFKA_BOOTSTRAP_SERVERS": stage.broker.mutual}
    codes = {}
    for name, signing in (("ours", stage.broker.authority), ("another", authority("another"))):
        certificate, key = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        shown, private = signing.client_pem("app", PASSWORD.encode())
        certificate.write_bytes(shown)
        key.write_bytes(private)
        login = {
            "ssl.certificate.location": str(certificate),
            "ssl.key.location": str(key),
            "ssl.key.password": PASSWORD,
        }
        done = stage.run("topics", "verify", kafka={**ca, **login}, **address)
        assert PASSWORD not in done.stdout + done.stderr
        codes[name] = done.returncode
    assert codes == {"ours": 0, "another": 3}
    anonymous = stage.run("topics", "verify", kafka=ca, **address)
    assert anonymous.returncode == 3
    assert "does not complete the TLS handshake" in anonymous.stderr
    assert "ssl.certificate.location" in anonymous.stderr

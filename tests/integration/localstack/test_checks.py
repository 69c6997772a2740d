"""`eventsrc doctor` on real services: all well, nobody there, and a broker that refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from eventsrc.adapters.kafka.config import client_config
from eventsrc.cli.main import run
from eventsrc.localstack.check import Check
from eventsrc.localstack.checks import exit_code, run_checks
from eventsrc.localstack.kafka import KafkaBroker
from eventsrc.localstack.kafka_checks import check_kafka
from eventsrc.localstack.services import Service, Services
from eventsrc.localstack.stack import LocalStack
from eventsrc.runtime.running_stack import find_running_stack
from tests.harness.collect import wait_until


def _by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_everything_is_well_on_given_services_and_nothing_is_left_behind(
    kafka: str, database_url: str, tmp_path: Path
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    before = admin.list_topics(timeout=20).topics.keys()  # one that was interrupted may have left its own
    given = Services(Service(kafka, "given"), Service(database_url, "given"))
    checks = list(run_checks(LocalStack(tmp_path), given, {}))
    assert {check.name: check.verdict.value for check in checks} == dict.fromkeys(
        ["python", "state", "open files", "kafka", "transaction", "fencing", "postgres", "tables"], "ok"
    )
    assert exit_code(checks) == 0

    def left_behind() -> list[str]:
        found = admin.list_topics(timeout=20).topics.keys() - before
        return [name for name in found if name.startswith("eventsrc-doctor")]

    wait_until(lambda: not left_behind(), 20, "the broker knows that they are gone: the controller answers before")
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_the_release_of_a_real_broker_is_known(kafka: str) -> None:
    assert check_kafka(client_config(kafka), "here")[0].text.startswith("4.4, 1 broker, here")


def test_a_stack_is_started_for_the_check_and_stopped(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path)
    checks = _by_name(list(run_checks(stack, Services(None, None), {})))
    assert "started for this check" in checks["kafka"].text
    assert checks["java"].verdict == checks["fencing"].verdict == checks["tables"].verdict == "ok"
    assert stack.attach() is None
    stack.wipe()


def test_given_services_that_do_not_answer_are_unreachable(tmp_path: Path) -> None:
    given = Services(Service("127.0.0.1:1", "given"), Service("postgresql://u:secret@127.0.0.1:1/x", "given"))
    checks = list(run_checks(LocalStack(tmp_path), given, {"socket.connection.setup.timeout.ms": "1000"}))
    found = _by_name(checks)
    assert found["kafka"].verdict == found["postgres"].verdict == "unreachable"
    assert found["transaction"].verdict == found["fencing"].verdict == found["tables"].verdict == "skipped"
    assert exit_code(checks) == 3
    assert "secret" not in repr(checks)


def test_a_broker_on_which_no_topic_can_be_created_is_a_failure(own_broker: Callable[..., KafkaBroker]) -> None:
    policy = {"default.replication.factor": "3"}
    broker = own_broker(properties=policy).start()
    checks = _by_name(check_kafka(client_config(broker.bootstrap_servers), "here"))
    assert checks["transaction"].verdict == "failed"
    assert checks["transaction"].mend is not None
    assert checks["fencing"].verdict == "skipped"


def test_settings_find_the_running_stack_where_it_says_it_is(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path)
    try:
        services = stack.start()
        found = find_running_stack(tmp_path)
        assert found is not None
        assert found.bootstrap_servers == services.bootstrap_servers
        assert found.database_url == services.database_url
    finally:
        stack.stop()
    assert find_running_stack(tmp_path) is None
    stack.wipe()


def test_the_command_prints_a_line_for_each_finding_with_its_mend(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENTSRC_BOOTSTRAP_SERVERS", kafka)
    monkeypatch.setenv("EVENTSRC_DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/x")
    assert run(["doctor"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert any(re.match(r"ok +fencing +a second producer", line) for line in lines)
    (number,) = (index for index, line in enumerate(lines) if line.startswith("unreachable"))
    assert "postgresql://u:***@127.0.0.1:1/x, given" in lines[number]
    assert lines[number + 1].strip().startswith("next: check that it runs")


def test_the_command_prints_one_object_for_programs(
    kafka: str,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENTSRC_BOOTSTRAP_SERVERS", kafka)
    monkeypatch.setenv("EVENTSRC_DATABASE_URL", database_url)
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert {check["verdict"] for check in found["checks"]} == {"ok"}
    assert "transaction" in {check["name"] for check in found["checks"]}

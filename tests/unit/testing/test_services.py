"""Where a session's services come from. Docker and testcontainers are played: what runs in containers was not run here."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from eventsrc.localstack.problems import StackUnavailable
from eventsrc.localstack.services import Service, Services
from eventsrc.testing import services
from eventsrc.testing.services import provided_services

NOTHING = Services(None, None)
KAFKA, POSTGRES = Service("kafka:9092", "given"), Service("postgresql://there/db", "given")


class PlayedContainer:
    """Of testcontainers, as far as it is used."""

    lives: list[str]

    def __init__(self, image: str, **options: Any) -> None:
        self.image, self.options, self.environment = image, options, dict[str, str]()
        self.kraft = False

    def with_kraft(self) -> Self:
        self.kraft = True
        return self

    def with_env(self, name: str, value: str) -> Self:
        self.environment[name] = value
        return self

    def __enter__(self) -> Self:
        self.lives.append(f"{self.image} started")
        return self

    def __exit__(self, *ended: object) -> None:
        self.lives.append(f"{self.image} ended")

    def get_bootstrap_server(self) -> str:
        assert self.kraft
        assert self.environment["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"] == "1"
        return "127.0.0.1:32768"

    def get_connection_url(self) -> str:
        assert self.options == {"driver": None}
        return "postgresql://test:test@127.0.0.1:32769/test"


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[str]]:
    """Installs a Docker that answers, or does not; returns what becomes of containers."""

    def install(answers: bool) -> list[str]:
        lives: list[str] = []
        monkeypatch.setattr(PlayedContainer, "lives", lives, raising=False)

        def from_env(timeout: int) -> Any:
            assert timeout == 2
            return types.SimpleNamespace(ping=ping)

        def ping() -> bool:
            if not answers:
                raise ConnectionError("connection refused")
            return True

        played: dict[str, dict[str, Any]] = {
            "docker": {"from_env": from_env},
            "testcontainers.community.kafka": {"KafkaContainer": PlayedContainer},
            "testcontainers.community.postgres": {"PostgresContainer": PlayedContainer},
        }
        for name, attributes in played.items():
            module = types.ModuleType(name)
            vars(module).update(attributes)
            monkeypatch.setitem(sys.modules, name, module)
        return lives

    return install


@pytest.mark.parametrize("containers", [True, False])
def test_given_addresses_win(containers: bool) -> None:
    with provided_services(containers=containers, given=Services(KAFKA, POSTGRES)) as found:
        assert found == Services(KAFKA, POSTGRES)


def test_containers_where_they_are_asked_for(docker: Callable[[bool], list[str]]) -> None:
    lives = docker(True)
    with provided_services(containers=True, given=NOTHING) as found:
        assert (found.bootstrap_servers, found.database_url) == (
            "127.0.0.1:32768",
            "postgresql://test:test@127.0.0.1:32769/test",
        )
        assert lives == [f"{services.KAFKA_IMAGE} started", f"{services.POSTGRES_IMAGE} started"]
    assert lives[2:] == [f"{services.POSTGRES_IMAGE} ended", f"{services.KAFKA_IMAGE} ended"]


def test_only_what_is_not_given_is_started(docker: Callable[[bool], list[str]]) -> None:
    lives = docker(True)
    with provided_services(containers=True, given=Services(KAFKA, None)) as found:
        assert found.kafka == KAFKA
        assert found.database_url.startswith("postgresql://test")
    assert lives == [f"{services.POSTGRES_IMAGE} started", f"{services.POSTGRES_IMAGE} ended"]


def test_a_docker_that_does_not_answer_is_an_error(docker: Callable[[bool], list[str]]) -> None:
    lives = docker(False)
    with (
        pytest.raises(StackUnavailable, match=r"does not answer within 2 s: connection refused\n  next: start Docker"),
        provided_services(containers=True, given=NOTHING),
    ):
        pass
    assert lives == []


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    with (
        pytest.raises(StackUnavailable, match=r"(?s)docker is not installed.*pip install 'eventsrc\[containers\]'"),
        provided_services(containers=True, given=NOTHING),
    ):
        pass


def test_a_local_stack_otherwise(monkeypatch: pytest.MonkeyPatch, docker: Callable[[bool], list[str]]) -> None:
    lives = docker(True)

    @contextmanager
    def played(given: Services, report: object) -> Any:
        yield Services(given.kafka or Service("local:1", "started"), given.postgres)

    monkeypatch.setattr(services, "_local_stack", played)
    with provided_services(given=Services(None, POSTGRES)) as found:
        assert found.bootstrap_servers == "local:1"
    assert lives == []


def run_pytest(directory: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "eventsrc.testing.pytest_plugin", "-p", "no:cacheprovider"]
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": ":".join([str(Path(__file__).parents[3]), *sys.path]),
        "DOCKER_HOST": "tcp://127.0.0.1:1",
    }
    return subprocess.run(
        [*command, *options], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def test_the_plugin_fails_a_test_whose_scenario_asserts_nothing(tmp_path: Path) -> None:
    text = """\
from eventsrc.testing import scenario
from examples.bank.app import Account, Open, Opened

def test_nothing():
    scenario(Account).when(Open("Ada"))

def test_something():
    scenario(Account).when(Open("Ada")).then(Opened("Ada"))
"""
    done = run_pytest(tmp_path, text)
    assert "1 failed, 1 passed" in done.stdout
    assert "test_it.py:5: scenario(Account) asserts nothing" in done.stdout


def test_the_plugin_says_why_there_are_no_containers(tmp_path: Path) -> None:
    pytest.importorskip("docker")
    done = run_pytest(tmp_path, "def test_it(eventsrc_services): pass\n", "--eventsrc-containers")
    assert "1 error" in done.stdout
    assert "Docker does not answer within 2 s: " in done.stdout
    assert "next: start Docker; or leave --eventsrc-containers out" in done.stdout

"""Where a test session's Kafka and Postgres come from: given addresses, else containers if they are asked for, else a local
stack. Owns their lives: what was started ends with the session."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from eventsrc.localstack.problems import StackUnavailable
from eventsrc.localstack.services import Service, Services
from eventsrc.localstack.stack import LocalStack, given_services, resolve_services

DOCKER_ANSWERS_WITHIN_S = 2
KAFKA_IMAGE = "confluentinc/cp-kafka:7.6.0"
POSTGRES_IMAGE = "postgres:18"

Report = Callable[[str], None]


@contextmanager
def provided_services(
    *, containers: bool = False, given: Services | None = None, report: Report = print
) -> Iterator[Services]:
    """Each service where its address is given (`KAFKA_BOOTSTRAP_SERVERS`, `DATABASE_URL`); what is missing is started. Raises
    `StackUnavailable`: nothing is tried in place of what was asked for."""
    given = given_services() if given is None else given
    missing = given.missing(frozenset({"kafka", "postgres"}))
    if not missing:
        yield given
    elif containers:
        with _containers(missing) as started:
            yield Services(given.kafka or started.kafka, given.postgres or started.postgres)
    else:
        with _local_stack(given, report) as resolved:
            yield resolved


@contextmanager
def _local_stack(given: Services, report: Report) -> Iterator[Services]:
    directory = Path(tempfile.mkdtemp(prefix="eventsrc-tests-"))
    directory.chmod(0o755)  # run by root, Postgres has another account, which must get in
    stack = LocalStack(directory, report=report)
    try:
        yield resolve_services(stack, given)
    finally:
        stack.stop()
        stack.wipe()
        shutil.rmtree(directory)


@contextmanager
def _containers(missing: frozenset[str]) -> Iterator[Services]:
    check_docker()
    with ExitStack() as started:
        kafka = Service(started.enter_context(_kafka_container()), "started") if "kafka" in missing else None
        postgres = Service(started.enter_context(_postgres_container()), "started") if "postgres" in missing else None
        yield Services(kafka, postgres)


def check_docker() -> None:
    """Raises `StackUnavailable` unless testcontainers is installed and Docker answers within two seconds."""
    try:
        import docker  # type: ignore[import-untyped]  # it has none
        import testcontainers.community.kafka  # noqa: F401 - for the error
    except ImportError as error:
        raise StackUnavailable(
            f"containers were asked for, and {error.name} is not installed", "pip install 'eventsrc[containers]'"
        ) from error
    try:
        docker.from_env(timeout=DOCKER_ANSWERS_WITHIN_S).ping()
    except Exception as error:
        raise StackUnavailable(
            f"containers were asked for, and Docker does not answer within {DOCKER_ANSWERS_WITHIN_S} s: {error}",
            "start Docker; or leave --eventsrc-containers out, for a local stack; or set KAFKA_BOOTSTRAP_SERVERS and "
            "DATABASE_URL",
        ) from error


@contextmanager
def _kafka_container() -> Iterator[str]:
    from testcontainers.community.kafka import KafkaContainer

    container = KafkaContainer(KAFKA_IMAGE).with_kraft()
    for name in ("TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "TRANSACTION_STATE_LOG_MIN_ISR"):
        container = container.with_env(f"KAFKA_{name}", "1")  # one broker
    with container as kafka:
        yield kafka.get_bootstrap_server()


@contextmanager
def _postgres_container() -> Iterator[str]:
    from testcontainers.community.postgres import PostgresContainer

    with PostgresContainer(POSTGRES_IMAGE, driver=None) as postgres:
        yield postgres.get_connection_url()

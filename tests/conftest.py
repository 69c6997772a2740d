"""Fixtures that all tests share: real services for the whole session, names of one's own for each test.

`tests/integration` and `tests/fault` get their markers from where they stand.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import hypothesis
import pytest

from eventsrc.localstack.distribution import KafkaDistribution, prepare
from eventsrc.localstack.kafka import KafkaBroker
from eventsrc.localstack.provision import cache_directory
from eventsrc.localstack.services import Services
from eventsrc.localstack.training import train

pytest_plugins = ["eventsrc.testing.pytest_plugin"]

hypothesis.settings.register_profile("default", deadline=None, max_examples=100)
# The same examples in every run: a red build is red for its change.
hypothesis.settings.register_profile("ci", deadline=None, max_examples=60, derandomize=True, database=None)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=5_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))

_HERE = Path(__file__).parent
_MARKED_DIRECTORIES = ("integration", "fault", "registry")


def pytest_configure() -> None:
    """A shell that runs tests in the background ignores SIGINT for them and whatever they start, which tests send it to."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            directory = item.path.relative_to(_HERE).parts[0]
            if directory in _MARKED_DIRECTORIES:
                item.add_marker(directory)


@pytest.fixture(scope="session")
def services(eventsrc_services: Services) -> Services:
    """Kafka and Postgres, as every project that uses the plugin gets them."""
    return eventsrc_services


@pytest.fixture(scope="session")
def kafka(services: Services) -> str:
    """Bootstrap servers of a real broker, shared by the session: use topics and groups of your own."""
    return services.bootstrap_servers


@pytest.fixture(scope="session")
def postgres_server(services: Services) -> str:
    """URL of a real server's maintenance database. Tests want `database_url`."""
    return services.database_url


@pytest.fixture
def database_url(make_database: Callable[[str], AbstractContextManager[str]]) -> Iterator[str]:
    """URL of an empty database of the test's own; dropped after it, with whoever is still connected."""
    with make_database("test") as address:
        yield address


@pytest.fixture(scope="session")
def make_database(postgres_server: str) -> Callable[[str], AbstractContextManager[str]]:
    """Makes empty databases, each gone with its context: `with make_database("test") as address:`"""
    import psycopg
    from psycopg import sql

    @contextmanager
    def make(prefix: str) -> Iterator[str]:
        name = f"{prefix}_{uuid.uuid4().hex[:10]}"
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield _with_database(postgres_server, name)
        finally:
            with psycopg.connect(postgres_server, autocommit=True) as connection:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    return make


def _with_database(url: str, name: str) -> str:
    """The URL with its path replaced. By text: the standard library drops an empty host."""
    return re.sub(r"^([a-z+]+://[^/?]*)(/[^?]*)?", rf"\g<1>/{name}", url, count=1)


@pytest.fixture
def unique_name() -> Callable[[str], str]:
    """Makes names that no other test and no other run has: `unique_name("bank")` is `bank-1f0c...`."""
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def pipeline_name(unique_name: Callable[[str], str]) -> str:
    """A pipeline name of the test's own, so that its topics, group and transactional ids are too."""
    return unique_name("test")


@pytest.fixture
def topic(kafka: str, create_topic: Callable[..., str]) -> str:
    """A new topic of one partition."""
    return create_topic()


@pytest.fixture
def create_topic(kafka: str, unique_name: Callable[[str], str]) -> Callable[..., str]:
    """Creates a topic of the test's own and returns its name: `create_topic(partitions=8, config={...})`."""
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    def create(partitions: int = 1, config: dict[str, str] | None = None, prefix: str = "test") -> str:
        name = unique_name(prefix)
        admin = AdminClient({"bootstrap.servers": kafka})
        admin.create_topics([NewTopic(name, partitions, 1, config=config or {})])[name].result(30)
        return name

    return create


@pytest.fixture(scope="session")
def kafka_distribution() -> KafkaDistribution:
    """Kafka ready to start, for tests that run a broker of their own."""
    cache = cache_directory(fallback=Path(tempfile.gettempdir()) / f"eventsrc-cache-{os.getuid()}")
    return prepare(cache, print, train)


@pytest.fixture
def own_broker(kafka_distribution: KafkaDistribution, tmp_path: Path) -> Iterator[Callable[..., KafkaBroker]]:
    """Makes brokers of the test's own, to be killed, paused and restarted: `own_broker(properties={...}).start()`.

    Takes `KafkaBroker`'s keywords; `name` tells several apart. They are stopped after the test.
    """
    brokers: list[KafkaBroker] = []

    def make(name: str = "broker", **options: object) -> KafkaBroker:
        broker = KafkaBroker(tmp_path / name, kafka_distribution, **options)  # type: ignore[arg-type]  # passed through
        brokers.append(broker)
        return broker

    yield make
    for broker in brokers:
        broker.stop()

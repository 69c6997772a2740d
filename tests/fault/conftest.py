"""One broker and one Postgres with proxies in front for all fault tests of a session, and scenes with an application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventsrc.localstack.distribution import KafkaDistribution
from eventsrc.localstack.postgres import PostgresServer
from tests.fault.scene import SOON, Scene
from tests.harness.brokers import ProxiedBroker, proxied_broker, unique
from tests.harness.collect import Reader
from tests.harness.database import Database, fault_database, fault_server
from tests.harness.proxy import Proxy


@pytest.fixture(scope="session")
def cluster(kafka_distribution: KafkaDistribution, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedBroker]:
    with proxied_broker(tmp_path_factory.mktemp("kafka"), kafka_distribution) as broker:
        yield broker


@pytest.fixture(scope="session")
def reader(cluster: ProxiedBroker) -> Iterator[Reader]:
    reader = Reader(cluster.direct)
    yield reader
    reader.close()


@pytest.fixture
def proxy(cluster: ProxiedBroker) -> Iterator[Proxy]:
    """The session's proxy, without rules before and after."""
    cluster.proxy.clear()
    yield cluster.proxy
    cluster.proxy.clear()


@pytest.fixture
def scene(cluster: ProxiedBroker, reader: Reader, tmp_path: Path) -> Iterator[Scene]:
    """A pipeline of its own with topics and schemas; its workers are ended after the test. Their logs' ends are
    printed: pytest shows them where the test failed."""
    with Scene(cluster, reader, tmp_path) as made:
        yield made
        print(made.logs())


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with fault_server() as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Database]:
    with fault_database(postgres, unique("faults")) as made:
        yield made


@pytest.fixture
def stored_scene(cluster: ProxiedBroker, reader: Reader, tmp_path: Path, database: Database) -> Iterator[Scene]:
    """As `scene`, with snapshots, and settings by which many are taken within seconds."""
    with Scene(cluster, reader, tmp_path, database) as made:
        made.configure(**SOON)
        yield made
        print(made.logs())

"""Each suite runs twice: in memory, and on a real Kafka (marked `integration`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from eventsrc.localstack.distribution import KafkaDistribution
from tests.conformance.kafka_world import KafkaWorld
from tests.conformance.memory_world import MemoryWorld
from tests.conformance.world import World
from tests.harness.brokers import ProxiedBroker, proxied_broker
from tests.harness.collect import Reader

BOTH = ["memory", pytest.param("kafka", marks=pytest.mark.integration)]


@pytest.fixture(scope="session")
def _reader(kafka: str) -> Iterator[Reader]:
    reader = Reader(kafka)
    yield reader
    reader.close()


@pytest.fixture(scope="session")
def _proxied(
    kafka_distribution: KafkaDistribution, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxiedBroker]:
    with proxied_broker(tmp_path_factory.mktemp("conformance"), kafka_distribution) as broker:
        yield broker


@pytest.fixture(params=BOTH)
def world(request: pytest.FixtureRequest, unique_name: Callable[[str], str]) -> Iterator[World]:
    """A cluster with a pipeline of the test's own."""
    name = unique_name("conformance")
    made: World
    if request.param == "memory":
        made = MemoryWorld(name)
    else:
        made = KafkaWorld(name, request.getfixturevalue("kafka"), request.getfixturevalue("_reader"))
    yield made
    made.close()


@pytest.fixture(params=BOTH)
def silenceable_world(request: pytest.FixtureRequest, unique_name: Callable[[str], str]) -> Iterator[World]:
    """One whose `silence` works."""
    name = unique_name("conformance")
    made: World
    if request.param == "memory":
        made = MemoryWorld(name)
    else:
        broker: ProxiedBroker = request.getfixturevalue("_proxied")
        made = KafkaWorld(name, broker.direct, Reader(broker.direct), broker.proxy)
    yield made
    made.close()

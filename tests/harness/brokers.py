"""A broker for fault tests: the product's own `KafkaBroker`, its second listener behind a `Proxy`; topics on it."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names, re-exported without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from eventsrc.localstack.distribution import KafkaDistribution
from eventsrc.localstack.kafka import KafkaBroker
from eventsrc.localstack.processes import free_port
from tests.harness.collect import LATEST, wait_until
from tests.harness.proxy import Proxy

_numbers = itertools.count(1)


@dataclass(frozen=True)
class ProxiedBroker:
    """`direct` bypasses the proxy: what the checker and the load use. `proxied` is what the worker under test gets."""

    broker: KafkaBroker
    proxy: Proxy

    @property
    def direct(self) -> str:
        return self.broker.bootstrap_servers

    @property
    def proxied(self) -> str:
        return self.proxy.bootstrap_servers


@contextlib.contextmanager
def proxied_broker(
    directory: Path, distribution: KafkaDistribution, properties: Mapping[str, str] | None = None
) -> Iterator[ProxiedBroker]:
    with (
        Proxy(free_port()) as proxy,  # it listens before the broker chooses ports of its own: none of them is the same
        KafkaBroker(directory, distribution, properties=properties, proxy_port=proxy.port) as broker,
    ):
        proxy.target_port = broker.proxied_port
        yield ProxiedBroker(broker, proxy)


def unique(stem: str) -> str:
    """A name that no other test, run or process uses: letters, digits and hyphens, beginning with a letter."""
    return f"{stem}-{os.getpid()}-{time.time_ns() // 1_000_000 % 1_000_000}-{next(_numbers)}"


def create_topic(bootstrap_servers: str, name: str, partitions: int = 1, **config: str) -> str:
    """Created and led when this returns. Underscores in `config` stand for dots."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    settings = {key.replace("_", "."): value for key, value in config.items()}
    admin.create_topics([NewTopic(name, partitions, 1, config=settings)])[name].result(40)
    wait_led(bootstrap_servers, [name])
    return name


def wait_led(bootstrap_servers: str, names: Iterable[str], timeout_s: float = 40.0) -> None:
    """Until every partition answers for itself: a topic that was just created is known before it is led."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    deadline = time.monotonic() + timeout_s
    for name in names:
        while not _answers(admin, name):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} has no leader")
            time.sleep(0.02)


def _answers(admin: AdminClient, name: str) -> bool:
    partitions = admin.list_topics(name, timeout=5).topics[name].partitions
    wanted = {TopicPartition(name, number): LATEST for number in partitions}
    if not wanted:
        return False
    try:
        for future in admin.list_offsets(wanted, request_timeout=5).values():
            future.result()
    except KafkaException:
        return False
    return True


def alter_topic(bootstrap_servers: str, topic: str, config: Mapping[str, str]) -> None:
    """As an operator would, with a tool of Kafka's own. Returns when the broker has it: the controller answers before."""
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.incremental_alter_configs([resource])[resource].result(40)

    def known() -> bool:
        found = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)])
        (described,) = [future.result(40) for future in found.values()]
        return all(described[name].value == value for name, value in config.items())

    wait_until(known, 40, f"{topic} has {config}")

"""One broker with a proxy in front for all fault tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.brokers import ProxiedBroker, proxied_broker
from tests.harness.collect import Reader
from tests.harness.proxy import Proxy


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedBroker]:
    with proxied_broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def reader(kafka: ProxiedBroker) -> Reader:
    return Reader(kafka.direct)


@pytest.fixture
def proxy(kafka: ProxiedBroker) -> Iterator[Proxy]:
    """The session's proxy, without rules before and after."""
    kafka.proxy.clear()
    yield kafka.proxy
    kafka.proxy.clear()

"""Fixtures for tests on a real Kafka and Postgres. To be asked for, in the conftest.py of the root directory:

    pytest_plugins = ["eventsrc.testing.pytest_plugin"]

Services are started when a test first uses them. The plugin also fails a test in which a scenario asserts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eventsrc.testing import assertion_duty

if TYPE_CHECKING:
    from eventsrc.localstack.services import Services
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.testing.running import RunningPipeline

Run = Callable[..., "RunningPipeline"]
"""`run(pipeline, app=None) -> RunningPipeline`"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("eventsrc").addoption(
        "--eventsrc-containers",
        action="store_true",
        help="Kafka and Postgres in containers, where no address is given. Default: a local stack.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    left: list[str] = []
    before = assertion_duty.on_unasserted
    assertion_duty.on_unasserted = lambda message, place: left.append(f"{place.file}:{place.line}: {message}")
    try:
        result = yield
    finally:
        assertion_duty.on_unasserted = before
    if left:
        pytest.fail("\n".join(left), pytrace=False)
    return result


@pytest.fixture(scope="session")
def eventsrc_services(pytestconfig: pytest.Config) -> Iterator[Services]:
    """Kafka and Postgres for the session: the addresses that the environment gives, else containers with
    `--eventsrc-containers`, else a local stack. What cannot be had is an error, not a skip."""
    from eventsrc.testing.services import provided_services

    with provided_services(containers=pytestconfig.getoption("--eventsrc-containers")) as services:
        yield services


@pytest.fixture(scope="session")
def eventsrc_bootstrap_servers(eventsrc_services: Services) -> str:
    """Kafka's address."""
    return eventsrc_services.bootstrap_servers


@pytest.fixture(scope="session")
def eventsrc_database_url(eventsrc_services: Services) -> str:
    """The address of a Postgres whose tables for checkpoints are there."""
    from eventsrc.adapters.postgres import upgrading

    upgrading.upgrade(eventsrc_services.database_url)
    return eventsrc_services.database_url


@pytest.fixture
def eventsrc_run(eventsrc_bootstrap_servers: str, eventsrc_database_url: str, tmp_path: Path) -> Iterator[Run]:
    """Runs a pipeline for this test: `bank = eventsrc_run(pipeline)`, then `bank.client.send(...)`, `bank.kill()`,
    `bank.start()`. Its name, topics and directories are the test's own, and gone after it."""
    from eventsrc.runtime.settings import Settings
    from eventsrc.testing.running import running

    given = {"bootstrap_servers": eventsrc_bootstrap_servers, "database_url": eventsrc_database_url}
    addresses = Settings.resolve(given)  # with what the environment says of Kafka's security
    with ExitStack() as ends:

        def run(pipeline: Pipeline, app: str | None = None) -> RunningPipeline:
            directory = tmp_path / f"{pipeline.name}-{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            return ends.enter_context(running(pipeline, addresses, directory, app))

        yield run

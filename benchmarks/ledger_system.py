"""The ledger workload on eventsrc as a system under test: its topics, its load, its workers, each in processes of their own
(a pipeline's name, and with it every schema, is fixed when its module is imported)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import pass_through
from benchmarks.load import Load
from benchmarks.machine import OUTSIDE_CORE, end, run_module, running, start
from benchmarks.snapshots import PRODUCTION
from eventsrc.localstack.distribution import prepare
from eventsrc.localstack.kafka import KafkaBroker
from eventsrc.localstack.postgres import PostgresServer
from eventsrc.localstack.provision import cache_directory
from eventsrc.localstack.stack import LocalStack

PARTITIONS = 8
APP = "benchmarks.ledger:pipeline"
_SERVICES = ("DATABASE_URL", "EVENTSRC_DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "EVENTSRC_BOOTSTRAP_SERVERS")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a benchmark runs."""

    directory: Path
    bootstrap_servers: str
    database_url: str


@contextmanager
def place(*, with_database: bool = True) -> Iterator[Place]:
    """A Kafka, and a Postgres that writes its log as one in production does (without waiting for the disk); both end with
    the block. Pin this process first: they stay on its core."""
    with tempfile.TemporaryDirectory(prefix="eventsrc-bench-") as name:
        directory = Path(name)
        stack = LocalStack(directory / "stack")
        server = PostgresServer(directory / "postgres", PRODUCTION)
        try:
            kafka = stack.start({"kafka"}).kafka
            if kafka is None:
                raise RuntimeError("the local Kafka did not start")
            if with_database:
                server.start()
                run_module(["eventsrc", "db", "upgrade"], {**_without_services(), "DATABASE_URL": server.url})
            yield Place(directory, kafka.address, server.url)
        finally:
            server.stop()
            server.wipe()
            stack.stop()


@contextmanager
def optimising_kafka() -> Iterator[tuple[Place, int]]:
    """A Kafka whose JVM optimises what runs often, as in production, where the local stack's compiles fast and once; and its
    process id. It takes a minute under load to be what it will be. No database."""
    with tempfile.TemporaryDirectory(prefix="eventsrc-bench-") as name:
        directory = Path(name)
        distribution = prepare(cache_directory(directory), print, None)
        flags = (*distribution.start_flags(), "-XX:TieredStopAtLevel=4", "-Xmx3g", "-Xmn2g")
        broker = KafkaBroker(directory / "kafka", distribution, jvm_flags=flags)
        try:
            broker.start()
            if broker.process is None:
                raise RuntimeError("the Kafka of this benchmark did not start")
            yield Place(directory, broker.bootstrap_servers, ""), broker.process.pid
        finally:
            broker.stop()


def _without_services() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in (*_SERVICES, "EVENTSRC_APP")}


@dataclass(frozen=True, slots=True)
class LedgerSystem:
    """One pipeline, new: `create` makes its topics. `settings`: LEDGER_* without that prefix."""

    place: Place
    settings: Mapping[str, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"ledger-{uuid.uuid4().hex[:8]}")

    @property
    def commands_topic(self) -> str:
        return f"{self.name}.account.commands"

    @property
    def events_topic(self) -> str:
        return f"{self.name}.account.events"

    @property
    def state_directory(self) -> Path:
        return self.place.directory / self.name

    def environment(self, *, with_database: bool = False) -> dict[str, str]:
        made = {**_without_services(), "LEDGER_PIPELINE": self.name}
        made["KAFKA_BOOTSTRAP_SERVERS"] = self.place.bootstrap_servers
        made |= {f"LEDGER_{name.upper()}": value for name, value in self.settings.items()}
        if with_database:
            made["DATABASE_URL"] = self.place.database_url
        return made

    def create(self) -> None:
        run_module(["eventsrc", "topics", "create", APP], self.environment())

    def load(self, load: Load) -> None:
        """Write every command, before anything is measured."""
        run_module(self._load(load), self.environment())

    @contextmanager
    def loading(self, load: Load) -> Iterator[None]:
        """Beside the block, which does not wait for it."""
        process = start([sys.executable, "-m", *self._load(load)], self.environment(), 2, OUTSIDE_CORE)
        try:
            yield
            if process.poll() not in (None, 0):
                raise RuntimeError(f"the generator of commands ended with {process.returncode}")
        finally:
            end(process)

    def _load(self, load: Load) -> list[str]:
        shape = ["--in-turn"] if load.in_turn else []
        if load.per_second is not None:
            shape += ["--per-second", str(load.per_second)]
        numbers = map(str, (load.commands, load.accounts, load.seed, load.poison))
        return ["benchmarks.load", self.place.bootstrap_servers, *numbers, *shape]

    @property
    def command(self) -> list[str]:
        """Of a worker."""
        where = ["--state-dir", str(self.state_directory), "--schemas-dir", str(self.state_directory / "schemas")]
        return [sys.executable, "-m", "eventsrc", "run", APP, *where]

    def working(self, *, with_database: bool = False) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """One worker, until the block ends."""
        return running(self.command, self.environment(with_database=with_database))

    def passing_through(self, batch: int = 1000, pause_ms: int = 3) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """In the place of a worker: commands are written to the events topic as they are."""
        topics = (self.commands_topic, self.events_topic)
        command = pass_through.command(self.place.bootstrap_servers, *topics, f"raw-{self.name}", batch, pause_ms)
        return running(command, _without_services())

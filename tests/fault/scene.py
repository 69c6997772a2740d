"""One fault test's stage: a pipeline with its own name, topics and schema files, workers, a client, and the verdict."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import sys
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

from eventsrc.adapters.kafka.topics import create_topics
from eventsrc.codec.catalog import Catalog
from tests.harness import bank, bank_model
from tests.harness.brokers import ProxiedBroker, unique, wait_led
from tests.harness.checker import check, report
from tests.harness.collect import Reader, wait_until
from tests.harness.database import Database
from tests.harness.evidence import CommittedOffset, Evidence, read_history
from tests.harness.load import AGGREGATE, History, Order, Traffic, WireClient, random_order
from tests.harness.wire import Schemas
from tests.harness.workers import LONG_S, Worker

APP = "tests.harness.bank:pipeline"
PARTITIONS = 4

ROUNDS = int(os.environ.get("EVENTSRC_FAULT_ROUNDS", "1"))
"""How often seeded tests repeat, with other seeds. 1 in every CI run; hundreds before a release."""

SOON = {
    "batch_records": 20,
    "checkpoint_interval": "0.3s",
    "checkpoint_overhead": 1.0,
    "recovery_time_objective": "2s",
    "live_aggregates": 20,
}
"""Settings by which a worker takes many checkpoints within seconds, and keeps most aggregates encoded."""


class Scene:
    """A context manager. `proxied` workers reach Kafka through the proxy; the client and the checker never do. With a
    `database`, all workers reach it through its proxy, and every verdict judges what it holds."""

    def __init__(
        self, cluster: ProxiedBroker, reader: Reader, directory: Path, database: Database | None = None
    ) -> None:
        self.name = unique("bank")
        self.cluster, self.reader = cluster, reader
        self._database = database
        self._directory = directory
        self._settings: dict[str, Any] = {}
        self._workers: list[Worker] = []
        self._clients: list[WireClient] = []
        self._traffic: list[Traffic] = []
        self._history = directory / "history.jsonl"
        self.schemas_directory = directory / "schemas"
        self._set_up()

    @property
    def commands(self) -> str:
        return f"{self.name}.{AGGREGATE}.commands"

    @property
    def database(self) -> Database:
        assert self._database is not None
        return self._database

    @property
    def events(self) -> str:
        return f"{self.name}.{AGGREGATE}.events"

    def configure(self, **settings: Any) -> None:
        """Settings of the pipeline for workers that are made from now on."""
        self._settings = settings

    def _set_up(self) -> None:
        self._pipeline = _load_bank(self.environment()).pipeline
        self.create_topics()
        catalog = Catalog(self._pipeline, None)
        self._state_schema = catalog.state_schema(self._pipeline.aggregates[AGGREGATE])
        for file in catalog.schemas():
            path = self.schemas_directory / file.relative_path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text())
        self.schemas = Schemas.from_directory(self.schemas_directory)

    def create_topics(self) -> None:
        """What is missing of the pipeline's topics, by the product's own plan."""
        created = create_topics(self._pipeline, self.cluster.direct)
        wait_led(self.cluster.direct, created.created)

    def environment(self) -> dict[str, str]:
        return {
            "EVENTSRC_TEST_PIPELINE": self.name,
            "EVENTSRC_TEST_PARTITIONS": str(PARTITIONS),
            "EVENTSRC_TEST_SETTINGS": json.dumps(self._settings),
        }

    def worker(self, instance_id: str = "one", *, proxied: bool = False, state: str = "") -> Worker:
        """Not started. `state`: a directory of its own, as on another machine."""
        directory = self._directory / (state or "here")
        directory.mkdir(exist_ok=True)
        environment = {
            **self.environment(),
            "KAFKA_BOOTSTRAP_SERVERS": self.cluster.proxied if proxied else self.cluster.direct,
            "EVENTSRC_SCHEMAS_DIR": str(self.schemas_directory),
            **({} if self._database is None else {"DATABASE_URL": self._database.proxied}),
        }
        worker = Worker(APP, instance_id, directory, environment)
        self._workers.append(worker)
        return worker

    def started(self, instance_id: str = "one", *, proxied: bool = False, state: str = "", fault: str = "") -> Worker:
        worker = self.worker(instance_id, proxied=proxied, state=state)
        worker.start(fault)
        return worker

    def client(self, reply_partition: int = 0) -> WireClient:
        history = History(self._history)
        client = WireClient(self.cluster.direct, self.name, self.schemas, history, reply_partition=reply_partition)
        self._clients.append(client)
        return client

    def traffic(self, seed: int, **options: Any) -> Traffic:
        """A client of its own that sends at once and goes on until `stop`."""
        traffic = Traffic(self.client(), seed, **options)
        self._traffic.append(traffic)
        return traffic

    def wait_events(self, count: int, timeout_s: float = LONG_S) -> None:
        """Until that many records (barriers included) are visible in the events topic."""
        wait_until(lambda: len(self.reader.read(self.events)) >= count, timeout_s, f"{count} events\n{self.logs()}")

    def wait_committed(self, position: int, timeout_s: float = LONG_S) -> None:
        """Until the group's committed offsets add up to so much."""

        wait_until(lambda: self.committed() >= position, timeout_s, f"committed {position}")

    def committed(self) -> int:
        """The sum of the group's committed offsets. No answer is asked again: it is not the same as none committed."""
        found: list[CommittedOffset] | None = None

        def answered() -> bool:
            nonlocal found
            found = self.reader.asked_committed(self.name, [self.commands])
            return found is not None

        wait_until(answered, LONG_S, "the committed offsets are told")
        return sum(entry.offset for entry in found or [])

    def committed_all(self) -> dict[int, int]:
        """The committed offset of each partition, once all commands are processed: a commit is answered before it is told."""
        self.reader.wait_at_rest(self.name, [AGGREGATE], LONG_S)
        return {entry.partition: entry.offset for entry in self.reader.committed(self.name, [self.commands])}

    def wait_checkpoints(self, count: int, timeout_s: float = LONG_S) -> None:
        """Until so many more are kept than now."""
        before = self.database.taken()
        wait_until(
            lambda: self.database.taken() >= before + count, timeout_s, f"{count} more checkpoints\n{self.logs()}"
        )

    def send_all(self, client: WireClient, orders: list[Order], seed: int = 0) -> list[bytes]:
        rnd = random.Random(seed)
        sent = [client.send(order, rnd) for order in orders]
        client.flush()
        return sent

    def evidence(self) -> Evidence:
        schemas = {AGGREGATE: self._state_schema}
        stored = None if self._database is None else self._database.snapshots(self.name, schemas)
        evidence = self.reader.evidence(self.name, [AGGREGATE], self.schemas)
        evidence.snapshots = stored
        if self._history.exists():
            evidence.history = read_history([self._history])
        return evidence

    def verdict(self, timeout_s: float = LONG_S, *, history_complete: bool = True) -> Evidence:
        """Waits for rest, then fails with every violation found. The evidence is for further assertions."""
        try:
            self.reader.wait_at_rest(self.name, [AGGREGATE], timeout_s)
        except TimeoutError as late:
            raise AssertionError(f"{late}\n{self.logs()}") from late
        for client in self._clients:
            client.close()
        self._clients.clear()
        evidence = self.evidence()
        evidence.history_complete = history_complete
        found = check(evidence, bank_model)
        assert found == [], f"{report(found)}\n{self.logs()}"
        return evidence

    def logs(self) -> str:
        """The ends of all workers' logs, for a failure's message."""
        return "\n".join(f"---- {worker.instance_id}\n{_essence(worker)}" for worker in self._workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for traffic in self._traffic:
            traffic.end()
        for client in self._clients:
            client.close()
        for worker in self._workers:
            worker.end()


def busy(scene: Scene, seed: int, rate: float = 80.0) -> Traffic:
    """Many accounts, so that most are encoded at any time, and few of the commands whose handler fails."""

    def order(rnd: random.Random, accounts: int) -> Order:
        made = random_order(rnd, accounts)
        return random_order(rnd, accounts) if made.name == "Poison" else made

    return scene.traffic(seed, accounts=60, rate=rate, resend_s=15.0, make=order)


def _essence(worker: Worker) -> str:
    """Without the dead letters of Poison: these are many, and meant."""
    lines = [line for line in worker.log(whole=True).splitlines() if "handler-failed: ZeroDivisionError" not in line]
    return "\n".join(lines)[-4000:]


def _load_bank(environment: dict[str, str]) -> ModuleType:
    """The application once more, as a module of its own, under this scene's pipeline name."""
    before = {name: os.environ.get(name) for name in environment}
    name = unique("bank_module").replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, bank.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    os.environ.update(environment)
    try:
        spec.loader.exec_module(module)
    finally:
        for variable, value in before.items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value
        del sys.modules[name]
    return module

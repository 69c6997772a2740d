"""`MemoryPipeline`: a whole pipeline without services, for tests of applications.

The engine, the loop and the client are those of production; Kafka and Postgres are in memory. Owns the lives of workers
and what a test may do to them; decides nothing about commands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from confluent_kafka import murmur2

from eventsrc.codec.catalog import Catalog
from eventsrc.codec.keys import parse_event_key
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import EventsrcError
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.names import commands_topic, dead_letter_topic
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.position import Position
from eventsrc.model.recorded import Outcome, Recorded
from eventsrc.runtime.client import AsyncClient, Client
from eventsrc.testing.memory.connection import MemoryAsyncClient, MemoryClient
from eventsrc.testing.memory.log import MemoryRecord
from eventsrc.testing.memory.record import MemorySlot
from eventsrc.testing.memory.worker import MemoryWorker, memory_broker
from eventsrc.testing.memory_snapshots import MemoryDatabase

A = TypeVar("A")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOOK_AGAIN_S = 0.002


class DeadLettered(NamedTuple):
    """A command in the dead-letter topic. `id` and `command` are None where they cannot be read; `offset` is the
    command's."""

    reason: str
    message: str
    aggregate: str
    id: str | None
    command: Any
    partition: int
    offset: int
    traceback: str | None


class MemoryPipeline:
    """Runs a pipeline in memory for as long as it is entered: `with MemoryPipeline(pipeline) as memory:`.

    `workers`: how many share its partitions. `client` and `async_client` are for code that is given one, and may close it;
    they are the `Client` and `AsyncClient` of production, with the same outcomes and errors. Handlers are held to leave the
    state alone in every call: the command of one that does not is dead-lettered as `handler-failed`.
    """

    def __init__(self, pipeline: Pipeline, *, workers: int = 1) -> None:
        if not pipeline.aggregates:
            raise EventsrcError(f"pipeline {pipeline.name!r} has no aggregate: declare one with @pipeline.aggregate")
        if workers < 1:
            raise EventsrcError(f"MemoryPipeline(workers={workers}): at least one is needed")
        self._pipeline = pipeline
        self._now: datetime | None = None
        self._started = self._closed = False
        self._broker = memory_broker(pipeline)
        self._broker.wall_ms = lambda: self._now_us() // 1000
        self._database = MemoryDatabase()
        self._slots = {f"worker-{number}": MemorySlot() for number in range(1, workers + 1)}
        self._running: dict[str, MemoryWorker] = {}
        self._catalog = Catalog(pipeline, None)
        self._own, lent, asynchronous = (MemoryClient(pipeline, self._broker) for _ in range(3))
        self.client: Client = lent
        self.async_client: AsyncClient = MemoryAsyncClient(asynchronous)
        self._clients = self._own, lent, asynchronous

    # ---- as a client

    def send(
        self, cls: type | str, id: str, command: Any, *, idempotency_key: str | None = None, timeout: float = 10.0
    ) -> Outcome:
        """As `Client.send`."""
        self._check_started()
        return self._own.send(cls, id, command, idempotency_key=idempotency_key, timeout=timeout)

    def submit(
        self, cls: type | str, id: str, command: Any, *, idempotency_key: str | None = None, timeout: float = 60.0
    ) -> Future[Outcome]:
        """As `Client.submit`."""
        self._check_started()
        return self._own.submit(cls, id, command, idempotency_key=idempotency_key, timeout=timeout)

    def get(self, cls: type[A], id: str, at: datetime | str | None = None) -> A | None:
        """As `Client.get`."""
        return self._own.get(cls, id, at)

    def history(self, cls: type | str, id: str) -> list[Recorded]:
        """As `Client.history`."""
        return self._own.history(cls, id)

    # ---- what a test sees beside that

    def dead_letters(self) -> list[DeadLettered]:
        """All there are, by partition."""
        return [self._dead_lettered(record) for record in self._broker.read(dead_letter_topic(self._pipeline.name))]

    def partition_of(self, id: str) -> int:
        """The partition that an id's commands and events are in."""
        return murmur2(id.encode(), self._pipeline.settings.partitions)

    def produce(
        self, cls: type | str, key: str | bytes | None, value: bytes | None, *, partition: int | None = None
    ) -> None:
        """Puts a record into an aggregate's commands topic as another program may, whatever it holds; to the key's own
        partition unless told otherwise. See `settle`."""
        encoded = key.encode() if isinstance(key, str) else key
        count = self._pipeline.settings.partitions
        number = murmur2(encoded or b"", count) if partition is None else partition
        if not 0 <= number < count:
            raise EventsrcError(f"partition {number} does not exist: {self._pipeline.name} has {count}, from 0 on")
        name = self._pipeline.aggregate_type(cls).name
        self._broker.append(commands_topic(self._pipeline.name, name), number, encoded, value)

    def settle(self, timeout: float = 10.0) -> None:
        """Returns when every command that was sent or produced has been processed. Raises `TimeoutError` that names what
        waits, or what a worker failed with."""
        self._check_started()
        self._wait(lambda: not self._lagging(), timeout, lambda: f"commands wait in {', '.join(self._lagging())}")

    # ---- time and lives

    def at(self, moment: datetime) -> None:
        """From here on it is that time, until it is set again: `context.now`, and the time of events."""
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            raise EventsrcError(f"at({moment!r}) is no aware datetime: write datetime(2026, 11, 22, 10, 0, tzinfo=UTC)")
        self._now = moment

    def checkpoint(self, timeout: float = 10.0) -> None:
        """Takes a checkpoint of every partition that holds events: the next life recovers from there, not from the log's
        beginning."""
        self.settle(timeout)
        wanted = [key for key in self._broker.group.partitions if self._has_events(key)]
        before = {key: self._head(key) for key in wanted}

        def missing() -> list[str]:
            left = [str(key) for key in wanted if self._head(key) == before[key]]
            for worker in self._running.values() if left else ():
                worker.hurry()
            return left

        for worker in self._running.values():
            worker.request_checkpoints(wanted)
        self._wait(lambda: not missing(), timeout, lambda: f"no checkpoint was taken of {', '.join(missing())}")

    def kill(self) -> None:
        """Ends every worker as SIGKILL does; what they have open stays open. Commands wait until `start`."""
        for instance in list(self._running):
            self._running.pop(instance).kill()
            self._broker.end_session(instance)

    def start(self) -> None:
        """Starts the workers that do not run; they recover in the background, as they do at every start."""
        if self._closed:
            raise EventsrcError("this pipeline in memory is closed, and what it held is gone: make another")
        self._started = True
        for instance, slot in self._slots.items():
            if instance not in self._running:
                self._running[instance] = MemoryWorker(
                    self._pipeline, self._broker, instance, slot, database=self._database, wall_us=self._now_us
                )

    def restart(self) -> None:
        """`kill`, then `start`: what they knew is recovered from the latest checkpoint, or the log."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Ends everything; returns when its threads have ended. Raises what a worker failed with. May be called again."""
        for client in self._clients:
            client.close(0.0)
        self._closed = True
        failures = []
        for instance in list(self._running):
            worker = self._running.pop(instance)
            try:
                worker.drain()
            except Exception as failure:  # noqa: BLE001 - the others have to be ended too
                failures.append(failure)
        if failures:
            raise failures[0]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"a worker of the pipeline failed too: {failure!r}")

    # ---- inside

    def _check_started(self) -> None:
        if not self._started:
            raise EventsrcError("nothing runs yet: write `with MemoryPipeline(pipeline) as memory:`")

    def _now_us(self) -> int:
        if self._now is None:
            return time.time_ns() // 1000
        return (self._now - _EPOCH) // timedelta(microseconds=1)

    def _lagging(self) -> list[str]:
        found = []
        with self._broker.changed:
            for key in self._broker.group.partitions:
                committed = self._broker.committed(key)
                done = committed.position if committed is not None else 0
                if (waiting := self._broker.commands(key).end - done) > 0:
                    found.append(f"{key} ({waiting})")
        return found

    def _has_events(self, key: PartitionKey) -> bool:
        with self._broker.changed:
            log = self._broker.events(key)
            return any(parse_event_key(record.of_key or b"") for record in log.committed(Position(0), log.end))

    def _head(self, key: PartitionKey) -> Any:
        row = self._database.heads.get(key)
        return row and row.checkpoint

    def _wait(self, until: Callable[[], bool], timeout_s: float, told: Callable[[], str]) -> None:
        give_up_s = time.monotonic() + timeout_s
        while not until():
            for worker in self._running.values():
                if worker.failure is not None:
                    raise worker.failure
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"after {timeout_s:g} s, {told()}" + ("" if self._running else "; no worker runs"))
            time.sleep(_LOOK_AGAIN_S)

    def _dead_lettered(self, record: MemoryRecord) -> DeadLettered:
        headers = {name: (value or b"").decode(errors="replace") for name, value in record.of_headers}
        aggregate = next(
            each
            for each in self._pipeline.aggregates.values()
            if commands_topic(self._pipeline.name, each.name) == headers["eventsrc.topic"]
        )
        return DeadLettered(
            headers["eventsrc.reason"],
            headers["eventsrc.message"],
            aggregate.name,
            _text(record.of_key),
            self._command(aggregate, record.of_value),
            int(headers["eventsrc.partition"]),
            int(headers["eventsrc.offset"]),
            headers.get("eventsrc.traceback"),
        )

    def _command(self, aggregate: AggregateType, value: bytes | None) -> Any:
        if value is None:
            return None
        try:
            return self._catalog.command_reader(aggregate, value[:10])(value)[2]
        except EventsrcError:
            return None


def _text(key: bytes | None) -> str | None:
    try:
        return None if key is None else key.decode()
    except UnicodeDecodeError:
        return None

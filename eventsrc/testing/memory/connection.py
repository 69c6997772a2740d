"""A client's way to a broker in memory: `runtime.connection.Connection` on a `MemoryBroker`, and clients that go it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from eventsrc.adapters.kafka.command_producer import NotDelivered
from eventsrc.adapters.kafka.history import Bounds, StoredRecord
from eventsrc.codec.catalog import Catalog
from eventsrc.errors import Unreachable
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.position import Offset, Position
from eventsrc.runtime.client import AsyncClient, Client
from eventsrc.runtime.connection import Connection
from eventsrc.runtime.settings import Settings
from eventsrc.testing.memory.broker import MemoryBroker

_AT_ONCE = 1000


class MemoryConnection:
    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def commands(self, on_failure: Callable[[NotDelivered], None]) -> MemoryCommands:
        return MemoryCommands(self._broker)

    def answers(self, topic: str, choice: int) -> MemoryAnswers:
        return MemoryAnswers(self._broker, topic, choice % self._broker.partitions)

    def history(self) -> MemoryHistory:
        return MemoryHistory(self._broker)


class MemoryCommands:
    """Every command is in its log when `produce` returns."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def partition_count(self, topic: str) -> int:
        return self._broker.partitions

    def produce(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        self._broker.append(topic, partition, key, value)

    def poll(self) -> None: ...

    def close(self) -> None: ...


class MemoryAnswers:
    def __init__(self, broker: MemoryBroker, topic: str, partition: int) -> None:
        self.partition = partition
        self._broker = broker
        self._log = broker.log(topic, partition)
        self._position = self._log.end

    def poll(self, timeout_s: float) -> Sequence[bytes]:
        self._broker.wait(lambda: self._log.end > self._position, timeout_s)
        with self._broker.changed:
            records = self._log.committed(self._position, _AT_ONCE)
        if records:
            self._position = Position(records[-1].at + 1)
        return [record.of_value for record in records if record.of_value is not None]

    def close(self) -> None: ...


class MemoryHistory:
    """What has committed is readable at once."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def partition_count(self, topic: str) -> int:
        return self._broker.partitions

    def bounds(self, topic: str, partition: int) -> Bounds:
        with self._broker.changed:
            return Bounds(Position(0), self._broker.log(topic, partition).last_stable)

    def read(
        self,
        topic: str,
        partition: int,
        start: Position | None = None,
        *,
        satisfied: Callable[[], bool] = lambda: True,
        wait_s: float = 10.0,
    ) -> Iterator[StoredRecord]:
        log, position, end = self._broker.log(topic, partition), start or Position(0), None
        while end is None or position < end or not satisfied():
            with self._broker.changed:
                end = log.last_stable if end is None else end
                records = log.committed(position, _AT_ONCE)
            for record in records:
                yield StoredRecord(Offset(record.at), record.of_key, record.of_value, record.time_ms)
                position = Position(record.at + 1)
            if not records and satisfied():
                return
            after = position
            if not records and not self._broker.wait(lambda: bool(log.committed(after, 1)), wait_s):  # noqa: B023 - at once
                raise Unreachable(f"{topic}/{partition}: a committed event was not readable within {wait_s:g} s")

    def close(self) -> None: ...


class MemoryClient(Client):
    """A `Client` whose cluster is in memory: everything else is its own."""

    def __init__(self, pipeline: Pipeline, broker: MemoryBroker) -> None:
        self._broker = broker
        super().__init__(pipeline, settings=Settings())

    def _connection(self) -> Connection:
        return MemoryConnection(self._broker)

    def _new_catalog(self) -> Catalog:
        return Catalog(
            self._pipeline, None
        )  # whatever older writers' schemas there are, nothing here was written by them


class MemoryAsyncClient(AsyncClient):
    def __init__(self, client: Client) -> None:
        self._client = client

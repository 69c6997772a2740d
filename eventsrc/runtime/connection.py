"""A client's way to its cluster: what it produces with, reads answers with, reads history with. Kafka's, unless it is told
another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from eventsrc.adapters.kafka.command_producer import CommandProducer, NotDelivered
from eventsrc.adapters.kafka.history import Bounds, HistoryReader, StoredRecord
from eventsrc.adapters.kafka.reply_reader import ReplyReader
from eventsrc.model.position import Position


class Commands(Protocol):
    """Puts commands into their topics; see `CommandProducer`."""

    def partition_count(self, topic: str) -> int: ...

    def produce(self, topic: str, partition: int, key: bytes, value: bytes) -> None: ...

    def poll(self) -> None: ...

    def close(self) -> None: ...


class Answers(Protocol):
    """Reads one partition of the replies topic, from its end on; see `ReplyReader`."""

    partition: int

    def poll(self, timeout_s: float) -> Sequence[bytes]: ...

    def close(self) -> None: ...


class History(Protocol):
    """Reads events partitions; see `HistoryReader`."""

    def partition_count(self, topic: str) -> int: ...

    def bounds(self, topic: str, partition: int) -> Bounds: ...

    def read(
        self,
        topic: str,
        partition: int,
        start: Position | None = None,
        *,
        satisfied: Callable[[], bool] = ...,
        wait_s: float = ...,
    ) -> Iterator[StoredRecord]: ...

    def close(self) -> None: ...


class Connection(Protocol):
    """Each call opens one; whoever asked closes it."""

    def commands(self, on_failure: Callable[[NotDelivered], None]) -> Commands: ...

    def answers(self, topic: str, choice: int) -> Answers:
        """`choice` is any number: modulo the partition count it picks the partition."""

    def history(self) -> History: ...


class KafkaConnection:
    def __init__(self, bootstrap_servers: str, kafka: Mapping[str, str] | None = None) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._kafka = kafka

    def commands(self, on_failure: Callable[[NotDelivered], None]) -> Commands:
        return CommandProducer(self._bootstrap_servers, self._kafka, on_failure)

    def answers(self, topic: str, choice: int) -> Answers:
        return ReplyReader(self._bootstrap_servers, self._kafka, topic, choice)

    def history(self) -> History:
        return HistoryReader(self._bootstrap_servers, self._kafka)

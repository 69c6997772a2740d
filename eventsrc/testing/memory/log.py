"""One partition's log in memory: records, transactions, markers, the last stable offset.

Not thread-safe: the broker's lock is held around every call.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from eventsrc.engine.partition import PartitionKey
from eventsrc.model.position import Offset, Position

_CREATE_TIME = 1
Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """Meets `ConsumedRecord`."""

    of_topic: str
    of_partition: int
    at: Offset
    of_key: bytes | None
    of_value: bytes | None
    time_ms: int
    of_headers: Headers = ()

    def topic(self) -> str:
        return self.of_topic

    def partition(self) -> int:
        return self.of_partition

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return self.of_key

    def value(self) -> bytes | None:
        return self.of_value

    def timestamp(self) -> tuple[int, int]:
        return _CREATE_TIME, self.time_ms

    def headers(self) -> Any:
        return list(self.of_headers) or None


class CommittedOffset(NamedTuple):
    """Of the group, for one commands partition, with the note beside it."""

    position: Position
    note: str


@dataclass(slots=True, eq=False)
class Transaction:
    """`committed` is None while it is open. `logs`: where it has written, and will leave a marker."""

    until_s: float
    committed: bool | None = None
    logs: dict[MemoryLog, None] = field(default_factory=dict)
    offsets: dict[PartitionKey, CommittedOffset] = field(default_factory=dict)

    def decide(self, *, committed: bool) -> None:
        """Its markers are written at once: what commits is readable when this returns."""
        self.committed = committed
        for log in self.logs:
            log.mark(self)


class MemoryLog:
    """Offsets count records and markers, so a reader meets gaps, as in Kafka."""

    def __init__(self, topic: str, number: int) -> None:
        self._topic = topic
        self._number = number
        self._records: list[MemoryRecord] = []
        self._writers: list[Transaction | None] = []
        self._undecided: dict[Transaction, Offset] = {}
        self.end = Position(0)

    @property
    def last_stable(self) -> Position:
        """Readers of committed records stop here: the first record that is not decided, or the end."""
        return min((Position(offset) for offset in self._undecided.values()), default=self.end)

    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        time_ms: int,
        headers: Headers = (),
        writer: Transaction | None = None,
    ) -> Offset:
        offset = Offset(self.end)
        self._records.append(MemoryRecord(self._topic, self._number, offset, key, value, time_ms, headers))
        self._writers.append(writer)
        self.end = Position(offset + 1)
        if writer is not None:
            self._undecided.setdefault(writer, offset)
            writer.logs[self] = None
        return offset

    def mark(self, writer: Transaction) -> None:
        del self._undecided[writer]
        self.end = Position(self.end + 1)

    def committed(self, position: Position, limit: int) -> list[MemoryRecord]:
        """The first `limit` readable records at or after a position."""
        stable = self.last_stable
        found: list[MemoryRecord] = []
        first = bisect_left(self._records, Offset(position), key=lambda record: record.at)
        for index in range(first, len(self._records)):
            writer = self._writers[index]
            if len(found) == limit or self._records[index].at >= stable:
                break
            if writer is None or writer.committed:
                found.append(self._records[index])
        return found

"""Reading events partitions in memory: `ports.EventsLog` on a `MemoryBroker`."""

from __future__ import annotations

from collections.abc import Sequence

from eventsrc.engine.partition import PartitionKey
from eventsrc.model.position import Position
from eventsrc.ports import OnPartitionError
from eventsrc.testing.memory.broker import NoAnswer
from eventsrc.testing.memory.log import MemoryRecord
from eventsrc.testing.memory.process import MemoryProcess

Polled = dict[PartitionKey, Sequence[MemoryRecord]]


class MemoryEventsLog:
    def __init__(self, process: MemoryProcess, on_partition_error: OnPartitionError) -> None:
        self._process = process
        self._on_partition_error = on_partition_error
        self._positions: dict[PartitionKey, Position] = {}

    @property
    def active(self) -> bool:
        return bool(self._positions)

    def start(self, key: PartitionKey, position: Position) -> None:
        self._positions[key] = position

    def stop(self, key: PartitionKey) -> None:
        self._positions.pop(key, None)

    def poll(self, limit: int, timeout_s: float) -> Polled:
        self._process.broker.wait(self._has_news, timeout_s)
        polled: Polled = {}
        ends: dict[PartitionKey, Position] = {}
        try:
            with self._process.request("read") as broker:
                for key, position in self._positions.items():
                    room = limit - sum(map(len, polled.values()))
                    records = broker.events(key).committed(position, room)
                    if records:
                        polled[key] = records
                    elif position > broker.events(key).end:
                        ends[key] = broker.events(key).end
        except NoAnswer:
            return {}
        for key, read in polled.items():
            self._positions[key] = Position(read[-1].at + 1)
        for key, end in ends.items():
            position = self._positions.pop(key)
            self._on_partition_error(key, f"position {position} is beyond the log's end at {end}")
        return polled

    def close(self) -> None:
        self._positions.clear()

    def _has_news(self) -> bool:
        broker = self._process.broker
        return self._process.ending or any(
            broker.events(key).committed(position, 1) for key, position in self._positions.items()
        )

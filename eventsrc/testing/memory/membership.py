"""A member of the group in memory: `ports.Membership` on a `MemoryBroker`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import Fenced
from eventsrc.model.position import Position
from eventsrc.ports import OnPartitionError, RebalanceListener
from eventsrc.testing.memory.broker import NoAnswer
from eventsrc.testing.memory.group import Assignment, NotAMember, write_proof
from eventsrc.testing.memory.log import MemoryRecord
from eventsrc.testing.memory.process import MemoryProcess

Polled = dict[PartitionKey, Sequence[MemoryRecord]]


class MemoryMembership:
    """Joins at its first poll. Callbacks run before records are taken, so no record is ever void."""

    def __init__(
        self, process: MemoryProcess, listener: RebalanceListener, on_partition_error: OnPartitionError
    ) -> None:
        self._process = process
        self._group = process.broker.group
        self._listener = listener
        self._on_partition_error = on_partition_error
        self._member_id: str | None = None
        self._generation: int | None = None
        self._assigned: frozenset[PartitionKey] = frozenset()
        self._positions: dict[PartitionKey, Position] = {}

    def poll(self, limit: int, timeout_s: float) -> Polled:
        until_s = time.monotonic() + timeout_s
        while True:
            try:
                self.serve()
                polled = self._take(limit)
            except NoAnswer:
                polled = {}
            left_s = until_s - time.monotonic()
            if polled or left_s <= 0:
                return polled
            self._process.broker.wait(self._has_news, left_s)

    def serve(self) -> None:
        while (assignment := self._ask_group()) is not None:
            self._generation = assignment.generation
            gone, new = self._assigned - assignment.partitions, assignment.partitions - self._assigned
            if gone:
                self._listener.on_revoked(tuple(sorted(gone)))
                self._forget(gone)
            self._assigned |= new
            self._listener.on_assigned(tuple(sorted(new)))

    def metadata(self) -> bytes:
        if self._member_id is None or self._generation is None:
            return b""
        return write_proof(self._member_id, self._generation)

    def open(self, key: PartitionKey, position: Position) -> None:
        if key in self._assigned:
            self._positions[key] = position

    def ends(self) -> dict[PartitionKey, Position]:
        return {key: self._process.broker.commands(key).end for key in self._positions}

    def pause(self, key: PartitionKey) -> None:
        self._positions.pop(key, None)

    def close(self) -> None:
        self._forget(self._assigned)

    # ---- the group

    def _ask_group(self) -> Assignment | None:
        """What has changed since the last time. Raises Fenced."""
        with self._process.request("poll"):
            if self._member_id is None:
                self._member_id = self._group.join(self._process.instance)
            try:
                return self._group.poll(self._process.instance, self._member_id, self._assigned)
            except NotAMember as unknown:
                if self._process.instance in self._group.members:
                    raise Fenced(f"another process took over the instance id {self._process.instance}") from unknown
        self._expelled()
        return None

    def _expelled(self) -> None:
        lost = self._assigned
        self._forget(lost)
        self._member_id = self._generation = None
        self._listener.on_lost(tuple(sorted(lost)))

    def _forget(self, gone: frozenset[PartitionKey]) -> None:
        self._assigned -= gone
        for key in gone:
            self._positions.pop(key, None)

    # ---- records

    def _has_news(self) -> bool:
        broker = self._process.broker
        if self._process.ending or self._group.has_news(self._process.instance, self._member_id, self._assigned):
            return True
        return any(broker.commands(key).committed(position, 1) for key, position in self._positions.items())

    def _take(self, limit: int) -> Polled:
        """A partition that brought something is last in turn the next time."""
        polled: Polled = {}
        ends: dict[PartitionKey, Position] = {}
        with self._process.request("poll") as broker:
            for key, position in list(self._positions.items()):
                log, room = broker.commands(key), limit - sum(map(len, polled.values()))
                records = log.committed(position, room)
                if records:
                    polled[key] = records
                    del self._positions[key]
                    self._positions[key] = Position(records[-1].at + 1)
                elif position > log.end:
                    ends[key] = log.end
        for key, end in ends.items():
            position = self._positions.pop(key)
            self._on_partition_error(key, f"position {position} is beyond the log's end at {end}")
        return polled

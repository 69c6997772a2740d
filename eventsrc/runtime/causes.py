"""Looks for events that a replay's cut lacks though events in it name them as their cause, and moves the cut to hold them.

An event id is a hash, so a cause is found by hashing the events above the cut. How far above: an event is written after its
cause was read, so its hybrid time is later but for what the clocks of two workers differ. `ALLOWANCE` bounds that, and
the first `_AT_LEAST` positions on either side are always looked at.
"""

from __future__ import annotations

from datetime import timedelta

from eventsrc.adapters.kafka.history import Bounds
from eventsrc.adapters.kafka.log_reader import LogReader
from eventsrc.codec.framing import MARKER, REGISTRY_MARKER, prefix_of
from eventsrc.codec.keys import is_control_key, parse_event_key
from eventsrc.model.identity import event_id, event_id_text
from eventsrc.model.position import Position
from eventsrc.model.recorded import EventMeta
from eventsrc.runtime.partition_replay import PartitionReplay

ALLOWANCE = timedelta(minutes=10)
"""By how much the clocks of two workers may differ."""

_ALLOWANCE_US = ALLOWANCE // timedelta(microseconds=1)
_AT_LEAST = 20_000
_BARRIER = b"\0barrier@"


class CauseSearch:
    """Of one replay, whose partitions stand at their cuts."""

    def __init__(self, reader: LogReader, partitions: list[PartitionReplay]) -> None:
        self._reader, self._partitions = reader, partitions
        self._causes: set[bytes] | None = None
        self._searched = 0

    def move_cuts(self) -> list[PartitionReplay]:
        """Those whose cuts have to move, and were told where to: they are to be folded on. Empty: the cut is closed."""
        if self._causes is None:
            self._causes = self._causes_below_checkpoints()
        self._causes = self._causes.union(*(each.cut.causes for each in self._partitions))
        if len(self._causes) == self._searched:
            return []
        self._searched = len(self._causes)
        moved = []
        for partition, offset, log in self._furthest_causes(self._causes):
            partition.go_on_to(Position(offset + 1), log)
            moved.append(partition)
        return moved

    def _furthest_causes(self, causes: set[bytes]) -> list[tuple[PartitionReplay, int, Bounds]]:
        """Per partition that holds causes above its cut: the offset of the last of them."""
        last_time = max((each.last_time for each in self._partitions if each.last_time is not None), default=0)
        found: dict[int, int] = {}
        ends: dict[int, Bounds] = {}
        by_place = {each.topic_place: number for number, each in enumerate(self._partitions)}
        for number, each in enumerate(self._partitions):
            ends[number] = self._reader.bounds(each.topic_place)
            self._reader.start(each.topic_place, max(each.resume_at, ends[number].start), ends[number].stable_end)
        readers = {number: _Events(each) for number, each in enumerate(self._partitions)}
        for place, offset, key, value, _ in self._reader.records():
            number = by_place[place]
            event = readers[number].read(offset, key, value)
            if event is None:
                continue
            name, meta = event
            if meta.time > last_time + _ALLOWANCE_US and offset > self._partitions[number].position + _AT_LEAST:
                self._reader.stop(place)
            elif event_id(name) in causes:
                found[number] = offset
        return [(self._partitions[number], offset, ends[number]) for number, offset in found.items()]

    def _causes_below_checkpoints(self) -> set[bytes]:
        """What events name that were not read, because a checkpoint covers them."""
        started = {each.topic_place: each for each in self._partitions if each.checkpoint is not None}
        times = [each.cut.next_time for each in self._partitions if each.cut.next_time is not None]
        earliest = min(times, default=None) or max((each.last_time or 0 for each in started.values()), default=0)
        since_ms = (earliest - _ALLOWANCE_US) // 1000
        first = self._reader.first_since(dict.fromkeys(started, since_ms)) if started else {}
        for place, each in started.items():
            found = first[place]
            start = min(each.start if found is None else found, each.start - _AT_LEAST)
            self._reader.start(place, Position(max(start, each.bounds.start)), each.start)
        events = {place: _Events(each, term=None) for place, each in started.items()}
        causes = set()
        for place, offset, key, value, _ in self._reader.records() if started else ():
            if value is None or not (_names_a_cause(value) or is_control_key(key or b"")):
                continue
            event = events[place].read(offset, key, value)
            if event is not None and event[1].causation_id is not None:
                causes.add(event[1].causation_id)
        return causes


def _names_a_cause(value: bytes) -> bool:
    """Whether an event may name one, by the bytes before its meta's third field: framing, an id of 16 bytes, an optional one.
    Most do not, and decoding each to learn that would cost more than all the rest."""
    correlation = len(prefix_of(value)) + 16
    if not value.startswith((MARKER, REGISTRY_MARKER)) or len(value) < correlation + 2:
        return True
    at = correlation + (17 if value[correlation] else 1)
    return len(value) <= at or value[at] != 0


class _Events:
    """Reads a partition's events without folding them: those of its owners alone."""

    def __init__(self, partition: PartitionReplay, term: int | None = -1) -> None:
        self._partition = partition
        self._aggregate = partition.fold.aggregate.name
        self._term = partition.fold.highest_term if term is not None else None

    def read(self, offset: int, key: bytes | None, value: bytes | None) -> tuple[str, EventMeta] | None:
        """The event's name (of which its id is the hash) and meta; None for any other record, and a deposed owner's."""
        if key is None or value is None:
            return None
        if key.startswith(_BARRIER):
            self._term = offset
            return None
        parsed = parse_event_key(key)
        if parsed is None or (self._term is not None and parsed[2] < self._term):
            return None
        meta = self._partition.meta_of(value)
        if meta is None:
            return None
        return event_id_text(self._aggregate, parsed[0].decode(errors="replace"), parsed[1]), meta

"""One partition of a replay: its fold, and where its part of the cut stands.

Fed with records in offset order by whoever reads them. Every event is decoded once, though its time is wanted before it
is folded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from eventsrc.adapters.kafka.history import Bounds
from eventsrc.adapters.kafka.log_reader import TopicPlace
from eventsrc.codec.blocks import split_entry
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.framing import prefix_of
from eventsrc.codec.keys import parse_event_key
from eventsrc.codec.registered import RegisteredSchemas
from eventsrc.engine.cut import PartitionCut
from eventsrc.engine.fold import PartitionFold
from eventsrc.errors import DecodingError, InvalidSchema, UnknownSchema
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.moments import Place
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.position import Position
from eventsrc.model.recorded import EventMeta
from eventsrc.model.snapshot import StoredCheckpoint

_CLOCK_SLACK_MS = 60_000

EventReader = Callable[[bytes], tuple[EventMeta, Any]]


class Misled(Exception):  # noqa: N818 - named by what happened; caught where the partition is read
    """A record's timestamp said that its event was asked for, and it was not."""


class DecodingOnce(Catalog):
    """Its event readers keep what they read last: whoever asks for an event's meta and then folds it decodes it once."""

    def __init__(
        self, pipeline: Pipeline, schemas_directory: Path | None, registry: RegisteredSchemas | None = None
    ) -> None:
        super().__init__(pipeline, schemas_directory, registry)
        self._once: dict[tuple[str, bytes], EventReader] = {}

    def event_reader(self, aggregate: AggregateType, prefix: bytes) -> EventReader:
        found = self._once.get((aggregate.name, prefix))
        if found is None:
            found = self._once[aggregate.name, prefix] = _remembering(super().event_reader(aggregate, prefix))
        return found


def _remembering(read: EventReader) -> EventReader:
    last_value: bytes | None = None
    last: tuple[EventMeta, Any] | None = None

    def once(value: bytes) -> tuple[EventMeta, Any]:
        nonlocal last_value, last
        if value is not last_value or last is None:
            last = read(value)
            last_value = value
        return last

    return once


@dataclass(slots=True, eq=False)
class PartitionReplay:
    """`position`: where the cut is, once `done`. `checkpoint`: what the fold started from; None: the log's beginning."""

    place: Place
    topic_place: TopicPlace
    bounds: Bounds
    fold: PartitionFold
    cut: PartitionCut
    checkpoint: StoredCheckpoint | None = None
    position: Position = field(init=False)
    done: bool = False
    _surely_after: float = -1
    _surely_below: float = 0
    _surely_before_ms: float = 0
    _readers: dict[bytes, EventReader] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._look_where_it_matters()

    @property
    def start(self) -> Position:
        """Where reading begins: at the checkpoint's anchor, or the log's beginning."""
        if self.checkpoint is not None:
            return Position(self.checkpoint.checkpoint.anchor.offset)
        return self.bounds.start

    def take(self, offset: int, key: bytes | None, value: bytes | None, timestamp_ms: int) -> bool:
        """Fold the next record; False, and nothing is folded, where it is the first event above the cut.

        Raises what the fold raises; `Misled`, then read it from its start again."""
        if timestamp_ms < self._surely_before_ms and self._surely_after < offset < self._surely_below:
            recorded = self.fold.feed(offset, key, value, timestamp_ms)
            if recorded is not None and not self.cut.takes_in(offset, key or b"", recorded.meta):
                self._begin_again()
                raise Misled
            return True
        parsed = parse_event_key(key) if key is not None else None
        if parsed is not None and value is not None and parsed[2] == self.fold.highest_term:
            meta = self.meta_of(value)
            if meta is not None and not self.cut.admits(offset, parsed[0], parsed[1], meta):
                self._stand_at(Position(offset))
                return False
        self.fold.feed(offset, key, value, timestamp_ms)
        return True

    @property
    def resume_at(self) -> Position:
        """Where reading goes on."""
        last = self.fold.last_offset
        return self.start if last is None else Position(last + 1)

    @property
    def last_time(self) -> int | None:
        """Of the latest event in the cut."""
        if self.cut.last_time is None and self.checkpoint is not None:
            return self.checkpoint.checkpoint.seen.time
        return self.cut.last_time

    @property
    def events(self) -> int:
        """How many the cut holds: of the partition, or of the one id that is followed."""
        if self.fold.only is None:
            return self.fold.events
        return self.fold.live[self.fold.only]._eventsrc_sequence if self._exists(self.fold.only) else 0

    @property
    def aggregates(self) -> int:
        """How many have a state in the cut."""
        return self.fold.aggregates if self.fold.only is None else int(self._exists(self.fold.only))

    def reached_end(self) -> None:
        """Everything committed was read, and nothing of it was above the cut."""
        self._stand_at(self.bounds.stable_end)

    def go_on_to(self, position: Position, bounds: Bounds) -> None:
        """The cut moves: read on from where it stood, up to there."""
        self.cut.move(position)
        self.bounds, self.done = bounds, False
        self._surely_below = 0

    def states(self) -> Iterator[tuple[bytes, Any]]:
        """Id and aggregate, in the order of the ids' bytes. An aggregate is one's own only until the next."""
        states = self.fold.states
        read = self.fold.catalog.state_reader(self.fold.aggregate)
        only = self.fold.only
        keys = sorted(states.keys()) if only is None else [only] if self._exists(only) else []
        for key in keys:
            instance = states.live.get(key)
            if instance is None:
                instance = self.fold.aggregate.new(key)
                instance._eventsrc_sequence, instance._eventsrc_memory, encoded = split_entry(states.encoded(key))
                read(encoded, instance)
            yield key, instance

    def _exists(self, key: bytes) -> bool:
        return key in self.fold.live or self.fold.states.hydrate(key) is not None

    def _look_where_it_matters(self) -> None:
        """Which events are surely asked for, so that they are folded without being looked at before: not those that a fold
        from a checkpoint may not return, and none by time whose record is not well before it."""
        bound = self.cut.bound
        if self.fold.only is not None or bound.event is not None:
            return
        self._surely_after = -1 if self.checkpoint is None else self.checkpoint.checkpoint.seen.offset
        self._surely_below = inf if bound.position is None else bound.position
        self._surely_before_ms = inf if bound.time_us is None else bound.time_us // 1000 - _CLOCK_SLACK_MS

    def _begin_again(self) -> None:
        """With every event looked at: a record's timestamp was not its event's hybrid time."""
        fold = self.fold
        self.fold = PartitionFold(fold.aggregate, fold.catalog, fold.only, fold.start, fold.stored)
        self.cut = PartitionCut(self.cut.bound)
        self._surely_below = 0

    def _stand_at(self, position: Position) -> None:
        asked = self.cut.bound.position
        last = self.cut.last_offset
        self.position = asked if asked is not None and (last is None or last < asked) else position
        self.done = True

    def meta_of(self, value: bytes) -> EventMeta | None:
        """None where it cannot be read: the fold says why."""
        prefix = prefix_of(value)
        read = self._readers.get(prefix)
        try:
            if read is None:
                catalog = self.fold.catalog
                read = self._readers[prefix] = catalog.event_reader(self.fold.aggregate, prefix)
            return read(value)[0]
        except (DecodingError, InvalidSchema, UnknownSchema):
            return None

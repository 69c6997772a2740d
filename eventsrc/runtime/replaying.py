"""A replay: the states of a pipeline at a moment, folded from its log, from the nearest checkpoints where there are any.

It reads and nothing else: no consumer group is joined, no topic is written, no checkpoint is claimed. Owns the order of
the steps; what the cut is, is `engine.cut`'s, and what the events say is the fold's.
"""

from __future__ import annotations

import functools
import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from confluent_kafka import murmur2

from eventsrc.adapters.kafka.history import Bounds
from eventsrc.adapters.kafka.log_reader import LogReader, TopicPlace
from eventsrc.codec.blocks import StoredRuns
from eventsrc.engine.cut import Bound, PartitionCut, bounds_of, check_within
from eventsrc.engine.digest import StatesDigest
from eventsrc.engine.fold import PartitionFold
from eventsrc.errors import EncodingError, InvalidMoment, LogInconsistent
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.identity import check_aggregate_id
from eventsrc.model.moments import END, START, AtSequence, AtTime, Moment, Place
from eventsrc.model.names import events_topic
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.position import Position
from eventsrc.model.snapshot import StoredCheckpoint
from eventsrc.runtime.catalogs import registered_schemas
from eventsrc.runtime.causes import CauseSearch
from eventsrc.runtime.partition_replay import DecodingOnce, Misled, PartitionReplay
from eventsrc.runtime.reading import check_partition_count
from eventsrc.runtime.settings import Settings
from eventsrc.runtime.starting_points import CheckpointStarts, topic_ids

_TELL_EVERY_S = 0.1
_RECORDS_BETWEEN_LOOKS = 500


class ReplayProgress(NamedTuple):
    """Positions passed and to pass, as estimated; events folded so far."""

    passed: int
    total: int
    events: int


class StartingPoints(Protocol):
    """Where a partition's fold may start."""

    def choose(
        self, place: Place, aggregate: AggregateType, key: bytes | None, bound: Bound, bounds: Callable[[], Bounds]
    ) -> tuple[StoredCheckpoint, StoredRuns] | None:
        """The nearest checkpoint that has seen nothing above the bound, with its states; None: the log's beginning."""

    @property
    def notes(self) -> list[str]:
        """What was passed over, and why: a line each."""


class State(NamedTuple):
    aggregate: AggregateType
    key: bytes
    instance: Any


@dataclass(slots=True)
class Replayed:
    """What a replay found. `notes`: checkpoints that were passed over. `completed` and `caused`: events later than asked,
    taken in because they finish a command, or because an event in the cut names one of them as its cause."""

    until: Moment
    catalog: DecodingOnce
    partitions: list[PartitionReplay]
    notes: list[str]

    @property
    def completed(self) -> int:
        return sum(each.cut.completed for each in self.partitions)

    @property
    def caused(self) -> int:
        return sum(each.cut.caused for each in self.partitions)

    @property
    def cut(self) -> dict[str, int]:
        """`<aggregate>/<partition>` -> position: events below it are in the cut."""
        return {str(each.place): each.position for each in self.partitions}

    @property
    def events(self) -> int:
        """How many the cut holds, whether they were read or stood in a checkpoint."""
        return sum(each.events for each in self.partitions)

    @property
    def aggregates(self) -> int:
        return sum(each.aggregates for each in self.partitions)

    @property
    def last_time(self) -> int | None:
        """Hybrid time of the latest event in the cut; None where it is empty."""
        times = [each.last_time for each in self.partitions if each.last_time is not None]
        return max(times, default=None)

    def states(self) -> Iterator[State]:
        """Every aggregate in the cut: by name, then by the bytes of its id. An instance may be changed by the next step."""
        by_name: dict[str, list[PartitionReplay]] = {}
        for each in self.partitions:
            by_name.setdefault(each.fold.aggregate.name, []).append(each)
        for _, partitions in sorted(by_name.items()):
            aggregate = partitions[0].fold.aggregate
            yield from (State(aggregate, key, instance) for key, instance in _merged(partitions))

    def digest(self) -> str:
        """Of all states; see `engine.digest`. Raises `EncodingError` where a state holds what its type refuses: no @apply
        is asked whether what it leaves can be stored."""
        digest = StatesDigest()
        for partition in self.partitions:
            aggregate = partition.fold.aggregate
            write = self.catalog.state_writer(aggregate)
            for key, instance in partition.states():
                digest.add(aggregate.name, key, instance._eventsrc_sequence, _written(write, aggregate, key, instance))
        return digest.hexadecimal()


def _written(write: Callable[[Any], bytes], aggregate: AggregateType, key: bytes, instance: Any) -> bytes:
    try:
        return write(instance)
    except EncodingError as wrong:
        state = (
            f'the state of {aggregate.name} "{key.decode(errors="replace")}" at sequence {instance._eventsrc_sequence}'
        )
        raise EncodingError(
            f"{state} is none that can be stored: {wrong}. Read its events with `eventsrc log`; mend the handler or @apply "
            "method that lets it come to this"
        ) from wrong


def replay(
    pipeline: Pipeline,
    settings: Settings,
    until: Moment = END,
    *,
    aggregate: AggregateType | None = None,
    id: str | None = None,
    from_log: bool = False,
    progress: Callable[[ReplayProgress], None] | None = None,
) -> Replayed:
    """Folds the log up to the cut that `until` means; of one aggregate type, or one id of it, where these are given.

    Starts from the nearest checkpoints in the settings' database; `from_log`: from the log's beginning all the same.
    Raises `InvalidMoment` where the moment is none of this pipeline's; `Unreachable`, `TopicsInvalid`;
    `LogInconsistent`, `UnknownSchema` where the log cannot be folded.
    """
    catalog = DecodingOnce(pipeline, settings.schemas_dir, registered_schemas(settings))
    with (
        LogReader(settings.require_bootstrap_servers(), settings.kafka) as reader,
        _starting_points(pipeline, settings, catalog, from_log=from_log) as starting_points,
    ):
        return _Replay(pipeline, catalog, reader, until, aggregate, id, progress).run(starting_points)


@contextmanager
def _starting_points(
    pipeline: Pipeline, settings: Settings, catalog: DecodingOnce, *, from_log: bool
) -> Iterator[StartingPoints | None]:
    if from_log or settings.database_url is None:
        yield None
        return
    from eventsrc.adapters.postgres.reading import read_only_snapshots

    store = read_only_snapshots(settings.database_url, pipeline.name, "replay")
    try:
        yield CheckpointStarts(
            store, catalog, topic_ids(pipeline, settings.require_bootstrap_servers(), settings.kafka)
        )
    finally:
        store.close()


class _Replay:
    """The steps of one replay."""

    def __init__(
        self,
        pipeline: Pipeline,
        catalog: DecodingOnce,
        reader: LogReader,
        until: Moment,
        aggregate: AggregateType | None,
        id: str | None,
        progress: Callable[[ReplayProgress], None] | None,
    ) -> None:
        self._pipeline, self._catalog, self._reader, self._until = pipeline, catalog, reader, until
        self._aggregates = pipeline.aggregates if aggregate is None else {aggregate.name: aggregate}
        self._progress = progress
        self._key = None if id is None else check_aggregate_id(id)
        if self._key is not None and aggregate is None:
            raise InvalidMoment("an id alone names no aggregate: say of which aggregate it is, with --aggregate")

    def run(self, starting_points: StartingPoints | None) -> Replayed:
        partitions = self._partitions(starting_points)
        replayed = Replayed(
            self._until, self._catalog, partitions, starting_points.notes if starting_points is not None else []
        )
        self._fold(partitions)
        search = CauseSearch(self._reader, partitions)
        while moved := search.move_cuts():
            self._fold(moved)
        for each in partitions:
            try:
                each.fold.finish()
            except LogInconsistent as error:
                raise LogInconsistent(
                    f"{each.topic_place.topic}/{each.topic_place.partition}: {error}", error.code
                ) from error
        self._check_sequence(partitions)
        return replayed

    def _partitions(self, starting_points: StartingPoints | None) -> list[PartitionReplay]:
        settings = self._pipeline.settings
        identity = None
        if self._key is not None:
            name = next(iter(self._aggregates))
            identity = (name, murmur2(self._key, settings.partitions), self._key)
        counts = dict.fromkeys(self._aggregates, settings.partitions)
        bounds = bounds_of(self._until, counts, identity)
        for name in self._aggregates:
            topic = events_topic(self._pipeline.name, name)
            check_partition_count(topic, self._reader.partition_count(topic), settings.partitions)
        return [self._partition(place, bound, starting_points) for place, bound in bounds.items()]

    def _partition(self, place: Place, bound: Bound, starting_points: StartingPoints | None) -> PartitionReplay:
        aggregate = self._aggregates[place.aggregate or ""]
        topic_place = TopicPlace(events_topic(self._pipeline.name, aggregate.name), place.partition)
        chosen = None
        if starting_points is not None and bound.position != 0:
            chosen = starting_points.choose(
                place, aggregate, self._key, bound, functools.partial(self._reader.bounds, topic_place)
            )
        log = self._reader.bounds(topic_place)
        check_within(place, bound, log.start, log.stable_end)
        checkpoint, stored = chosen if chosen is not None else (None, None)
        start = checkpoint.checkpoint if checkpoint is not None else None
        fold = PartitionFold(aggregate, self._catalog, self._key, start, stored)
        return PartitionReplay(place, topic_place, log, fold, PartitionCut(bound), checkpoint)

    def _fold(self, partitions: list[PartitionReplay]) -> None:
        """Reads each up to its cut."""
        left = {each.topic_place: each for each in partitions}
        for each in partitions:
            if each.cut.bound.position == 0 and self._until == START:  # otherwise the first event's time is asked for
                each.position, each.done = Position(0), True
            elif each.resume_at < each.bounds.stable_end:
                self._reader.start(each.topic_place, each.resume_at, each.bounds.stable_end)
        told = _Told(self._progress, partitions, self._expected_ends(partitions))
        for number, (place, offset, key, value, timestamp_ms) in enumerate(self._reader.records()):
            try:
                if not left[place].take(offset, key, value, timestamp_ms):
                    self._reader.stop(place)
            except Misled:
                self._reader.start(place, left[place].start, left[place].bounds.stable_end)
            except LogInconsistent as error:
                raise LogInconsistent(f"{place.topic}/{place.partition}: {error}", error.code) from error
            if number % _RECORDS_BETWEEN_LOOKS == 0:
                told.tell()
        told.tell(at_once=True)
        for each in partitions:
            if not each.done:
                each.reached_end()

    def _expected_ends(self, partitions: Iterable[PartitionReplay]) -> Mapping[TopicPlace, int]:
        """Where reading is likely to stop: for the progress alone."""
        ends = {
            each.topic_place: min(each.cut.bound.position or each.bounds.stable_end, each.bounds.stable_end)
            for each in partitions
        }
        if isinstance(self._until, AtTime) and ends and self._progress is not None:
            after_ms = self._until.time_us // 1000 + 1
            for place, position in self._reader.first_since(dict.fromkeys(ends, after_ms)).items():
                if position is not None:
                    ends[place] = min(ends[place], position)
        return ends

    def _check_sequence(self, partitions: list[PartitionReplay]) -> None:
        if isinstance(self._until, AtSequence) and self._key is not None:
            last = partitions[0].events
            if 0 < last < self._until.sequence:
                name = self._key.decode(errors="backslashreplace")
                raise InvalidMoment(
                    f"{partitions[0].fold.aggregate.name} {name} has no sequence {self._until.sequence}: its last is {last}"
                )


class _Told:
    """Tells the progress, not too often."""

    def __init__(
        self,
        tell: Callable[[ReplayProgress], None] | None,
        partitions: list[PartitionReplay],
        ends: Mapping[TopicPlace, int],
    ) -> None:
        self._tell, self._partitions, self._ends = tell, partitions, ends
        self._starts = {each.topic_place: each.resume_at for each in partitions}
        self._events_before = sum(each.fold.events for each in partitions)
        self._total = sum(max(ends[place] - start, 0) for place, start in self._starts.items())
        self._told_at = time.monotonic()

    def tell(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if self._tell is None or (not at_once and now - self._told_at < _TELL_EVERY_S):
            return
        self._told_at = now
        passed = sum(
            min(each.resume_at, self._ends[each.topic_place]) - self._starts[each.topic_place]
            for each in self._partitions
        )
        events = sum(each.fold.events for each in self._partitions) - self._events_before
        self._tell(ReplayProgress(self._total if at_once else passed, self._total, events))


def _merged(partitions: list[PartitionReplay]) -> Iterator[tuple[bytes, Any]]:
    return heapq.merge(*(each.states() for each in partitions), key=lambda state: state[0])

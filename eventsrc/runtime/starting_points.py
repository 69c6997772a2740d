"""Which checkpoint each partition of a replay starts from: the nearest that has seen nothing above the cut.

What is damaged, of another log or of other code is passed over, and said; then an older one serves, or the log's
beginning. Only reads: nothing is claimed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

from eventsrc.adapters.kafka.history import Bounds
from eventsrc.adapters.kafka.topics import observe_topics
from eventsrc.codec.blocks import Block, StoredRuns, key_hash
from eventsrc.codec.catalog import Catalog
from eventsrc.engine.cut import Bound
from eventsrc.engine.notes import TopicIds
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.snapshots import refusal
from eventsrc.errors import SnapshotDamaged, SnapshotsUnavailable
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.moments import Place
from eventsrc.model.names import commands_topic, events_topic
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.snapshot import Checkpoint, DamagedCheckpoint, FoldedBy, Listed, Run, StoredCheckpoint
from eventsrc.ports import SnapshotStore
from eventsrc.runtime.kept_checkpoints import in_turn


def topic_ids(pipeline: Pipeline, bootstrap_servers: str, kafka: Mapping[str, str] | None) -> dict[str, TopicIds]:
    """By aggregate. Raises `Unreachable`, `TopicsInvalid`."""
    names = {
        name: (commands_topic(pipeline.name, name), events_topic(pipeline.name, name)) for name in pipeline.aggregates
    }
    found = observe_topics([topic for pair in names.values() for topic in pair], bootstrap_servers, kafka)
    return {
        name: TopicIds(*(found[topic].topic_id if topic in found else "" for topic in pair))
        for name, pair in names.items()
    }


def folded_by(catalog: Catalog, aggregate: AggregateType) -> FoldedBy:
    """The code that this process folds with."""
    return FoldedBy(aggregate.version, catalog.state_fingerprint(aggregate))


class CheckpointStarts:
    """Meets `StartingPoints`. `notes`: what was passed over and why, a line each."""

    def __init__(self, store: SnapshotStore, catalog: Catalog, topics: Mapping[str, TopicIds]) -> None:
        self._store, self._catalog, self._topics = store, catalog, topics
        self._away: str | None = None
        self._passed_over: dict[str, list[str]] = {}

    @property
    def notes(self) -> list[str]:
        found = [
            f"{where[0]}{f' (and {len(where) - 1} more)' if len(where) > 1 else ''} is passed over: {reason}"
            for reason, where in self._passed_over.items()
        ]
        return found if self._away is None else [f"no checkpoints: {self._away}", *found]

    def choose(
        self, place: Place, aggregate: AggregateType, key: bytes | None, bound: Bound, bounds: Callable[[], Bounds]
    ) -> tuple[StoredCheckpoint, StoredRuns] | None:
        """`bounds` tells the log's, after the checkpoints were listed: a log that is whole then holds what they have seen."""
        if self._away is not None:
            return None
        try:
            return self._nearest(place, aggregate, key, bound, bounds)
        except SnapshotsUnavailable as away:
            self._away = str(away)
            return None

    def _nearest(
        self, place: Place, aggregate: AggregateType, key: bytes | None, bound: Bound, bounds: Callable[[], Bounds]
    ) -> tuple[StoredCheckpoint, StoredRuns] | None:
        topics, code = self._topics[aggregate.name], folded_by(self._catalog, aggregate)
        partition = PartitionKey(aggregate.name, place.partition)
        worth_reading = [each.id for each in self._store.listed(partition) if _may_be(each, bound)]
        log: Bounds | None = None
        for stored in in_turn(self._store, partition, worth_reading):
            if isinstance(stored, DamagedCheckpoint):
                self._pass_over(place, stored.id, stored.reason)
                continue
            reason = refusal(stored.checkpoint, topics, code)
            if reason is None and not _is_below(stored.checkpoint, bound):
                continue
            log = log or bounds()
            if reason is None and not (
                log.start <= stored.checkpoint.anchor.offset and stored.checkpoint.seen.offset < log.stable_end
            ):
                reason = f"the log, {log.start} to {log.stable_end}, does not hold what it saw"
            if reason is None:
                try:
                    return stored, StoredRuns([self._blocks(run, key) for run in stored.runs])
                except SnapshotDamaged as damage:
                    reason = str(damage)
            self._pass_over(place, stored.id, reason)
        return None

    def _blocks(self, run: Run, key: bytes | None) -> list[Block]:
        """Of one id, only what can hold it."""
        if key is not None:
            hashed = key_hash(key)
            run = tuple(each for each in run if each.first_hash <= hashed <= each.last_hash)
        return [Block(encoded) for encoded in self._store.read(run)]

    def _pass_over(self, place: Place, checkpoint: uuid.UUID, reason: str) -> None:
        self._passed_over.setdefault(reason, []).append(f"{place}: checkpoint {checkpoint}")


def _may_be(listed: Listed, bound: Bound) -> bool:
    """Whether it is worth reading: no state of a checkpoint is older than its position."""
    return bound.event is None and (bound.position is None or listed.position <= bound.position)


def _is_below(checkpoint: Checkpoint, bound: Bound) -> bool:
    """Whether all that any of its states has seen is in what is asked for. Where one event is asked for, that is not known
    before the log has been read."""
    if bound.event is not None:
        return False
    if bound.time_us is not None:
        return checkpoint.seen.time <= bound.time_us
    return bound.position is None or checkpoint.seen_position <= bound.position

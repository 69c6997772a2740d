"""Checks a pipeline: topics, group offsets, logs and checkpoints against each other. Reads, and changes nothing.

Owns the order of the questions: where something moves while it is looked at, what must not be newer is asked first, and
what must not be older last. The verdicts are `soundness`'.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from eventsrc.adapters.kafka.decided_ends import WAIT_S, DecidedEnds, decided_ends
from eventsrc.adapters.kafka.group_offsets import GroupOffsetsReader, PartitionOffsets
from eventsrc.adapters.kafka.log_reader import LogReader, TopicPlace
from eventsrc.adapters.kafka.topics import ObservedTopic, PlannedTopic, observe_topics, planned_topics
from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.notes import TopicIds
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.snapshots import refusal
from eventsrc.errors import LogInconsistent, SnapshotsUnavailable, UnknownSchema
from eventsrc.model.names import commands_topic, events_topic
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.position import Position
from eventsrc.model.snapshot import StoredCheckpoint
from eventsrc.ports import SnapshotStore
from eventsrc.runtime.catalogs import open_catalog
from eventsrc.runtime.checkpoint_care import Kept, Verdict, kept_of, verify
from eventsrc.runtime.checkpoint_soundness import AnchorCheck, checkpoint_findings, damage_finding
from eventsrc.runtime.findings import Finding, Typed
from eventsrc.runtime.settings import Settings
from eventsrc.runtime.soundness import (
    PartitionFacts,
    log_finding,
    offset_findings,
    topic_findings,
    undecided_finding,
)
from eventsrc.runtime.starting_points import folded_by

_RECORDS_BETWEEN_LOOKS = 500
_LOOKS = 4
_LOOK_AGAIN_S = 0.5

_MENDS = {
    "takes it no more": "The log is sound, the code is not: mend the class until eventsrc check has nothing to say, and restart "
    "the worker; change nothing in the topic",
    "@apply method": "The log is sound, the code is not: mend that method, or run the version that wrote the event",
    "does not fold: run the version": "The log is sound, the code is older: run the version that wrote it",
}

Progress = Callable[[int, int, int], object]
"""Is told how many offsets have been read, of how many, and how many events there were."""


@dataclass(slots=True)
class Checked:
    """`problems`: what did not answer, by name, so that not all was looked at. `unlooked`: why something was left out."""

    findings: list[Finding] = field(default_factory=list)
    topics: int = 0
    partitions: int = 0
    events: int = 0
    checkpoints: int | None = None
    problems: dict[str, str] = field(default_factory=dict)
    unlooked: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return all(each.severity == "note" for each in self.findings)


def check(
    pipeline: Pipeline,
    settings: Settings,
    keys: Collection[PartitionKey] | None = None,
    *,
    app: str | None = None,
    progress: Progress | None = None,
) -> Checked:
    """All partitions, or those. `app`: as it must be typed. Raises `Unreachable`, `TopicsInvalid` where Kafka cannot be asked."""
    servers = settings.require_bootstrap_servers()
    typed = Typed(pipeline.name, pipeline.settings.group_id, servers, app)
    every = [PartitionKey(name, n) for name in sorted(pipeline.aggregates) for n in range(pipeline.settings.partitions)]
    return _Check(pipeline, settings, typed, progress).run(sorted(keys) if keys is not None else every, keys is None)


class _Check:
    """The steps of one check."""

    def __init__(self, pipeline: Pipeline, settings: Settings, typed: Typed, progress: Progress | None) -> None:
        self._pipeline, self._settings, self._typed = pipeline, settings, typed
        self._progress = progress
        self._catalog = open_catalog(pipeline, settings)
        self._checked = Checked()

    def run(self, keys: Sequence[PartitionKey], whole: bool) -> Checked:
        ids = self._look_at_topics(keys, whole)
        keys = [key for key in keys if key.aggregate in ids]
        if keys:
            with self._store() as store, closing(self._offsets_reader(keys)) as offsets:
                self._look_at_partitions(keys, ids, store, offsets)
        return self._checked

    # ---- topics

    def _look_at_topics(self, keys: Sequence[PartitionKey], whole: bool) -> dict[str, TopicIds]:
        """The ids of those aggregates' topics that are as many-partitioned as they must be."""
        wanted = [
            each
            for each in planned_topics(self._pipeline)
            if whole or any(each.name in self._names(key.aggregate) for key in keys)
        ]
        found = observe_topics(
            [each.name for each in wanted], self._settings.require_bootstrap_servers(), self._settings.kafka
        )
        self._checked.topics = len(wanted)
        for each in wanted:
            self._checked.findings += topic_findings(each, found.get(each.name), self._typed)
        usable = {each.name: found[each.name].topic_id for each in wanted if _is_usable(each, found.get(each.name))}
        ids = {}
        for name in sorted({key.aggregate for key in keys}):
            commands, events = self._names(name)
            if commands in usable and events in usable:
                ids[name] = TopicIds(usable[commands], usable[events])
            else:
                self._checked.unlooked.append(f"partitions of {name}: its topics are not there, or have another count")
        return ids

    def _names(self, aggregate: str) -> tuple[str, str]:
        return commands_topic(self._pipeline.name, aggregate), events_topic(self._pipeline.name, aggregate)

    # ---- partitions

    def _look_at_partitions(
        self,
        keys: Sequence[PartitionKey],
        ids: Mapping[str, TopicIds],
        store: SnapshotStore | None,
        reader: GroupOffsetsReader,
    ) -> None:
        """Offsets and checkpoints, then where the logs end, then the logs, then the offsets again."""
        before = reader.read().partitions
        kept = self._kept(store, keys)
        places = {key: TopicPlace(events_topic(self._pipeline.name, key.aggregate), key.number) for key in keys}
        ends = decided_ends(places.values(), self._settings.require_bootstrap_servers(), self._settings.kafka)
        found: list[tuple[PartitionFacts, AnchorCheck]] = []
        with LogReader(self._settings.require_bootstrap_servers(), self._settings.kafka) as log:
            told = _Told(self._progress, [_span(log, place, ends) for place in places.values()])
            for key, place in places.items():
                end = ends.ends.get(place)
                if end is None:
                    self._add(undecided_finding(key, ends.undecided[place], WAIT_S, self._typed))
                    end = ends.undecided[place]
                anchors = AnchorCheck(_sound_rows(kept.get(key)))
                fold, whole = self._read(log, key, place, end, anchors, told)
                complete = whole and place in ends.ends
                if complete:
                    anchors.ended(end)
                of = ids[key.aggregate]
                known = self._checkpointed(key, of, anchors)
                found.append((PartitionFacts(key, of, before[key], before[key], fold, complete, known), anchors))
        self._judge_offsets([facts for facts, _ in found], reader)
        for facts, anchors in found:
            self._judge_checkpoints(facts, anchors, kept.get(facts.key))
        if store is not None and kept:
            self._look_for_damage(store, keys)
        self._checked.partitions = len(keys)

    def _read(
        self, log: LogReader, key: PartitionKey, place: TopicPlace, end: Position, anchors: AnchorCheck, told: _Told
    ) -> tuple[PartitionFold, bool]:
        """Folds one partition's log; whether it is whole."""
        fold = PartitionFold(self._pipeline.aggregates[key.aggregate], self._catalog)
        start, offset, record_key, whole = log.bounds(place).start, None, None, False
        if start > 0:
            return fold, False  # history is missing: what is left of it proves nothing
        live_limit = max(self._pipeline.settings.live_aggregates, 1)
        log.start(place, start, end)
        try:
            for number, (_, offset, record_key, value, timestamp_ms) in enumerate(log.records()):
                anchors.see(offset, record_key, value)
                fold.feed(offset, record_key, value, timestamp_ms)
                if number % _RECORDS_BETWEEN_LOOKS == 0:
                    told.tell(offset, fold.events)
                    if len(fold.live) > live_limit:
                        fold.states.cool(len(fold.live) - live_limit, ())
        except LogInconsistent as wrong:
            self._add(log_finding(key, str(wrong), offset, record_key, self._typed, _MENDS))
        except UnknownSchema as unknown:
            self._add(self._unknown_schema(key, place, offset, unknown))
        else:
            left = [log_finding(key, str(each), None, None, self._typed, _MENDS) for each in fold.verdicts()]
            self._checked.findings += left
            whole = not left
        log.stop(place)
        told.passed(end, fold.events)
        self._checked.events += fold.events
        return fold, whole

    def _unknown_schema(
        self, key: PartitionKey, place: TopicPlace, offset: int | None, unknown: UnknownSchema
    ) -> Finding:
        return Finding(
            "error",
            str(key),
            f"an event is of a schema not known here: {unknown}",
            f"{place.topic}/{place.partition} offset {offset}",
            f"Put its .avsc file, from the deployment that wrote it, into {self._settings.schemas_dir}; a halted worker is "
            "restarted then. What follows it was not read",
            self._typed.eventsrc("schema export") + "   (in the deployment that wrote it)",
        )

    def _judge_offsets(self, found: Sequence[PartitionFacts], reader: GroupOffsetsReader) -> None:
        """Offsets are decided a moment after the events that they cover: a verdict that this may explain is looked at again."""
        findings: list[Finding] = []
        for look in range(_LOOKS):
            if look:
                time.sleep(_LOOK_AGAIN_S)
            after: Mapping[PartitionKey, PartitionOffsets] = reader.read().partitions
            for facts in found:
                facts.after = after[facts.key]
            findings = [each for facts in found for each in offset_findings(facts, self._typed)]
            if all(each.severity == "note" for each in findings):
                break
        self._checked.findings += findings

    # ---- checkpoints

    def _kept(self, store: SnapshotStore | None, keys: Sequence[PartitionKey]) -> dict[PartitionKey, Kept]:
        if store is None:
            return {}
        try:
            found = {kept.key: kept for kept in kept_of(store, keys)}
        except SnapshotsUnavailable as away:
            self._checked.problems["postgres"] = str(away)
            return {}
        self._checked.checkpoints = sum(len(kept.checkpoints) for kept in found.values())
        return found

    def _checkpointed(self, key: PartitionKey, ids: TopicIds, anchors: AnchorCheck) -> int:
        code = folded_by(self._catalog, self._pipeline.aggregates[key.aggregate])
        usable = [
            each.checkpoint.commands_position
            for each in anchors.checkpoints
            if each.id not in anchors.wrong and refusal(each.checkpoint, ids, code) is None
        ]
        return max(usable, default=0)

    def _judge_checkpoints(self, facts: PartitionFacts, anchors: AnchorCheck, kept: Kept | None) -> None:
        if kept is None:
            return
        code = folded_by(self._catalog, self._pipeline.aggregates[facts.key.aggregate])
        self._checked.findings += checkpoint_findings(facts, kept.head, kept.checkpoints, anchors, code, self._typed)

    def _look_for_damage(self, store: SnapshotStore, keys: Sequence[PartitionKey]) -> None:
        try:
            damaged: list[Verdict] = [each for each in verify(store, keys) if each.damage is not None]
            for each in damaged:
                if _is_still_kept(store, each):
                    self._add(damage_finding(each.key, each.id, each.damage or "", each.instead, self._typed))
        except SnapshotsUnavailable as away:
            self._checked.problems["postgres"] = str(away)

    @contextmanager
    def _store(self) -> Iterator[SnapshotStore | None]:
        """Its transactions are read-only."""
        if self._settings.database_url is None:
            self._checked.unlooked.append("checkpoints: no database is configured (DATABASE_URL)")
            yield None
            return
        from eventsrc.adapters.postgres.reading import read_only_snapshots

        with closing(read_only_snapshots(self._settings.database_url, self._pipeline.name, "fsck")) as store:
            yield store

    def _offsets_reader(self, keys: Sequence[PartitionKey]) -> GroupOffsetsReader:
        return GroupOffsetsReader(
            self._pipeline.name,
            sorted({key.aggregate for key in keys}),
            self._pipeline.settings.group_id,
            self._settings.require_bootstrap_servers(),
            self._settings.kafka,
        )

    def _add(self, finding: Finding) -> None:
        self._checked.findings.append(finding)


class _Told:
    """Tells the progress over partitions that are read one after the other."""

    def __init__(self, tell: Progress | None, spans: Sequence[int]) -> None:
        self._tell, self._total = tell, sum(spans)
        self._passed = self._events = 0

    def tell(self, offsets: int, events: int) -> None:
        if self._tell is not None:
            self._tell(self._passed + offsets, self._total, self._events + events)

    def passed(self, offsets: int, events: int) -> None:
        self._passed += offsets
        self._events += events


def _is_usable(wanted: PlannedTopic, observed: ObservedTopic | None) -> bool:
    return observed is not None and observed.partitions == wanted.partitions


def _span(log: LogReader, place: TopicPlace, ends: DecidedEnds) -> int:
    end = ends.ends.get(place) or ends.undecided.get(place) or Position(0)
    return max(end - log.bounds(place).start, 0)


def _sound_rows(kept: Kept | None) -> list[StoredCheckpoint]:
    return [] if kept is None else [each for each in kept.checkpoints if isinstance(each, StoredCheckpoint)]


def _is_still_kept(store: SnapshotStore, verdict: Verdict) -> bool:
    """A checkpoint that was collected while it was read is none that is damaged."""
    head = store.heads([verdict.key]).get(verdict.key)
    listed = {each.id for each in store.listed(verdict.key)}
    return verdict.id in listed or (head is not None and head.checkpoint == verdict.id)

"""One life of a worker: the real engine, driven as `eventsrc.runtime.driver` does, one small step at a time.

Between any two steps it can be left for as long as the schedule wants (then it is a zombie), or never go on (a crash).
`Guards` are the rules it keeps; the tests take one away to see that the checks notice.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import random
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from confluent_kafka import murmur2

from eventsrc.codes import HaltCode
from eventsrc.engine.batch import Answer, Batch, BatchKind
from eventsrc.engine.counts import Counts
from eventsrc.engine.decide import Limits, Surroundings
from eventsrc.engine.effects import (
    Assigned,
    AwaitTransaction,
    CommandsPolled,
    Commit,
    Effect,
    EventsPolled,
    FetchStableOffset,
    FindBlocker,
    Halt,
    Input,
    Instant,
    LoadSnapshot,
    LoopTurned,
    Lost,
    Open,
    Pause,
    ProducerReady,
    RecordOverlong,
    ReloadSchemas,
    ReplaceProducer,
    Revoked,
    Revoking,
    SendAnswers,
    StableOffsetFetched,
    StartReading,
    StopReading,
    TakeoverRefused,
    Ticked,
    TransactionAborted,
    TransactionCommitted,
    TransactionInDoubt,
    WriteCheckpoint,
)
from eventsrc.engine.notes import Owner, TopicIds, write_note
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.transaction import TransactionState
from eventsrc.engine.worker import WorkerEngine
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.position import Offset, Position
from tests.property.simulation.cluster import (
    DEAD,
    Cluster,
    CommittedOffset,
    FencedProducerError,
    NotReadyError,
    Place,
)
from tests.property.simulation.group import ExpelledError, Proof, StaleMemberError
from tests.property.simulation.store import (
    NO_STORE_FAULTS,
    STORE_FAULTS,
    FlakyStore,
    SharedStore,
    SnapshotEdge,
    StoreFaults,
)
from tests.unit.engine.shop import Record, catalog, commands_topic_of, pipeline

TICK_S = 0.05
Outcome = TransactionCommitted | TransactionAborted | TransactionInDoubt
Decision = Generator[None, None, Outcome]
Produced = tuple[bytes | None, bytes | None, int]


@dataclass(frozen=True, slots=True)
class Guards:
    """The rules of the protocol that stand outside the engine, and the engine's rule on the batch ahead."""

    stable_fetch: bool = True
    metadata_of_the_poll: bool = True
    barrier_sends_offsets: bool = True
    replaces_suspect_producer: bool = True
    never_guesses: bool = True
    drops_batch_ahead: bool = True
    reads_to_own_barrier: bool = True
    store_checks_terms: bool = True


@dataclass(frozen=True, slots=True)
class Faults:
    """How likely each is, at each chance it gets."""

    abort: float = 0.05
    in_doubt: float = 0.1
    suspect: float = 0.08
    timed_out: float = 0.03
    gives_up_waiting: float = 0.1
    slow: float = 0.02
    store: StoreFaults = STORE_FAULTS


NO_FAULTS = Faults(0, 0, 0, 0, 0, 0, NO_STORE_FAULTS)


def _with_settings(live_aggregates: int) -> Pipeline:
    """Checkpoints as often as they can be, and few aggregates live."""
    changed = copy.copy(pipeline)
    changed.settings = dataclasses.replace(
        pipeline.settings, live_aggregates=live_aggregates, checkpoint_interval=0.2, checkpoint_overhead=1000.0
    )
    return changed


class EndedError(Exception):
    """Another process has this instance id: the worker leaves."""


@dataclass(eq=False)
class Worker:
    slot: str
    cluster: Cluster
    rng: random.Random
    guards: Guards
    faults: Faults
    pace: float
    watch: Callable[[Worker, Input, list[Effect]], None]
    shared: SharedStore | None = None
    between: Callable[[], None] = lambda: None
    live_aggregates: int = 1_000
    now_s: float = 0.0
    engine: WorkerEngine = field(init=False)
    inbox: deque[Input] = field(default_factory=deque)
    member: int | None = None
    generation: int = -1
    assigned: set[PartitionKey] = field(default_factory=set)
    epoch: int | None = None
    starting: bool = True
    jobs: list[Iterator[None]] = field(default_factory=list)
    questions: dict[PartitionKey, tuple[int, Proof]] = field(default_factory=dict)
    fetching: dict[PartitionKey, int] = field(default_factory=dict)
    sought: dict[PartitionKey, int] = field(default_factory=dict)
    reading: dict[PartitionKey, int] = field(default_factory=dict)
    snapshots: SnapshotEdge | None = None
    answers: list[Answer] = field(default_factory=list)
    halted: list[Halt] = field(default_factory=list)
    paced: bool = field(init=False)

    def __post_init__(self) -> None:
        self.paced = self.rng.random() < 0.5
        limits = Limits(records=self.rng.randint(1, 6), output_bytes=self.rng.choice((150, 4_000_000)))
        if self.shared is not None:
            store = FlakyStore(self.shared, lambda: self.faults.store, self.between, self.guards.store_checks_terms)
            self.snapshots = SnapshotEdge(self.shared, store, self.inbox.append, self.rng)
        self.engine = WorkerEngine(
            _with_settings(self.live_aggregates),
            catalog,
            Owner(self.slot, self.transactional_id),
            limits,
            Surroundings(commands_topic_of, murmur2),
            {name: TopicIds(f"{name}-commands", f"{name}-events") for name in pipeline.aggregates},
            self._clock,
            lambda: uuid.UUID(int=self.rng.getrandbits(128)),
            self.shared is not None,
        )

    @property
    def transactional_id(self) -> str:
        return f"shop-{self.slot}"

    def _clock(self) -> float:
        """A slow handler, now and then: the batch closes early."""
        return self.now_s + (2.0 if self.rng.random() < self.faults.slow else 0.0)

    # ---- steps

    def turn(self) -> None:
        """One step of one of its threads. Raises EndedError."""
        choice = self.rng.random()
        if self.jobs and choice < self.pace:
            self._work(self.rng.choice(self.jobs))
        elif self.starting and choice < 0.6:
            self._start()
        elif self.questions and choice < 0.75:
            self._ask()
        elif self.snapshots is not None and choice < 0.85 and (self.snapshots.busy or choice > 0.83):
            self.snapshots.turn()
        else:
            self.loop()

    def loop(self) -> None:
        self.now_s += TICK_S
        for _ in range(self.rng.randint(0, 2)):
            if self.inbox:
                self._take(self.inbox.popleft())
        self._poll()
        self._poll_events()
        while self.engine.wants_turns and self.rng.random() < 0.8:
            self.step(LoopTurned())
        if self.rng.random() < 0.3:
            self.step(Ticked())

    def step(self, happened: Input) -> None:
        ahead = self.engine.lane.take_ahead() if self._keeps_ahead(happened) else None
        at = Instant(1_700_000_000_000_000 + int(self.now_s * 1e6), self.now_s)
        effects = self.engine.step(happened, at)
        if ahead is not None and self.engine.lane.state is TransactionState.IDLE:
            self.engine.lane.send(ahead)
            effects.append(Commit(ahead))
        self.watch(self, happened, effects)
        for effect in effects:
            self._perform(effect)

    def _keeps_ahead(self, happened: Input) -> bool:
        return not self.guards.drops_batch_ahead and isinstance(happened, TransactionAborted)

    def _take(self, happened: Input) -> None:
        batch = getattr(happened, "batch", None)
        if batch is None or batch is self.engine.lane.current:
            self.step(happened)

    # ---- membership

    def _metadata(self) -> Proof:
        return Proof(self.member or -1, self.generation)

    def _poll(self) -> None:
        self.sought.clear()
        polled = self._fetch() if self._asks else {}
        self._serve()
        polled = {key: records for key, records in polled.items() if key in self.assigned and key not in self.sought}
        for key, position in self.sought.items():
            if key in self.assigned and key in self.fetching:
                self.fetching[key] = position
        if polled and self._asks:
            self.step(CommandsPolled(polled, self._metadata()))

    @property
    def _asks(self) -> bool:
        """As the driver does, or as often as the engine allows: a batch ahead must be right whenever there is one."""
        return self.engine.wants_commands if self.paced else self.engine.accepts_commands

    def _fetch(self) -> dict[PartitionKey, Sequence[Record]]:
        room = self.engine.record_limit
        polled: dict[PartitionKey, Sequence[Record]] = {}
        for key in self.rng.sample(sorted(self.fetching), len(self.fetching)):
            waiting = [each for each in self.cluster.commands[key] if each.at >= self.fetching[key]]
            taken = waiting[: min(room, self.rng.randint(0, 4))]
            if taken:
                polled[key] = taken
                self.fetching[key] = taken[-1].at + 1
                room -= len(taken)
        return polled

    def _serve(self) -> None:
        """The group's part of a poll, with its callbacks."""
        group = self.cluster.group
        if self.member is None:
            self.member = group.enter(self.slot)
        try:
            told = group.poll(self.slot, self.member, self.assigned)
        except ExpelledError:
            self._expelled()
            return
        if told is None:
            return
        self.generation, target = told
        gone, new = tuple(sorted(self.assigned - target)), tuple(sorted(target - self.assigned))
        if gone:
            self.step(Revoking(gone))
            for key in gone:
                self.questions.pop(key, None)
            self.step(Revoked(gone))
            self._forget(gone)
        self.assigned.update(new)
        self.step(Assigned(new))

    def _expelled(self) -> None:
        if self.slot in self.cluster.group.members:
            raise EndedError
        gone = tuple(sorted(self.assigned))
        self._forget(gone)
        self.member, self.generation = None, -1
        self.step(Lost(gone))

    def _forget(self, gone: Sequence[PartitionKey]) -> None:
        self.assigned.difference_update(gone)
        for key in gone:
            for known in (self.questions, self.fetching, self.sought):
                known.pop(key, None)
            if self.snapshots is not None:
                self.snapshots.watched.discard(key)

    # ---- reading events

    def _poll_events(self) -> None:
        polled = {}
        for key, position in list(self.reading.items()):
            arrived = self.cluster.logs[key].committed(position)
            records = arrived[: self.rng.randint(0, 8)]
            if records:
                self.reading[key] = records[-1].at + 1
                polled[key] = records
            elif not self.guards.reads_to_own_barrier and not arrived:
                self._believe_the_end(key)
        if polled:
            self.step(EventsPolled(polled))

    def _believe_the_end(self, key: PartitionKey) -> None:
        """Without the guard: nothing more is readable now, so the log is taken to end here."""
        ownership = self.engine.owned[key]
        fold = ownership.fold
        if fold is not None and ownership.term is not None:
            fold.barriers.add(ownership.term)
            value = next(each.record for each in self.cluster.logs[key].entries if each.record.at == ownership.term)
            self.step(EventsPolled({key: [value]}))

    # ---- the other threads

    def _start(self) -> None:
        try:
            self.epoch = self.cluster.init(self.transactional_id)
        except NotReadyError:
            return
        self.starting = False
        self.inbox.append(ProducerReady())

    def _ask(self) -> None:
        key = self.rng.choice(sorted(self.questions))
        if self.guards.stable_fetch and self.cluster.is_pending(key):
            return
        attempt, proof = self.questions.pop(key)
        found = self.cluster.offsets.get(key)
        committed, note = (Position(found.position), found.note) if found else (None, None)
        end = Position(self.cluster.commands_end(key))
        self.inbox.append(StableOffsetFetched(key, attempt, proof, committed, note, Position(0), end))

    def _work(self, job: Iterator[None]) -> None:
        if next(job, self) is self:
            self.jobs.remove(job)

    def _transaction(self, batch: Batch, epoch: int) -> Iterator[None]:
        """What the commit thread and the client library do; each `yield` is a place to stop at, or to die."""
        try:
            outcome = yield from self._decide(batch, epoch)
        except FencedProducerError as fenced:
            if not fenced.expired:
                raise EndedError from fenced
            outcome = TransactionInDoubt(batch, "it was open for too long", timed_out=True)
        if isinstance(outcome, TransactionInDoubt) and not self.guards.never_guesses:
            outcome = TransactionAborted(batch, "surely")
        self.inbox.append(outcome)

    def _decide(self, batch: Batch, epoch: int) -> Decision:
        try:
            aborted, last = yield from self._send(batch, epoch)
        except StaleMemberError:
            aborted, last = "the group refused the offsets", {}
        if aborted is None and self._chance(self.faults.timed_out):
            self.cluster.expire(self.transactional_id)
        yield
        if self._chance(self.faults.in_doubt):
            return self._unanswered(batch, epoch, commit=aborted is None)
        self.cluster.end(self.transactional_id, epoch, commit=aborted is None)
        yield
        if aborted is not None:
            return TransactionAborted(batch, aborted)
        suspect = self._chance(self.faults.suspect)
        if suspect:
            self._send_late(epoch, commit=True)
        return TransactionCommitted(batch, last, suspect and self.guards.replaces_suspect_producer)

    def _send(
        self, batch: Batch, epoch: int
    ) -> Generator[None, None, tuple[str | None, Mapping[PartitionKey, Offset]]]:
        """Records reach the broker before and after the offsets; the terms of barriers are known before."""
        records = self._records(batch)
        barriers = batch.kind is BatchKind.BARRIERS
        first = len(records) if barriers else self.rng.randint(0, len(records))
        last: dict[PartitionKey, Offset] = {}
        yield
        yield from self._produce(records[:first], epoch, last)
        if self._chance(self.faults.abort):
            return "the broker refused a record", last
        if self.guards.barrier_sends_offsets or not barriers:
            yield from self._send_offsets(batch, epoch, last)
        yield
        yield from self._produce(records[first:], epoch, last)
        return None, last

    def _records(self, batch: Batch) -> list[tuple[Place, Produced]]:
        """In order within a partition, as they come between partitions."""
        queues: list[list[tuple[Place, Produced]]] = []
        for key, section in batch.sections.items():
            queues.append([(key, (each[0], each[1], each[2])) for each in section.records])
            queues.append([(DEAD, (each.key, each.value, 0)) for each in section.dead_letters])
        mixed = []
        while queues := [each for each in queues if each]:
            mixed.append(self.rng.choice(queues).pop(0))
        return mixed

    def _produce(
        self, records: Sequence[tuple[Place, Produced]], epoch: int, last: dict[PartitionKey, Offset]
    ) -> Iterator[None]:
        for place, (key, value, time_ms) in records:
            while True:
                try:
                    offset = self.cluster.produce(self.transactional_id, epoch, place, key, value, time_ms)
                    break
                except NotReadyError:
                    yield
            if isinstance(place, PartitionKey):
                last[place] = Offset(offset)
            if self.rng.random() < 0.3:
                yield

    def _send_offsets(self, batch: Batch, epoch: int, last: Mapping[PartitionKey, Offset]) -> Iterator[None]:
        offsets = []
        for key, section in batch.sections.items():
            note = section.note
            if batch.kind is BatchKind.BARRIERS:
                note = write_note(self.engine.owner, last[key], Counts())
            offsets.append((key, CommittedOffset(section.position, note)))
        while True:
            proof = batch.metadata if self.guards.metadata_of_the_poll else self._metadata()
            try:
                return self.cluster.send_offsets(self.transactional_id, epoch, offsets, proof)
            except NotReadyError:
                yield

    def _unanswered(self, batch: Batch, epoch: int, *, commit: bool) -> Outcome:
        """The request was carried out and its answer lost, or it is under way, or it is gone."""
        fate = self.rng.choice(("answer lost", "late", "gone"))
        if fate == "answer lost":
            self.cluster.end(self.transactional_id, epoch, commit=commit)
        elif fate == "late":
            self._send_late(epoch, commit=commit)
        return TransactionInDoubt(batch, fate)

    def _send_late(self, epoch: int, *, commit: bool) -> None:
        def arrive() -> None:
            with contextlib.suppress(FencedProducerError):
                self.cluster.end(self.transactional_id, epoch, commit=commit)

        self.cluster.network.append(arrive)

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    # ---- effects

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Commit(batch):
                if self.epoch is None:
                    raise AssertionError("a transaction was to be sent without a producer")
                self.jobs.append(self._transaction(batch, self.epoch))
            case AwaitTransaction():
                self._await_transaction()
            case ReplaceProducer():
                self.epoch, self.starting = None, True
            case FetchStableOffset(key, attempt):
                self.questions[key] = (attempt, self._metadata())
            case StartReading(key, position):
                self.reading[key] = position
            case StopReading(key):
                self.reading.pop(key, None)
            case Open(key, position):
                if key in self.assigned:
                    self.fetching[key] = self.sought[key] = position
            case Pause(key):
                self.fetching.pop(key, None)
            case SendAnswers(answers):
                self.answers += answers
            case FindBlocker(key, attempt, words):
                self.inbox.append(TakeoverRefused(key, attempt, words, HaltCode.HANGING_TRANSACTION))
            case LoadSnapshot() if self.snapshots is not None:
                self.snapshots.watched.add(effect.partition)
                self.snapshots.loads.append(effect)
            case WriteCheckpoint() if self.snapshots is not None:
                self.snapshots.writes.append(effect)
            case LoadSnapshot() | WriteCheckpoint():
                raise AssertionError(f"{effect}, and there is no store")
            case Halt():
                self.halted.append(effect)
            case ReloadSchemas() | RecordOverlong():
                pass
            case _:
                assert_never(effect)

    def _await_transaction(self) -> None:
        """Inside a rebalance callback. The others go on meanwhile; now and then it is given up as unknown."""
        for _ in range(200):
            batch = self.engine.lane.current
            if batch is None:
                return
            if self.inbox:
                self._take(self.inbox.popleft())
            elif self._chance(self.faults.gives_up_waiting) or not self.jobs:
                break
            else:
                self._work(self.jobs[-1])
                self.cluster.write_marker()
        batch = self.engine.lane.current
        if batch is not None:
            self.step(TransactionInDoubt(batch, "it was not decided before its partitions were revoked"))

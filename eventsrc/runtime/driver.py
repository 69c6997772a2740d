"""The one loop: polls, steps the engine, performs its effects. Everything blocking is at the edges, behind a queue.

Knows how effects are performed and in which thread; decides nothing. Rebalance callbacks run inside `poll`, on this
thread: what they ask of a transaction is answered before they return.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from eventsrc.codes import HaltCode, see
from eventsrc.engine.batch import Batch
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
    LogRefused,
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
    ShutdownRequested,
    StartReading,
    StopReading,
    TakeoverRefused,
    Ticked,
    TransactionInDoubt,
    WriteCheckpoint,
)
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.worker import WorkerEngine
from eventsrc.errors import AbortRequired, InvalidSchema, OutcomeInDoubt
from eventsrc.faultpoints import reach
from eventsrc.ports import (
    DecidingRecord,
    EventsLog,
    Membership,
    Polled,
    Replies,
    Snapshots,
    StableOffsets,
    Status,
    Transactions,
)
from eventsrc.runtime.commit_thread import CommitThread

logger = logging.getLogger("eventsrc.worker")

TICK_S = 0.25
IDLE_POLL_S = 0.05
BUSY_POLL_S = 0.002
JOINING_POLL_S = 0.01  # a worker more than there are partitions waits for its share for ever
EVENTS_AT_ONCE = 5000
SERVE_MEMBERSHIP_AFTER_S = 1.0
REPORT_S = 1.0


@dataclass(frozen=True, slots=True)
class ProducerStarted:
    """A producer holds the transactional id."""

    producer: Transactions


@dataclass(slots=True)
class Ports:
    """What the driver works with; made by `runtime.worker`, faked in tests."""

    membership: Membership
    events: EventsLog
    replies: Replies
    queries: StableOffsets
    record: DecidingRecord
    snapshots: Snapshots | None = None
    status: Status | None = None


class Driver:
    """Runs one worker until `stopping` is set. All methods on the loop's thread but `post`."""

    def __init__(
        self,
        engine: WorkerEngine,
        start_producer: Callable[[Callable[[], bytes] | None], Transactions],
        describe_blocker: Callable[[PartitionKey], str | None],
        stopping: threading.Event,
        *,
        drain_s: float,
        await_transaction_s: float,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._engine = engine
        self._wall_us = wall_us
        self._start_producer = start_producer
        self._describe_blocker = describe_blocker
        self._drain_s = drain_s
        self._await_transaction_s = await_transaction_s
        self._inbox: queue.SimpleQueue[Input | ProducerStarted | Exception] = queue.SimpleQueue()
        self._commits = CommitThread(self.post)
        self._producer: Transactions | None = None
        self._proof = b""
        self._stopping = stopping
        self._ticked_s = 0.0
        self._served_s = 0.0
        self._sent_s = 0.0
        self._reported_s = 0.0
        self._leave_by_s: float | None = None
        self.ports: Ports | None = None
        self._dead = False
        self._begin_producer(None)

    # ---- from other threads

    def post(self, happened: Input | ProducerStarted | Exception) -> None:
        """Hand something to the loop."""
        self._inbox.put(happened)

    # ---- the loop

    def run(self) -> None:
        """Returns after a drain. Raises Fenced, and whatever a defect raises: then nothing may be written any more, and
        `close` writes nothing."""
        try:
            self._loop()
        except BaseException:
            self._dead = True
            if self._producer is not None:
                self._producer.abandon()
            raise

    def _loop(self) -> None:
        while True:
            self._drain_inbox()
            if self._stopping.is_set() and self._leave_by_s is None:
                self._leave_by_s = time.monotonic() + self._drain_s
                self._step(ShutdownRequested())
            if self._leave_by_s is not None and self._may_leave(self._leave_by_s):
                return
            self._poll_commands()
            if self._leave_by_s is None:
                self._poll_events()
            if self._engine.wants_turns:
                self._step(LoopTurned())
            self._tick()

    def _may_leave(self, leave_by_s: float) -> bool:
        if self._engine.quiet:
            return True
        if time.monotonic() <= leave_by_s:
            return False
        logger.warning(
            "leaving with a transaction that Kafka did not decide within %g s: the next owner of its partitions waits for it, "
            "or ends it",
            self._drain_s,
        )
        return True

    def close(self) -> None:
        """After `run`, whatever way it ended: no commit is begun any more, answers are sent, the group is left. Each step
        is bounded in time: what is closed here has nothing of ours left to finish."""
        ports = self._ports
        self._stopping.set()
        if self._producer is not None:
            self._producer.abandon()
        ports.queries.close()
        ports.replies.flush(2.0)
        ports.membership.close()
        ports.events.close()
        if ports.snapshots is not None:
            ports.snapshots.close(2.0)
        self._commits.close(2.0)

    @property
    def _snapshots(self) -> Snapshots:
        if self._ports.snapshots is None:
            raise AssertionError("the engine was told of a snapshot store that is not there")
        return self._ports.snapshots

    @property
    def _ports(self) -> Ports:
        if self.ports is None:
            raise AssertionError("the driver runs before it has ports")
        return self.ports

    def _poll_commands(self) -> None:
        engine = self._engine
        if not engine.wants_commands:
            self._wait_for_outcome()
            return
        at_once = self._ports.events.active or engine.checkpoints.gathering
        timeout_s = 0.0 if at_once else self._patience_s
        polled = self._ports.membership.poll(engine.record_limit, timeout_s)
        self._served_s = time.monotonic()
        if polled:
            self._decide(polled)

    @property
    def _patience_s(self) -> float:
        """How long a poll waits for a command: briefly where something else is about to come."""
        engine = self._engine
        if not engine.owned:
            return JOINING_POLL_S
        return BUSY_POLL_S if not engine.quiet or engine.recovering else IDLE_POLL_S

    def _decide(self, polled: Polled) -> None:
        commands = CommandsPolled(polled, self._ports.membership.metadata())
        if not self._engine.singly:
            self._step(commands)
            return
        (key, records), *_ = polled.items()
        self._ports.record.deciding((key.aggregate, key.number, records[0].offset() or 0))
        self._step(commands)
        self._ports.record.deciding(None)

    def _wait_for_outcome(self) -> None:
        """No command is to be decided before the transaction in flight is: nothing to do but to stay a member, unless there is
        other work for the loop."""
        working = self._engine.wants_turns or self._ports.events.active
        try:
            self._take(self._inbox.get(timeout=BUSY_POLL_S if working else IDLE_POLL_S))
        except queue.Empty:
            pass
        if time.monotonic() - self._served_s > SERVE_MEMBERSHIP_AFTER_S:
            self._ports.membership.serve()
            self._served_s = time.monotonic()

    def _poll_events(self) -> None:
        if not self._ports.events.active:
            return
        polled = self._ports.events.poll(EVENTS_AT_ONCE, 0.01)
        if polled:
            reach("during-recovery")
            self._step(EventsPolled(polled))

    def _tick(self) -> None:
        now_s = time.monotonic()
        if now_s - self._ticked_s >= TICK_S:
            self._ticked_s = now_s
            if self._producer is None:
                self._proof = self._ports.membership.metadata()
            self._give_up_on_a_call_that_does_not_return(now_s)
            self._report_status(now_s)  # before a partition that waits looks again, which it does as often
            self._ports.replies.send(())  # what became of those sent before
            self._step(Ticked())
            if self._engine.proved:
                self._ports.record.progressed()

    def _give_up_on_a_call_that_does_not_return(self, now_s: float) -> None:
        """A call into the client library may outlast its own timeout; by then the broker has aborted what it was about."""
        if self._engine.lane.current is None or now_s - self._sent_s <= self._await_transaction_s:
            return
        self._drain_inbox()  # it may have returned long ago, and deciding a batch have kept us from looking
        batch, waited_s = self._engine.lane.current, now_s - self._sent_s
        if batch is not None and waited_s > self._await_transaction_s:
            self._step(TransactionInDoubt(batch, f"the client library has not returned for {waited_s:.0f} s"))

    def _report_status(self, now_s: float) -> None:
        status = self._ports.status
        if status is not None and now_s - self._reported_s >= REPORT_S:
            self._reported_s = now_s
            status.write(self._engine.report(Instant(self._wall_us(), now_s), self._ports.membership.ends()))

    def _drain_inbox(self) -> None:
        while True:
            try:
                happened = self._inbox.get_nowait()
            except queue.Empty:
                return
            self._take(happened)

    def _take(self, happened: Input | ProducerStarted | Exception) -> None:
        if isinstance(happened, Exception):
            raise happened
        if isinstance(happened, ProducerStarted):
            self._producer = happened.producer
            self._step(ProducerReady())
        elif not self._is_stale(happened):
            self._step(happened)

    def _is_stale(self, happened: Input) -> bool:
        """The outcome of a transaction that was given up as unknown before."""
        batch = getattr(happened, "batch", None)
        return isinstance(batch, Batch) and batch is not self._engine.lane.current

    def _step(self, happened: Input) -> None:
        at = Instant(self._wall_us(), time.monotonic())
        self._perform(self._engine.step(happened, at))

    # ---- effects

    def _perform(self, effects: Sequence[Effect]) -> None:
        ports = self._ports
        metadata: bytes | None = None
        for effect in effects:
            match effect:
                case Commit(batch):
                    self._commit(batch)
                case SendAnswers(answers):
                    ports.replies.send(answers)
                case Open(partition, position):
                    ports.membership.open(partition, position)
                case Pause(partition):
                    ports.membership.pause(partition)
                case FetchStableOffset(partition, attempt):
                    if metadata is None:
                        metadata = ports.membership.metadata()
                    ports.queries.ask(partition, attempt, metadata)
                case LoadSnapshot():
                    reach("after-barrier")
                    self._snapshots.load(effect)
                case WriteCheckpoint():
                    self._snapshots.write(effect)
                case StartReading(partition, position):
                    reach("before-reading" if ports.snapshots is not None else "after-barrier")
                    ports.events.start(partition, position)
                case StopReading(partition):
                    ports.events.stop(partition)
                case AwaitTransaction():
                    self._await_transaction()
                case ReplaceProducer(reason):
                    self._replace_producer(reason)
                case RecordOverlong(command, times):
                    ports.record.overlong(command, times)
                case ReloadSchemas():
                    self._reload_schemas()
                case FindBlocker(partition, attempt, words):
                    self._find_blocker(partition, attempt, words)
                case Halt(partition, reason, code):
                    logger.error(
                        "partition %s is halted: %s. Other partitions run on. Next: eventsrc fsck --partition %s; %s",
                        partition, reason, partition, see(code),
                        extra={"partition": str(partition), "code": str(code)},
                    )  # fmt: skip
                case _:
                    assert_never(effect)

    def _commit(self, batch: Batch) -> None:
        producer = self._producer
        if producer is None:
            raise AssertionError("a transaction was to be sent without a producer")
        self._sent_s = time.monotonic()
        try:
            producer.send(batch)
        except AbortRequired as cause:
            self._commits.abort(producer, batch, cause)
        except OutcomeInDoubt as doubt:
            self.post(TransactionInDoubt(batch, str(doubt)))
        else:
            self._commits.finish(producer, batch)

    def _await_transaction(self) -> None:
        """Inside a rebalance callback: no transaction may outlive it."""
        give_up_s = min(time.monotonic() + self._await_transaction_s, self._leave_by_s or math.inf)
        while (batch := self._engine.lane.current) is not None:
            try:
                self._take(self._inbox.get(timeout=max(0.001, give_up_s - time.monotonic())))
            except queue.Empty:
                self._step(TransactionInDoubt(batch, "it was not decided before its partitions were revoked"))
            except Exception as failure:  # noqa: BLE001 - a callback must not raise: the loop raises it instead
                self.post(failure)
                return

    def _replace_producer(self, reason: str) -> None:
        logger.info("replacing the producer: %s", reason)
        if self._producer is not None:
            self._producer.abandon()
            self._producer = None
        self._commits.close(0.0)  # whatever call it is in: the next producer has a thread of its own
        self._commits = CommitThread(self.post)
        self._proof = self._ports.membership.metadata()
        self._begin_producer(lambda: self._proof)

    def _begin_producer(self, proof: Callable[[], bytes] | None) -> None:
        """In a thread: it waits for the coordinator, beside the group join. `proof`: of the membership that its
        transactional id belongs to, where there is one already; kept up to date while it waits."""

        def start() -> None:
            try:
                self.post(ProducerStarted(self._start_producer(proof)))
            except Exception as failure:  # noqa: BLE001 - reported to the loop, which ends with it
                if not self._stopping.is_set():
                    self.post(failure)

        threading.Thread(target=start, name="eventsrc-producer-start", daemon=True).start()

    def _reload_schemas(self) -> None:
        try:
            self._engine.catalog.reload()
        except (OSError, InvalidSchema) as failure:  # a deployment is under way, or left what is none: look again later
            logger.warning("the schema directory cannot be listed: %s", failure)

    def _find_blocker(self, partition: PartitionKey, attempt: int, words: str) -> None:
        """In a thread: it asks the broker several times, and the partition that is held back waits anyway."""

        def find() -> None:
            found = self._describe_blocker(partition)
            if found is not None:
                self.post(TakeoverRefused(partition, attempt, f"{words} {found}", HaltCode.HANGING_TRANSACTION))

        threading.Thread(target=find, name="eventsrc-blocker", daemon=True).start()

    # ---- rebalance callbacks, on the loop's thread, inside `poll`

    def on_assigned(self, partitions: tuple[PartitionKey, ...]) -> None:
        self._guarded(Assigned(partitions))

    def on_revoked(self, partitions: tuple[PartitionKey, ...]) -> None:
        self._guarded(Revoking(partitions))
        for partition in partitions:
            self._ports.queries.cancel(partition)
            self._forget_snapshots(partition)
        self._guarded(Revoked(partitions))

    def on_lost(self, partitions: tuple[PartitionKey, ...]) -> None:
        for partition in partitions:
            self._ports.queries.cancel(partition)
            self._forget_snapshots(partition)
        self._guarded(Lost(partitions))

    def _forget_snapshots(self, partition: PartitionKey) -> None:
        if self._ports.snapshots is not None:
            self._ports.snapshots.forget(partition)

    def on_partition_error(self, partition: PartitionKey, reason: str) -> None:
        """The commands topic cannot be read on."""
        self.post(LogRefused(partition, reason, HaltCode.POSITION_UNREADABLE))

    def _guarded(self, happened: Input) -> None:
        if self._dead:
            return
        try:
            self._step(happened)
        except Exception as failure:  # noqa: BLE001 - a callback must not raise: the loop raises it instead
            self.post(failure)

"""A whole worker over a broker in memory: the engine and the driver that `eventsrc run` has, in a thread.

As `runtime.worker` makes one of its parts for Kafka. Several may run on one broker, and be killed.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable

from confluent_kafka import murmur2

from eventsrc.codec.catalog import Catalog
from eventsrc.engine.decide import ENDED_THE_PROCESS, Limits, Surroundings
from eventsrc.engine.effects import CheckpointRequested, Ticked
from eventsrc.engine.notes import Owner, TopicIds
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.worker import WorkerEngine
from eventsrc.errors import Fenced
from eventsrc.model.names import commands_topic
from eventsrc.model.pipeline import Pipeline
from eventsrc.runtime.driver import Driver, Ports
from eventsrc.runtime.snapshot_threads import SnapshotThreads
from eventsrc.testing.memory.broker import MemoryBroker
from eventsrc.testing.memory.membership import MemoryMembership
from eventsrc.testing.memory.offsets import MemoryStableOffsets
from eventsrc.testing.memory.process import Killed, MemoryProcess
from eventsrc.testing.memory.reading import MemoryEventsLog
from eventsrc.testing.memory.record import MemoryDecidingRecord, MemorySlot
from eventsrc.testing.memory.replies import MemoryReplies
from eventsrc.testing.memory.transactions import MemoryTransactions
from eventsrc.testing.memory_snapshots import MemoryDatabase, MemorySnapshots

_REPLY_BYTES = 1_100_000
_DRAIN_S = 20.0


class MemoryWorker:
    """One life under an instance id; it runs from when it is made. `slot` outlives it, as a state directory does;
    `database`: where its checkpoints are, if it is to take any; `wall_us`: the time on its machine."""

    def __init__(
        self,
        pipeline: Pipeline,
        broker: MemoryBroker,
        instance: str,
        slot: MemorySlot | None = None,
        *,
        database: MemoryDatabase | None = None,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.process = MemoryProcess(broker, instance)
        self.failure: BaseException | None = None
        self._pipeline = pipeline
        self._database = database
        self._wall_us = wall_us
        self._driver: Driver | None = None
        self._has_driver = threading.Event()
        self._owner = Owner(instance, f"{pipeline.settings.group_id}-{instance}")
        self._record = MemoryDecidingRecord(slot or MemorySlot())
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"memory-worker-{instance}", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Ends it as SIGTERM does; returns when it has ended. Raises what it failed with."""
        self._stopping.set()
        self.process.end()
        self._join()
        if self.failure is not None:
            raise self.failure

    def kill(self) -> None:
        """Ends it as SIGKILL does, whatever it does; returns when its threads have ended. Its session goes on until
        `MemoryBroker.end_session`, or another life of the instance."""
        self.process.kill()
        self._join()

    def request_checkpoints(self, partitions: Iterable[PartitionKey]) -> None:
        """Of those that are its own, as an operator requests them. From any thread, as `hurry`."""
        for key in partitions:
            self._post(CheckpointRequested(key))

    def hurry(self) -> None:
        """What waits for the next tick happens now."""
        self._post(Ticked())

    def _post(self, happened: CheckpointRequested | Ticked) -> None:
        self._has_driver.wait(_DRAIN_S)
        if self._driver is not None:
            self._driver.post(happened)

    def _join(self) -> None:
        self._thread.join(_DRAIN_S)
        if self._thread.is_alive():
            raise TimeoutError(f"worker {self.process.instance} did not end within {_DRAIN_S:g} s")

    def _run(self) -> None:
        of = self._pipeline.settings
        driver = Driver(
            self._engine(),
            self._start_producer,
            lambda _: None,
            self._stopping,
            drain_s=of.transaction_timeout * 2,
            await_transaction_s=of.transaction_timeout + 2,
            wall_us=self._wall_us,
        )
        driver.ports = self._ports(driver)
        self._driver = driver
        self._has_driver.set()
        try:
            driver.run()
            self._record.close()
        except Killed:
            pass
        except Exception as failure:  # noqa: BLE001 - told to whoever ends it
            self.failure = failure
        finally:
            with contextlib.suppress(Killed):
                driver.close()

    def _engine(self) -> WorkerEngine:
        pipeline, of = self._pipeline, self._pipeline.settings
        return WorkerEngine(
            pipeline,
            Catalog(pipeline, None),
            self._owner,
            Limits(
                records=of.batch_records,
                output_bytes=of.batch_bytes,
                handler_attempts=of.handler_attempts,
                max_command_bytes=of.max_command_bytes,
                max_event_bytes=of.max_command_bytes,
                purity_sample=1,  # this is for tests
            ),
            Surroundings(
                lambda name: commands_topic(pipeline.name, name),
                murmur2,
                isolated=dict.fromkeys(self._record.isolated, ENDED_THE_PROCESS),
            ),
            {name: TopicIds(f"{name}-commands", f"{name}-events") for name in pipeline.aggregates},
            time.monotonic,
            uuid.uuid4,
            has_snapshots=self._database is not None,
            suspicious=self._record.suspicious,
            overlong_before=self._record.overlong_before,
        )

    def _ports(self, driver: Driver) -> Ports:
        return Ports(
            MemoryMembership(self.process, driver, driver.on_partition_error),
            MemoryEventsLog(self.process, driver.on_partition_error),
            MemoryReplies(self.process, _REPLY_BYTES),
            MemoryStableOffsets(self.process, self._owner.transactional_id, driver.post),
            self._record,
            self._snapshots(driver),
        )

    def _snapshots(self, driver: Driver) -> SnapshotThreads | None:
        database = self._database
        return None if database is None else SnapshotThreads(lambda: MemorySnapshots(database), driver.post)

    def _start_producer(self, proof: Callable[[], bytes] | None) -> MemoryTransactions:
        if proof is not None:
            self._check_identity(proof())
        return MemoryTransactions(self.process, self._owner, self._pipeline.settings.transaction_timeout)

    def _check_identity(self, proof: bytes) -> None:
        """Raises Fenced where the instance id is another life's now: taking the transactional id would end both."""
        holder = self.process.broker.group.members.get(self.process.instance)
        if proof and holder is not None and not proof.startswith(holder.encode() + b"\0"):
            raise Fenced(f"instance id {self.process.instance} is another process's now")


def memory_broker(pipeline: Pipeline) -> MemoryBroker:
    """With the pipeline's topics, empty."""
    return MemoryBroker(pipeline.name, tuple(pipeline.aggregates), pipeline.settings.partitions)

"""Makes one worker of its parts and runs it: what `eventsrc run` does after the command line is read.

On the way to the group join every import and every round trip counts: a worker that was killed is back in a fraction
of a second only if nothing heavy stands here.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from confluent_kafka import murmur2

from eventsrc.adapters.kafka.blockers import describe_blocker
from eventsrc.adapters.kafka.config import Config, client_config
from eventsrc.adapters.kafka.events_reader import EventsReader, events_reader_config
from eventsrc.adapters.kafka.group_queries import GroupQueries
from eventsrc.adapters.kafka.membership import GroupMembership, membership_config
from eventsrc.adapters.kafka.membership_proof import member_of
from eventsrc.adapters.kafka.producer import TopicNames, TransactionalProducer
from eventsrc.adapters.kafka.producer_start import initialised_producer, producer_config
from eventsrc.adapters.kafka.replies import ReplyProducer
from eventsrc.adapters.kafka.rights import not_authorized, rights_of
from eventsrc.adapters.kafka.takeover_queries import TakeoverQueries
from eventsrc.adapters.kafka.topic_watch import TopicWatch
from eventsrc.adapters.kafka.topics import (
    commands_message_bytes,
    dead_letter_message_bytes,
    observe_topics,
    replies_message_bytes,
    verify_topics,
)
from eventsrc.adapters.local.crash_record import CrashRecord
from eventsrc.adapters.local.slots import Slot
from eventsrc.codec import schema_files
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.control import Reply
from eventsrc.codes import HaltCode, code_of, see
from eventsrc.engine.decide import ENDED_THE_PROCESS, Limits, Surroundings
from eventsrc.engine.effects import LogRefused
from eventsrc.engine.notes import Owner, TopicIds, check_note_fits
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.worker import WorkerEngine
from eventsrc.errors import AccessDenied, EventsrcError, Fenced, NotAuthorized, WorkerError
from eventsrc.model.names import commands_topic, dead_letter_topic, events_topic, replies_topic
from eventsrc.model.pipeline import Pipeline
from eventsrc.ports import SnapshotStore
from eventsrc.runtime import logs
from eventsrc.runtime.catalogs import WORKER_WAIT_S, open_catalog
from eventsrc.runtime.driver import Driver, Ports
from eventsrc.runtime.http_address import HttpAddress
from eventsrc.runtime.published import Published
from eventsrc.runtime.restarts import EXIT_FENCED
from eventsrc.runtime.settings import Settings
from eventsrc.runtime.snapshot_threads import SnapshotThreads
from eventsrc.runtime.status_file import StatusFile

if TYPE_CHECKING:
    from eventsrc.runtime.http_endpoint import HttpEndpoint

logger = logging.getLogger("eventsrc.worker")

EXIT_DRAINED = 0

CLASSES_CHECKED_AFTER_S = 5.0
STRANGER_LOOKS = 3
LOOK_AGAIN_S = 0.5


def run_worker(pipeline: Pipeline, settings: Settings, slot_lock: int | None = None) -> int:
    """Process commands until SIGTERM or SIGINT; returns the exit code (0 after a completed drain).

    `slot_lock`: the inherited lock of the slot that a supervisor holds for this worker.

    On the main thread, as it handles those signals; a second one ends the process at once with 128 + its number.
    Raises Unreachable, TopicsInvalid, InvalidSettings before anything was processed.
    """
    stopping = threading.Event()
    with _signals_set(stopping):
        slot = _slot(settings, pipeline.settings.group_id, slot_lock)
        try:
            logs.bind(pipeline=pipeline.name, instance=slot.instance_id)
            published = Published(slot.instance_id, StatusFile(slot.directory))
            with _endpoint(settings, published) as endpoint:
                return _Worker(pipeline, settings, slot, stopping, published, endpoint).run()
        finally:
            slot.release()


@contextmanager
def _endpoint(settings: Settings, published: Published) -> Iterator[HttpEndpoint | None]:
    """Where probes and metrics are wanted."""
    if settings.http is None:
        yield None
        return
    from eventsrc.runtime.http_endpoint import HttpEndpoint

    with HttpEndpoint(
        HttpAddress.parse(settings.http), settings.http_token, lambda: [published.observed()]
    ) as endpoint:
        yield endpoint


def _slot(settings: Settings, group_id: str, lock: int | None) -> Slot:
    if lock is None or settings.instance_id is None:
        return Slot.take(settings.state_dir, group_id, settings.instance_id)
    return Slot.inherit(settings.state_dir, group_id, settings.instance_id, lock)


def _tune_interpreter() -> None:
    # Aggregates live long and form no cycles: looking for garbage among a hundred thousand of them after every few
    # hundred allocations took a tenth of the throughput.
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    # The commit thread needs the interpreter a dozen times per transaction, for microseconds. At the default of 5 ms
    # it waited 60 ms for a loop that is deciding the next batch, and the transaction with it.
    sys.setswitchinterval(0.0002)


def warn_of_classes(pipeline: Pipeline, schemas_dir: Path) -> None:
    """In a thread, when what a restart waits for is behind: a partition that opens from a checkpoint does not meet the events
    that its classes take no more, and would halt over them at some later recovery."""
    from eventsrc.codec import compatibility

    try:
        problems = compatibility.check(pipeline, schemas_dir)
    except (EventsrcError, OSError) as failed:
        logger.info("the schema files were not held against the classes: %s", failed)
        return
    for problem in problems:
        logger.warning("a recovery that meets what this file is of will halt; see eventsrc check: %s", problem)


class _Worker:
    def __init__(
        self,
        pipeline: Pipeline,
        settings: Settings,
        slot: Slot,
        stopping: threading.Event,
        published: Published,
        endpoint: HttpEndpoint | None,
    ) -> None:
        self._pipeline = pipeline
        self._bootstrap_servers = settings.require_bootstrap_servers()
        self._settings = settings
        self._common: Config = client_config(self._bootstrap_servers, settings.kafka)
        group_id = pipeline.settings.group_id
        self._owner = Owner(slot.instance_id, f"{group_id}-{slot.instance_id}", socket.gethostname())
        self._commands = {name: commands_topic(pipeline.name, name) for name in pipeline.aggregates}
        self._events = {name: events_topic(pipeline.name, name) for name in pipeline.aggregates}
        self._dead_letter = dead_letter_topic(pipeline.name)
        self._dead_letter_partitions = pipeline.settings.partitions
        check_note_fits(self._owner)
        self._group = GroupQueries(self._common, group_id)
        self._directory = slot.directory
        self._stopping = stopping
        self._stopped = threading.Event()
        self._published = published
        self._endpoint = endpoint

    def run(self) -> int:
        _tune_interpreter()
        ids = self._verified_topics()
        catalog = open_catalog(self._pipeline, self._settings, wait_s=WORKER_WAIT_S)
        schema_files.export(self._settings.schemas_dir, catalog.schemas())
        write_reply = self._writers_made(catalog)
        self._record = CrashRecord(self._directory)  # from here on: a start that Kafka or a topic prevents is no crash
        of = self._pipeline.settings
        driver = Driver(
            self._engine(catalog, ids),
            self._start_producer,
            self._describe_blocker,
            self._stopping,
            drain_s=of.transaction_timeout,  # what is in flight is decided by then, or aborted by the broker
            await_transaction_s=of.transaction_timeout + 2,
        )
        driver.ports = self._ports(driver, write_reply)
        if self._endpoint is not None:
            self._endpoint.joined()
        watch = TopicWatch(self._common, ids, lambda topic, what: self._refuse(driver, topic, what))
        logger.info("instance %s of group %s joins at %s", self._owner.instance, of.group_id, self._bootstrap_servers)
        return self._driven(driver, watch)

    def _verified_topics(self) -> dict[str, str]:
        """Their ids, by name. Raises TopicsInvalid, Unreachable, NotAuthorized."""
        topics = verify_topics(
            self._pipeline,
            self._bootstrap_servers,
            self._settings.kafka,
            needed=rights_of(self._pipeline, "worker"),
        )
        if unseen := [name for name, topic in topics.items() if topic.config is None]:
            logger.warning(
                "this user may not see how %s are configured (DescribeConfigs), so that is not verified: another user can, "
                "with `eventsrc topics verify`",
                ", ".join(unseen),
            )
        self._dead_letter_partitions = topics[self._dead_letter].partitions
        return {name: topic.topic_id for name, topic in topics.items()}

    def _engine(self, catalog: Catalog, ids: Mapping[str, str]) -> WorkerEngine:
        of = self._pipeline.settings
        return WorkerEngine(
            self._pipeline,
            catalog,
            self._owner,
            Limits(
                records=of.batch_records,
                output_bytes=of.batch_bytes,
                handler_attempts=of.handler_attempts,
                max_command_bytes=of.max_command_bytes,
                max_event_bytes=of.max_command_bytes,
                max_dead_letter_bytes=commands_message_bytes(of),
            ),
            Surroundings(
                lambda name: self._commands[name],
                murmur2,
                isolated=dict.fromkeys(self._record.isolated, ENDED_THE_PROCESS),
            ),
            {name: TopicIds(ids[self._commands[name]], ids[self._events[name]]) for name in self._pipeline.aggregates},
            time.monotonic,
            uuid.uuid4,
            has_snapshots=self._settings.database_url is not None,
            suspicious=self._record.suspicious,
            overlong_before=self._record.overlong_before,
        )

    def _driven(self, driver: Driver, watch: TopicWatch) -> int:
        """To its end, whatever that is; returns the exit code."""
        fenced: Fenced | None = None
        checking = threading.Timer(
            CLASSES_CHECKED_AFTER_S, warn_of_classes, (self._pipeline, self._settings.schemas_dir)
        )
        checking.daemon = True
        checking.start()
        try:
            driver.run()
        except Fenced as exception:
            fenced = exception
        except AccessDenied as denied:
            self._record.close()  # no command is to blame
            raise self._missing_rights(denied) from denied
        finally:
            checking.cancel()
            self._stopped.set()
            watch.close()
            driver.close()
        self._record.close()
        self._published.remove()
        if fenced is not None:
            logger.error(
                "%s; this worker ends and must not be restarted under that id; %s", fenced, see(code_of(fenced)),
                extra={"code": code_of(fenced)},
            )  # fmt: skip
            return EXIT_FENCED
        logger.info("drained")
        return EXIT_DRAINED

    def _writers_made(self, catalog: Catalog) -> Callable[[Reply], bytes]:
        """All of them, before there is a group to join: a registry may refuse a schema. Returns that of answers."""
        for aggregate in self._pipeline.aggregates.values():
            catalog.barrier_writer(aggregate)
            for event in aggregate.appliers:
                catalog.event_writer(aggregate, event)
        return catalog.reply_writer()

    def _missing_rights(self, denied: AccessDenied) -> NotAuthorized:
        """Kafka says of what kind the resource is; which topics it is about, it tells who asks for its own rights."""
        needed = [right for right in rights_of(self._pipeline, "worker") if not right.optional]
        if denied.kind == "topic":
            names = {right.name for right in needed if right.kind == "topic"}
            try:
                observe_topics(names, self._bootstrap_servers, self._settings.kafka, needed)
            except NotAuthorized as missing:
                return missing
            except EventsrcError as failed:
                logger.info("asking which rights are missing failed: %s", failed)
        return not_authorized(
            self._settings.kafka, [right for right in needed if right.kind == denied.kind], str(denied)
        )

    def _ports(self, driver: Driver, write_reply: Callable[[Reply], bytes]) -> Ports:
        of = self._pipeline.settings
        membership = GroupMembership(
            membership_config(
                self._common, of.group_id, self._owner.instance, of.session_timeout, of.max_poll_interval
            ),
            self._commands,
            driver,
            driver.on_partition_error,
        )
        return Ports(
            membership,
            EventsReader(events_reader_config(self._common, of.group_id), self._events, driver.on_partition_error),
            ReplyProducer(self._common, replies_topic(self._pipeline.name), replies_message_bytes(of), write_reply),
            TakeoverQueries(
                self._common,
                of.group_id,
                self._commands,
                self._events,
                self._owner.transactional_id,
                driver.post,
            ),
            self._record,
            self._snapshots(driver),
            self._published,
        )

    def _snapshots(self, driver: Driver) -> SnapshotThreads | None:
        url, pipeline, instance = self._settings.database_url, self._pipeline.name, self._owner.instance
        if url is None:
            logger.warning(
                "no database is configured (DATABASE_URL), so no checkpoints are taken: each start reads the whole log"
            )
            return None

        def open_store() -> SnapshotStore:
            from eventsrc.adapters.postgres.store import PostgresSnapshots

            return PostgresSnapshots(url, pipeline, instance)

        return SnapshotThreads(open_store, driver.post, self._prepare_snapshots)

    def _prepare_snapshots(self) -> None:
        """While the worker joins: what it needs when it is a member."""
        _import_store()
        from eventsrc.codec import fold_files

        for line in fold_files.warnings(self._pipeline, self._settings.schemas_dir):
            logger.warning("%s", line)

    def _describe_blocker(self, key: PartitionKey) -> str | None:
        return describe_blocker(self._common, self._pipeline.settings.group_id, self._events[key.aggregate], key.number)

    def _check_identity(self, proof: Callable[[], bytes]) -> None:
        """Before the transactional id is taken again: raises Fenced where the group knows another holder of our
        instance id, at several looks: one alone may find us between two memberships of our own. Taking the id from
        that one would end both."""
        strangers = 0
        while not self._stopped.is_set():
            try:
                holder = self._group.members().get(self._owner.instance)
            except AccessDenied:
                raise
            except WorkerError as failed:
                logger.info("%s; asking again", failed)
            else:
                own = member_of(proof())
                if holder is None or own is None or holder == own:
                    return
                strangers += 1
                if strangers == STRANGER_LOOKS:
                    raise Fenced(f"instance id {self._owner.instance} is another process's now")
            self._stopped.wait(LOOK_AGAIN_S)

    def _refuse(self, driver: Driver, topic: str, what: str) -> None:
        """A topic is not what it was: halt every partition that lives in it."""
        reason = f"topic {topic}: {what}. Stop the workers; restore the topic, or start under another pipeline name"
        logger.error("%s", reason)
        for name in self._pipeline.aggregates:
            if topic in (self._commands[name], self._events[name]):
                for number in range(self._pipeline.settings.partitions):
                    driver.post(LogRefused(PartitionKey(name, number), reason, HaltCode.TOPIC_RECREATED, for_good=True))

    def _start_producer(self, proof: Callable[[], bytes] | None) -> TransactionalProducer:
        of = self._pipeline.settings
        if proof is not None:
            self._check_identity(proof)
        config = producer_config(
            self._common, self._owner.transactional_id, of.transaction_timeout, dead_letter_message_bytes(of)
        )
        producer, watch = initialised_producer(config, self._stopped.is_set)
        names = TopicNames(self._commands, self._events, self._dead_letter, self._dead_letter_partitions)
        return TransactionalProducer(producer, watch, names, self._owner, of.transaction_timeout)


def _import_store() -> None:
    """While the worker waits for its group: the database's libraries take half as long as all others."""
    import eventsrc.adapters.postgres.store  # noqa: F401 - for its effect


@contextmanager
def _signals_set(stopping: threading.Event) -> Iterator[None]:
    """The first SIGTERM or SIGINT sets it, the second one ends the process at once."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

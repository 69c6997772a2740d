"""The group's consumer: polls commands, carries the rebalance callbacks to the runtime, and proves membership.

On the loop's thread only. What a poll
took from a partition that was revoked or sought during the same poll is void.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from eventsrc.adapters.kafka.config import Config
from eventsrc.adapters.kafka.errors import access_denied, is_refused, translate
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import Fenced
from eventsrc.model.position import Position
from eventsrc.ports import OnPartitionError, RebalanceListener

logger = logging.getLogger("eventsrc.kafka")

Polled = dict[PartitionKey, list[Message]]

LEAVE_S = 1.0


def membership_config(
    common: Config, group_id: str, instance_id: str, session_timeout_s: float, max_poll_interval_s: float
) -> Config:
    """A static member of the classic protocol: killed and started again at once, it has its partitions back at once."""
    return {
        # What comes in a moment is fetched together. Answered at each record, a worker asks a thousand times a second at
        # 2,000 commands a second, and the broker has no time left for its transactions: half more latency.
        "fetch.wait.max.ms": 5,
        "fetch.min.bytes": 200_000,  # less than one bite: where commands wait, it does not
        "queued.max.messages.kbytes": 65_536,
        "queued.min.messages": 20_000,
        "fetch.queue.backoff.ms": 5,  # by default a partition whose queue was full is not fetched for a second
        "fetch.message.max.bytes": 262_144,  # small bites: no partition waits behind another's backlog
        **common,
        "group.id": group_id,
        "group.instance.id": instance_id,
        "group.protocol": "classic",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": int(session_timeout_s * 1000),
        "heartbeat.interval.ms": int(session_timeout_s * 1000 / 5),
        "max.poll.interval.ms": int(max(max_poll_interval_s, session_timeout_s) * 1000),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "check.crcs": True,
    }


class GroupMembership:
    """One member of the pipeline's group, subscribed to all command topics."""

    def __init__(
        self,
        config: Config,
        topics: Mapping[str, str],
        listener: RebalanceListener,
        on_partition_error: OnPartitionError,
    ) -> None:
        self._topics = topics
        self._aggregates = {topic: aggregate for aggregate, topic in topics.items()}
        self._keys: dict[tuple[str | None, int | None], PartitionKey] = {}
        self._listener = listener
        self._on_partition_error = on_partition_error
        self._assigned: set[PartitionKey] = set()
        self._opened: set[PartitionKey] = set()
        self._sought: dict[PartitionKey, Position] = {}
        self._leaving = False
        self.consumer = Consumer(config, logger=logging.getLogger("eventsrc.librdkafka"))
        self.consumer.subscribe(
            list(self._aggregates), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def metadata(self) -> bytes:
        """Proof of membership and generation, as of now. Take it on the polling thread, for partitions that are ours:
        a partition can only become another's after this thread has served its revocation."""
        proof: bytes = self.consumer.consumer_group_metadata()
        return proof

    def poll(self, limit: int, timeout_s: float) -> Polled:
        """Up to `limit` records by partition. Waits for the first alone: `consume(n)` waits for all n.

        Raises Fenced where another process has this instance id, AccessDenied."""
        self._sought.clear()
        try:
            messages = self.consumer.consume(1, timeout_s)
            if messages and limit > 1:
                messages += self.consumer.consume(limit - 1, 0)
        except KafkaException as exception:
            raise translate(exception, "polling commands") from exception
        polled: Polled = {}
        topic, number, records = None, None, None
        for message in messages:
            if message.error() is not None:
                self._failed(message)
                continue
            if message.partition() != number or message.topic() != topic:  # a fetch brings many of one partition
                topic, number = message.topic(), message.partition()
                key = self._keys.get((topic, number))
                records = None if key is None else polled.setdefault(key, [])
            if records is not None:
                records.append(message)
        for key, position in list(self._sought.items()):
            if polled.pop(key, None):
                self.open(key, position)  # it was sought while this poll was under way: read from there again
        return polled

    def open(self, key: PartitionKey, position: Position) -> None:
        """Read commands from there on."""
        if key not in self._assigned:
            return
        place = self._place(key, position)
        self._sought[key] = position
        try:
            self._seek(place)
            self.consumer.resume([place])
            self._opened.add(key)
        except KafkaException as exception:
            self._on_partition_error(key, f"seeking the commands topic to offset {position}: {exception.args[0].str()}")

    def _seek(self, place: TopicPartition) -> None:
        """Raises KafkaException."""
        try:
            self.consumer.seek(place)
        except KafkaException as exception:
            if exception.args[0].code() != KafkaError._STATE:
                raise
            # It was assigned at offset 0, which retention has deleted. Where the client has found out before this, it has
            # stopped reading the partition and takes no seek: it is told again that the partition is ours.
            self.consumer.incremental_unassign([place])
            self.consumer.incremental_assign([place])

    def ends(self) -> dict[PartitionKey, Position]:
        """What the fetch responses have told."""
        found = {}
        for key in self._opened:
            known = self.consumer.get_watermark_offsets(self._place(key), cached=True)
            if known is not None and known[1] >= 0:
                found[key] = Position(known[1])
        return found

    def pause(self, key: PartitionKey) -> None:
        """Fetch nothing more of it for now."""
        if key in self._assigned:
            self.consumer.pause([self._place(key)])

    def serve(self) -> None:
        """Stay a member, and serve rebalances, without taking a record.

        A record that comes all the same is sought again. Pausing instead would lose what is fetched and not yet
        delivered: after `pause` and `resume` without a seek, librdkafka goes on behind it."""
        message = self.consumer.poll(0)
        if message is None:
            return
        if message.error() is not None:
            self._failed(message)
            return
        key, offset = self._keys.get((message.topic(), message.partition())), message.offset()
        if key is not None and offset is not None:
            self.open(key, Position(offset))

    def close(self) -> None:
        """End without a word to the group: a static member keeps its partitions until its session ends, or it comes back.

        The client's own `close` would serve a rebalance that comes after the last poll. What is asked in its callback may
        come when librdkafka's side of the group has ended already, is never answered, and holds the interpreter's lock
        while it waits (docs/adr/0012). Without its last reference the client is destroyed and calls nothing."""
        self._leaving = True
        self._serve_rebalances()
        last_reference = [self.consumer]
        del self.consumer
        leave = threading.Thread(target=last_reference.clear, name="eventsrc-leave", daemon=True)
        leave.start()
        leave.join(LEAVE_S)
        if leave.is_alive():
            logger.info("leaving the group takes longer than %g s; not waited for", LEAVE_S)

    def _serve_rebalances(self) -> None:
        """A client that waits for one to be served is not destroyed either. Behind what was fetched: so that is taken."""
        give_up_s = time.monotonic() + LEAVE_S
        with contextlib.suppress(KafkaException):
            while self.consumer.consume(1000, 0) and time.monotonic() < give_up_s:
                pass

    def _place(self, key: PartitionKey, offset: int = 0) -> TopicPartition:
        return TopicPartition(self._topics[key.aggregate], key.number, offset)

    def _failed(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        if error.code() in (KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL) or error.fatal():
            raise Fenced(f"another process took over this worker's instance id: {error.str()}")
        if is_refused(error):
            raise access_denied(error, "taking part in the group")
        key = self._keys.get((message.topic(), message.partition()))
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE) and key in self._opened:
            self._on_partition_error(
                key,
                f"the commands topic does not hold the offset to read next ({error.str()}): it was truncated, or deleted and "
                "made anew. Stop the workers; restore the topic, or start under another pipeline name",
            )
        else:
            logger.info("while polling: %s: %s", error.name(), error.str())

    # ---- callbacks, inside poll

    def _named(self, partitions: Sequence[TopicPartition]) -> tuple[PartitionKey, ...]:
        return tuple(PartitionKey(self._aggregates[each.topic], each.partition) for each in partitions)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        keys = self._named(partitions)
        # At an absolute offset, paused, and sought when the partition opens. Not at the logical END: its look-up may
        # be answered, or repeated, after the seek, and takes the partition to the end over everything in between.
        places = [self._place(key) for key in keys]
        consumer.incremental_assign(places)
        if self._leaving:
            return
        if places:
            consumer.pause(places)
        for key, place in zip(keys, places, strict=True):
            self._keys[place.topic, place.partition] = key
        self._assigned.update(keys)
        self._listener.on_assigned(keys)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        keys = self._named(partitions)
        if not self._leaving:
            self._listener.on_revoked(keys)
        self._assigned.difference_update(keys)
        self._forget(keys)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        keys = self._named(partitions)
        self._assigned.difference_update(keys)
        self._forget(keys)
        if not self._leaving:
            self._listener.on_lost(keys)
        consumer.incremental_unassign(partitions)

    def _forget(self, keys: Sequence[PartitionKey]) -> None:
        """Records of these that this very poll has taken already are void."""
        for key in keys:
            self._keys.pop((self._topics[key.aggregate], key.number), None)
            self._sought.pop(key, None)
            self._opened.discard(key)

"""The question that fences earlier owners: the stable committed offset, asked until it is answered.

While any earlier owner's accepted offsets are undecided the coordinator does not answer; once it has, no earlier
generation can commit anything any more. A dead owner's open transaction would hold that back until it times out, so
its transactional id, which stands beside its last committed offset, is taken from it when it has left the group.
One thread, with a client of its own that never joins the group: the client library lets one thread at a time into a
consumer, and the loop is nearly always inside its own. Answers go to the loop through a callback.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from eventsrc.adapters.kafka.asking import asking_consumer
from eventsrc.adapters.kafka.config import Config
from eventsrc.adapters.kafka.errors import access_denied, is_refused
from eventsrc.adapters.kafka.group_queries import GroupQueries
from eventsrc.codes import HaltCode
from eventsrc.engine.effects import StableOffsetFetched, TakeoverRefused
from eventsrc.engine.notes import Note, read_note
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import AccessDenied, WorkerError
from eventsrc.model.position import Position

logger = logging.getLogger("eventsrc.kafka")

ANSWER_TIMEOUT_S = 0.25
FENCE_AFTER_S = 0.2
FENCE_TIMEOUT_S = 10.0
ASK_AGAIN_S = 0.02
CLOSE_S = 1.0
PERMANENT_AFTER_S = 10.0  # a broker that has just started answers this for a moment too

_PERMANENT = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART})


@dataclass(slots=True)
class _Question:
    key: PartitionKey
    attempt: int
    metadata: bytes
    since_s: float
    tried_fencing: bool = False


class TakeoverQueries:
    """Asks for stable offsets in the background. `cancel` a partition that left."""

    def __init__(
        self,
        common: Config,
        group_id: str,
        commands: Mapping[str, str],
        events: Mapping[str, str],
        transactional_id: str,
        answered: Callable[[StableOffsetFetched | TakeoverRefused | Exception], None],
    ) -> None:
        self._common = common
        self._group_id = group_id
        self._topics = commands
        self._events = events
        self._transactional_id = transactional_id
        self._answered = answered
        self._asked: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self._current: dict[PartitionKey, int] = {}
        self._group = GroupQueries(common, group_id)
        self._thread = threading.Thread(target=self._run, name="eventsrc-takeover", daemon=True)
        self._thread.start()

    def ask(self, key: PartitionKey, attempt: int, metadata: bytes) -> None:
        """The answer comes as StableOffsetFetched with this attempt and this metadata; AccessDenied where none ever will."""
        self._current[key] = attempt
        self._asked.put(_Question(key, attempt, metadata, time.monotonic()))

    def cancel(self, key: PartitionKey) -> None:
        """No answer for it is wanted any more."""
        self._current.pop(key, None)

    def close(self) -> None:
        """Returns when its thread has ended, or is still in a question that Kafka does not answer: nobody wants that."""
        self._current.clear()
        self._asked.put(None)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            self._connect_and_serve()
        except Exception as failure:  # noqa: BLE001 - a defect here must end the worker, not this thread alone
            self._answered(failure)

    def _connect_and_serve(self) -> None:
        self._consumer = asking_consumer(self._common, self._group_id, "read_committed")
        self._unstable = asking_consumer(self._common, self._group_id, "read_uncommitted")
        with contextlib.suppress(KafkaException):  # connect beside the group join; a question asks again
            self._consumer.list_topics(timeout=ANSWER_TIMEOUT_S * 20)
            self._consumer.committed(
                [TopicPartition(topic, 0) for topic in self._topics.values()][:1], ANSWER_TIMEOUT_S
            )
        self._serve()
        self._consumer.close()
        self._unstable.close()

    def _serve(self) -> None:
        while (question := self._asked.get()) is not None:
            if self._current.get(question.key) != question.attempt:
                continue
            answer = self._try(question)
            if answer is not None:
                self._answered(answer)
            else:
                time.sleep(ASK_AGAIN_S)
                self._asked.put(question)  # the other partitions first: one pending offset must not hold them back

    def _try(self, question: _Question) -> StableOffsetFetched | TakeoverRefused | AccessDenied | None:
        place = TopicPartition(self._topics[question.key.aggregate], question.key.number)
        try:
            found = self._consumer.committed([place], ANSWER_TIMEOUT_S)[0]
            if found.error is not None:
                raise KafkaException(found.error)
            start, end = self._unstable.get_watermark_offsets(place, ANSWER_TIMEOUT_S * 20)
            events = TopicPartition(self._events[question.key.aggregate], question.key.number)
            events_start, events_end = self._unstable.get_watermark_offsets(events, ANSWER_TIMEOUT_S * 20)
        except KafkaException as exception:
            return self._unanswered(question, exception)
        committed = Position(found.offset) if found.offset >= 0 else None
        return StableOffsetFetched(
            question.key,
            question.attempt,
            question.metadata,
            committed,
            found.metadata,
            Position(start),
            Position(end),
            Position(events_start),
            Position(events_end),
        )

    def _unanswered(self, question: _Question, exception: KafkaException) -> TakeoverRefused | AccessDenied | None:
        error, waited_s = exception.args[0], time.monotonic() - question.since_s
        denied = error if is_refused(error) else self._heard_refusal(question.key, error)
        if denied is not None:
            return access_denied(denied, f"reading the committed offset of partition {question.key}")
        if error.code() in _PERMANENT and waited_s > PERMANENT_AFTER_S:
            return TakeoverRefused(
                question.key,
                question.attempt,
                f"the committed offset cannot be read: {error.str()}",
                HaltCode.COMMITTED_OFFSET_UNREADABLE,
            )
        if not question.tried_fencing and waited_s > FENCE_AFTER_S:
            question.tried_fencing = True
            logger.info(
                "partition %s: no stable offset yet, an earlier owner may be open: %s", question.key, error.str()
            )
            try:  # only speed hangs on it: the transaction times out by itself
                self._fence_earlier_owner(question.key)
            except KafkaException as failed:
                if is_refused(failed.args[0]):
                    logger.warning(
                        "partition %s: its earlier owner's transaction cannot be ended, and is waited for: %s. Grant "
                        "this user what `eventsrc topics acls` lists for a worker",
                        question.key,
                        failed.args[0].str(),
                    )
            except WorkerError as failed:
                logger.info("partition %s: %s", question.key, failed)
        return None

    def _heard_refusal(self, key: PartitionKey, error: KafkaError) -> KafkaError | None:
        """Where the group's coordinator may not be asked, the question times out, and the reason comes as a record. Of a
        topic that may not be looked at, the client says that it does not know the partition."""
        if error.code() == KafkaError._UNKNOWN_PARTITION:
            for topic in (self._topics[key.aggregate], self._events[key.aggregate]):
                with contextlib.suppress(KafkaException):
                    found: KafkaError | None = (
                        self._unstable.list_topics(topic, ANSWER_TIMEOUT_S * 4).topics[topic].error
                    )
                    if found is not None and is_refused(found):
                        return found
        for consumer in (self._consumer, self._unstable):
            message = consumer.poll(0)
            heard = None if message is None else message.error()
            if heard is not None and is_refused(heard):
                return heard
        return None

    def _fence_earlier_owner(self, key: PartitionKey) -> None:
        note = self._note(key)
        if note is None or note.transactional_id == self._transactional_id:
            return  # unknown, or our own former life: our producer's start fences that
        if note.instance in self._group.members():
            return  # it is alive and in the group: it finishes or aborts by itself
        logger.info("fencing instance %s, which has left the group with a transaction open", note.instance)
        fencer = Producer(
            {**self._common, "transactional.id": note.transactional_id}, logger=logging.getLogger("eventsrc.librdkafka")
        )
        fencer.list_topics(timeout=ANSWER_TIMEOUT_S * 20)
        fencer.init_transactions(FENCE_TIMEOUT_S)

    def _note(self, key: PartitionKey) -> Note | None:
        """The note beside the last committed offset, read without waiting for what is undecided."""
        # Not through the admin client: its list_consumer_group_offsets has crashed in librdkafka 2.16.0.
        place = TopicPartition(self._topics[key.aggregate], key.number)
        return read_note(self._unstable.committed([place], ANSWER_TIMEOUT_S * 20)[0].metadata)

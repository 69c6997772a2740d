"""The transactional producer: begin and produce on the loop's thread, offsets and commit on the commit thread.

Every transaction that writes to an events partition sends an offset for its commands partition under the group
metadata taken at the poll: that is what the broker's fence hangs on. Offsets that would be accepted unfenced
(negative, none at all, metadata of no generation) are refused here, before the broker sees them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from eventsrc.adapters.kafka.end_transaction_log import EndTransactionWatch
from eventsrc.adapters.kafka.errors import access_denied, is_fenced, is_refused, translate
from eventsrc.adapters.kafka.membership_proof import is_member
from eventsrc.engine.batch import Batch, BatchKind, OutputRecord, Section
from eventsrc.engine.counts import Counts
from eventsrc.engine.notes import Owner, write_note
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import AbortRequired, OutcomeInDoubt, Retriable, TransactionOutlived, WorkerError
from eventsrc.faultpoints import reach
from eventsrc.model.position import Offset

logger = logging.getLogger("eventsrc.kafka")

# A call that does not answer within this is repeated, identically: 0 is not resumable and livelocks.
CALL_TIMEOUT_S = 1.0
DELIVERY_TIMEOUT_S = 10.0
# A commit is answered before its markers are written. A transaction that begins meanwhile is answered CONCURRENT_TRANSACTIONS,
# and librdkafka asks again after 20 ms: to begin no sooner than this takes half off a command's latency.
_MARKERS_S = 0.003


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Where records go: by aggregate name, and the pipeline's dead letters."""

    commands: Mapping[str, str]
    events: Mapping[str, str]
    dead_letter: str
    dead_letter_partitions: int


class TransactionalProducer:
    """One producer and its transactional id. Replace it, never reuse it, after OutcomeInDoubt."""

    def __init__(
        self, producer: Producer, watch: EndTransactionWatch, names: TopicNames, owner: Owner, timeout_s: float
    ) -> None:
        self._producer = producer
        self._watch = watch
        self._names = names
        self._owner = owner
        self._timeout_s = timeout_s
        self._committed_s = 0.0
        self._begun_s = 0.0
        self._begun = False
        self._abandoned = False
        self._last: dict[PartitionKey, Offset] = {}
        self._denied: KafkaError | None = None

    @property
    def suspect(self) -> bool:
        """A disconnect or a timeout hit the transaction coordinator's connection while a transaction was being ended:
        the client repeats EndTxn silently, and a late copy may end half of the next transaction."""
        try:
            self._producer.poll(0)
        except KafkaException:  # it has failed for good: whatever was decided is decided
            return True
        return self._watch.seen

    @property
    def outlived(self) -> bool:
        """The transaction has been open for longer than the broker allows."""
        return time.monotonic() - self._begun_s >= self._timeout_s

    def send(self, batch: Batch) -> None:
        """Begin and produce. Raises AbortRequired, OutcomeInDoubt, AccessDenied."""
        self._begun = False
        self._last = {}
        self._denied = None
        self._refuse_unfenced(batch)
        time.sleep(max(0.0, self._committed_s + _MARKERS_S - time.monotonic()))
        self._begun_s = time.monotonic()
        reach("before-produce")
        try:
            self._producer.begin_transaction()
            self._begun = True
            for key, section in batch.sections.items():
                self._produce(key, section)
                reach("mid-produce")
                self._bury(section)
        except KafkaException as exception:
            raise self._translated(exception, "producing") from exception
        reach("after-produce")

    def finish(self, batch: Batch) -> Mapping[PartitionKey, Offset]:
        """Send the offsets and commit. Blocks until the outcome is known. Raises AbortRequired (aborted for certain),
        OutcomeInDoubt, AccessDenied (then nothing was committed)."""
        if batch.kind is BatchKind.BARRIERS:
            self._until_answered("delivering barriers", lambda: self._note_terms(batch))
        offsets = [
            TopicPartition(self._names.commands[key.aggregate], key.number, section.position, section.note)
            for key, section in batch.sections.items()
        ]
        self._refuse_abandoned()
        self._until_answered(
            "sending offsets",
            lambda: self._producer.send_offsets_to_transaction(offsets, batch.metadata, CALL_TIMEOUT_S),
        )
        reach("after-send-offsets")
        self._refuse_abandoned()
        self._until_answered("committing", lambda: self._producer.commit_transaction(CALL_TIMEOUT_S))
        self._committed_s = time.monotonic()
        reach("after-commit")
        self._refuse_unknown_places(batch)
        return self._last

    def abort(self) -> None:
        """Returns once the transaction is known to have had no effect. Raises OutcomeInDoubt where that stays unknown, as
        TransactionOutlived where the broker was first."""
        if not self._begun:
            return
        try:
            self._until_answered("aborting", lambda: self._producer.abort_transaction(CALL_TIMEOUT_S))
        except OutcomeInDoubt:
            raise
        except WorkerError as failed:
            raise OutcomeInDoubt(str(failed)) from failed

    def abandon(self) -> None:
        """Ask for nothing any more: a call that is being repeated ends with OutcomeInDoubt, and no commit is begun. From
        any thread. The broker aborts what is open when a successor takes the transactional id."""
        self._abandoned = True
        self._producer.purge()

    # ---- producing

    def _produce(self, key: PartitionKey, section: Section) -> None:
        if not section.records:
            return
        topic, number, produce = self._names.events[key.aggregate], key.number, self._producer.produce
        *records, last = section.records
        for record in records:
            record_key, value, time_ms = record
            try:
                produce(topic, value, record_key, number, None, None, time_ms)  # by keyword it takes a third longer
            except BufferError:
                self._produce_when_drained(topic, record, number, None)
        # One callback per partition and transaction; a failed message fails the commit, so the others need none.
        self._produce_when_drained(topic, last, number, self._delivered(key))

    def _produce_when_drained(
        self,
        topic: str,
        record: OutputRecord,
        number: int,
        on_delivery: Callable[[KafkaError | None, Message], None] | None,
    ) -> None:
        while True:
            try:
                return self._producer.produce(
                    topic, record[1], record[0], number, on_delivery=on_delivery, timestamp=record[2]
                )
            except BufferError:  # librdkafka's queue is full: let it drain
                self._producer.poll(0.01)

    def _delivered(self, key: PartitionKey) -> Callable[[KafkaError | None, Message], None]:
        def on_delivery(error: KafkaError | None, message: Message) -> None:
            offset = message.offset()
            if error is None and offset is not None:
                self._last[key] = Offset(offset)
            self._note_denial(error, message)

        return on_delivery

    def _note_denial(self, error: KafkaError | None, message: Message) -> None:
        """A commit that fails for it says only that messages were not delivered."""
        if error is not None and is_refused(error):
            self._denied = error

    def _translated(self, exception: KafkaException, what: str) -> WorkerError:
        return translate(exception, what) if self._denied is None else access_denied(self._denied, what)

    def _bury(self, section: Section) -> None:
        topic, count = self._names.dead_letter, self._names.dead_letter_partitions
        for each in section.dead_letters:
            while True:
                try:
                    self._producer.produce(
                        topic,
                        each.value,
                        each.key,
                        each.partition % count,
                        headers=list(each.headers),
                        on_delivery=self._note_denial if each is section.dead_letters[-1] else None,
                    )
                    break
                except BufferError:  # large letters fill librdkafka's queue: let it drain
                    self._producer.poll(0.01)

    def _note_terms(self, batch: Batch) -> None:
        """A barrier's offset is its owner's term; it must be known before the committed offset can name it."""
        self._producer.flush(DELIVERY_TIMEOUT_S)
        self._refuse_abandoned()
        for key, section in batch.sections.items():
            if self._denied is not None:
                raise access_denied(self._denied, "delivering barriers")
            if key not in self._last:
                raise AbortRequired(f"the barrier of partition {key} was not delivered within {DELIVERY_TIMEOUT_S:g} s")
            section.note = write_note(self._owner, self._last[key], Counts(), section.topics, section.before)

    def _refuse_unknown_places(self, batch: Batch) -> None:
        """What stands on committed events (checkpoints, rebuilds) needs to know up to where they are: without that, the log
        tells."""
        unknown = [key for key, section in batch.sections.items() if section.records and key not in self._last]
        if unknown:
            raise OutcomeInDoubt(f"committed, but Kafka did not say at which offsets the events of {unknown[0]} stand")

    # ---- asking until there is an answer

    def _refuse_abandoned(self) -> None:
        """Once the loop has given a transaction up as unknown, its partitions are being taken over anew: what was not
        asked for yet must not be asked for any more."""
        if self._abandoned:
            raise OutcomeInDoubt("the transaction was given up before its commit was asked for")

    def _until_answered(self, what: str, call: Callable[[], object]) -> None:
        """Repeats a call that was not answered, for as long as the broker keeps a transaction open. librdkafka may never
        answer it (seen: an abort, after a broker was killed with messages unsent); a new producer always learns."""
        give_up_s = time.monotonic() + self._timeout_s
        while True:
            try:
                call()
                return
            except KafkaException as exception:
                if is_fenced(exception) and self.outlived:
                    raise TransactionOutlived(
                        f"{what}: the transaction was open for longer than transaction_timeout ({self._timeout_s:g} s) and the "
                        "broker aborted it"
                    ) from exception
                error = self._translated(exception, what)
                if not isinstance(error, Retriable):
                    raise error from exception
                if self._abandoned:
                    raise OutcomeInDoubt(f"{error}; given up") from exception
                if time.monotonic() >= give_up_s:
                    raise OutcomeInDoubt(f"{error}; no answer for {self._timeout_s:g} s") from exception
                logger.info("%s; repeating the call", error)

    @staticmethod
    def _refuse_unfenced(batch: Batch) -> None:
        """The broker accepts these without any fence (reliability.md rows 13 and 43), so they must not reach it."""
        if not batch.sections:
            raise AssertionError("a transaction without offsets has no fence")
        if not is_member(batch.metadata):
            raise AbortRequired("the group metadata names no generation or no member: this worker is not in the group")
        for key, section in batch.sections.items():
            if section.position < 0:
                raise AssertionError(f"a negative position for partition {key} would be accepted without any fence")

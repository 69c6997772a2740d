"""What an operator does about dead letters, in transactions: the commands that are sent again, and the audit records that
say so, become visible together or not at all.

One transactional id per group: whoever takes it ends an earlier holder, whose open transaction is decided by then. Read
the topic after that, not before: then no letter is sent twice by two operators, or after a kill.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from eventsrc.adapters.kafka.config import client_config
from eventsrc.adapters.kafka.connecting import CONNECT_TIMEOUT_S, unreachable
from eventsrc.adapters.kafka.errors import is_fenced, translate
from eventsrc.adapters.kafka.producer_start import initialised_producer, producer_config
from eventsrc.adapters.kafka.rights import Right, not_authorized
from eventsrc.engine.dead_letters import ATTEMPT_HEADER, RETRY_OF_HEADER
from eventsrc.engine.letters import Audit, Letter, Source
from eventsrc.errors import AbortRequired, AccessDenied, EventsrcError, Fenced, OutcomeInDoubt, Retriable, Unreachable
from eventsrc.faultpoints import reach

TRANSACTION_TIMEOUT_S = 10.0
CALL_TIMEOUT_S = 1.0
DELIVERY_TIMEOUT_S = 8.0
_START_S = 30.0

Act = tuple[Letter, Audit, int | None]
"""A letter, what is to be said of it, and the partition of its commands topic that it is sent to again; None: it is not."""


def transactional_id(group_id: str) -> str:
    """No worker's: those are the group's, a hyphen, and an instance id."""
    return f"{group_id}.dlq"


class DeadLetterWriter:
    """Holds the transactional id from its construction on. Raises `Unreachable`, `NotAuthorized`, WorkerError there. Close it."""

    def __init__(
        self,
        topic: str,
        group_id: str,
        message_bytes: int,
        bootstrap_servers: str,
        kafka: Mapping[str, str] | None,
    ) -> None:
        self._topic = topic
        config = producer_config(
            client_config(bootstrap_servers, kafka), transactional_id(group_id), TRANSACTION_TIMEOUT_S, message_bytes
        )
        _ask_once(config, bootstrap_servers, kafka)
        give_up_s = time.monotonic() + _START_S
        try:
            self._producer, self._watch = initialised_producer(config, lambda: time.monotonic() > give_up_s)
        except AccessDenied as denied:
            needed = Right(
                "Write", "transactional-id", transactional_id(group_id), "dead letters are handled in transactions"
            )
            raise not_authorized(kafka, [needed], str(denied)) from denied

    def carry_out(self, acts: Sequence[Act]) -> list[Audit]:
        """One transaction. Returns what was said, with where each command went. Raises `Fenced` where another process does
        the same, `EventsrcError` where nothing of it took effect, `OutcomeInDoubt` where that is not known."""
        self._producer.poll(0)  # serves the watch
        if self._watch.seen:  # a late copy of the last commit could end half of the next transaction
            raise Unreachable(
                "the connection to Kafka's transaction coordinator broke; what was reported is done. Run it again: it goes on "
                "with the rest"
            )
        told: list[Audit] = []
        try:
            self._producer.begin_transaction()
            told = self._produce(acts)
            reach("letters-after-produce")
        except KafkaException as exception:
            self._abort()
            raise _without_effect(exception) from exception
        except BaseException:
            self._abort()
            raise
        self._commit()
        reach("letters-after-commit")
        return told

    def close(self) -> None:
        """Drops what is not delivered: there is nothing, unless a call above was interrupted."""
        with contextlib.suppress(KafkaException):  # a producer that was fenced has failed for good
            self._producer.purge()
            self._producer.flush(1.0)

    def _produce(self, acts: Sequence[Act]) -> list[Audit]:
        """The commands first: the audit records name the offsets that they got."""
        failed: list[EventsrcError] = []
        sent: dict[int, Source] = {}
        for number, (letter, audit, partition) in enumerate(acts):
            if partition is not None:
                report = _reporting(sent, failed, number, letter)
                try:
                    self._produce_one(
                        letter.source.topic, letter.key, letter.value, partition, _retry_headers(letter, audit), report
                    )
                except KafkaException as refused:
                    raise _refused(letter, letter.source.topic, refused.args[0]) from refused
        self._deliver(failed)
        told = [replace(audit, sent=sent.get(number)) for number, (_, audit, _) in enumerate(acts)]
        for (letter, _, _), audit in zip(acts, told, strict=True):
            report = _reporting({}, failed, 0, letter)
            self._produce_one(self._topic, audit.key, audit.value(), letter.place.partition, audit.headers, report)
        self._deliver(failed)
        return told

    def _produce_one(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int,
        headers: list[tuple[str, bytes | None]],
        report: Callable[[KafkaError | None, Message], None],
    ) -> None:
        while True:
            try:
                return self._producer.produce(topic, value, key, partition, headers=[*headers], on_delivery=report)
            except BufferError:  # librdkafka's queue is full: let it drain
                self._producer.poll(0.05)

    def _deliver(self, failed: list[EventsrcError]) -> None:
        left = self._producer.flush(DELIVERY_TIMEOUT_S)
        if failed:
            raise failed[0]
        if left:
            raise Unreachable(
                f"Kafka did not take {left} records within {DELIVERY_TIMEOUT_S:g} s: nothing of them took effect; try again"
            )

    def _commit(self) -> None:
        give_up_s = time.monotonic() + TRANSACTION_TIMEOUT_S
        unanswered = False
        while True:
            try:
                return self._producer.commit_transaction(CALL_TIMEOUT_S)
            except KafkaException as exception:
                error = translate(exception, "committing")
                # A request that was not answered may have committed, and its repetition be refused for what came after it.
                if not unanswered and (is_fenced(exception) or isinstance(error, AbortRequired)):
                    self._abort()
                    raise _without_effect(exception) from exception
                if not isinstance(error, Retriable) or time.monotonic() >= give_up_s:
                    raise OutcomeInDoubt(
                        f"{error}: whether these letters were handled is not known. Run it again: it finds out first"
                    ) from exception
                unanswered = True

    def _abort(self) -> None:
        """As well as it can be done: the broker aborts what is left open after its timeout, or for the next holder."""
        with contextlib.suppress(KafkaException):
            self._producer.abort_transaction(CALL_TIMEOUT_S)


def _retry_headers(letter: Letter, audit: Audit) -> list[tuple[str, bytes | None]]:
    attempt = b"%d" % (letter.attempt + 1)
    return [*letter.headers, (ATTEMPT_HEADER, attempt), (RETRY_OF_HEADER, str(audit.place).encode())]


def _reporting(
    sent: dict[int, Source], failed: list[EventsrcError], number: int, letter: Letter
) -> Callable[[KafkaError | None, Message], None]:
    def on_delivery(error: KafkaError | None, message: Message) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if error is not None:
            fenced = is_fenced(KafkaException(error))
            failed.append(
                _without_effect(KafkaException(error)) if fenced else _refused(letter, f"{topic}/{partition}", error)
            )
        elif topic is not None and partition is not None and offset is not None:
            sent[number] = Source(topic, partition, offset)

    return on_delivery


def _refused(letter: Letter, where: str, error: KafkaError) -> EventsrcError:
    return EventsrcError(
        f"dead letter {letter.place} could not be written to {where}: {error.str()}. Nothing of this transaction took effect: "
        "leave that letter out, or drop it"
    )


def _without_effect(exception: KafkaException) -> EventsrcError:
    """Of a transaction whose commit was refused, or never asked for."""
    if is_fenced(exception):
        return Fenced(
            "another process began to handle this group's dead letters: nothing of this transaction took effect. See what it "
            "did with eventsrc dlq list --all-states, then run yours again"
        )
    return EventsrcError(f"{translate(exception, 'writing')}: nothing of this transaction took effect; run it again")


def _ask_once(
    config: Mapping[str, str | int | float | bool], bootstrap_servers: str, kafka: Mapping[str, str] | None
) -> None:
    """A dead address is said at once, and not after many tries."""
    plain = {name: value for name, value in config.items() if not name.startswith("transaction")}
    try:
        Producer(plain).list_topics(timeout=CONNECT_TIMEOUT_S)
    except KafkaException as error:
        raise unreachable(error, bootstrap_servers, kafka) from error

"""Answers to callers: a plain idempotent producer, outside the transactions. A lost answer is recovered by sending the
command again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from eventsrc.adapters.kafka.config import Config
from eventsrc.adapters.kafka.errors import access_denied, is_refused, translate
from eventsrc.codec.control import Reply, reply_details, reply_reason, shortened, write_reply
from eventsrc.engine.batch import Answer

logger = logging.getLogger("eventsrc.kafka")

_BATCH_OVERHEAD_BYTES = 1024


class ReplyProducer:
    """On the loop's thread. Never blocks it, nor ends it for one answer: what cannot be sent is dropped, with a warning.

    `message_bytes`: the replies topic's `max.message.bytes`."""

    def __init__(
        self, common: Config, topic: str, message_bytes: int, write: Callable[[Reply], bytes] = write_reply
    ) -> None:
        self._producer = Producer(
            {
                "linger.ms": 0,
                **common,
                "enable.idempotence": True,
                "message.max.bytes": message_bytes - _BATCH_OVERHEAD_BYTES,
                "delivery.report.only.error": True,
            },
            logger=logging.getLogger("eventsrc.librdkafka"),
        )
        self._topic = topic
        self._write = write
        self._on_report = self._report  # bound once: thousands of answers wait at a time
        self._denied: KafkaError | None = None
        self._lost, self._why_lost = 0, ""

    def send(self, answers: Sequence[Answer]) -> None:
        """Each to the reply partition its command named. Raises AccessDenied once one was refused for want of a right."""
        dropped, why = 0, ""
        for answer in answers:
            try:
                self._send(answer)
            except Exception as failure:  # noqa: BLE001 - what it carries is a handler's, where it goes is a caller's
                dropped, why = dropped + 1, f"to command {answer.command_id.hex()}: {failure}"
        if dropped:
            logger.warning("%d answers were not sent, the last %s; their callers may send again", dropped, why)
        try:
            self._producer.poll(0)
        except KafkaException as exception:
            raise translate(exception, "answering callers") from exception
        if self._denied is not None:
            raise access_denied(self._denied, "answering callers")
        if self._lost:
            logger.warning("%d answers were not taken: %s; their callers may send again", self._lost, self._why_lost)
            self._lost = 0

    def flush(self, timeout_s: float) -> None:
        """Before leaving, so that callers need not ask again."""
        self._producer.flush(timeout_s)

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        if is_refused(error):
            self._denied = error
        else:
            self._lost, self._why_lost = self._lost + 1, error.str()

    def _send(self, answer: Answer) -> None:
        if answer.partition < 0:
            raise ValueError(f"partition {answer.partition}")
        details = reply_details(answer.details)
        reason = reply_reason(answer.reason)
        reply = Reply(answer.command_id, answer.status, answer.sequence, list(answer.events), reason, details)
        try:
            self._produce(reply, answer)
        except KafkaException as refused:
            if refused.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise
            self._produce(shortened(reply), answer)

    def _produce(self, reply: Reply, answer: Answer) -> None:
        key, value = answer.command_id, self._write(reply)
        self._producer.produce(self._topic, value, key, answer.partition, on_delivery=self._on_report)

"""Answers to callers: a plain idempotent producer, outside the transactions. A lost answer is recovered by sending the
command again."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from confluent_kafka import Producer

from eventsrc.adapters.kafka.config import Config
from eventsrc.codec.control import Reply, reply_details, write_reply
from eventsrc.engine.batch import Answer

logger = logging.getLogger("eventsrc.kafka")


class ReplyProducer:
    """On the loop's thread. Never blocks a transaction: when its queue is full, answers are dropped and counted."""

    def __init__(self, common: Config, topic: str, partitions: int) -> None:
        self._producer = Producer(
            {"linger.ms": 0, **common, "enable.idempotence": True}, logger=logging.getLogger("eventsrc.librdkafka")
        )
        self._topic = topic
        self._partitions = partitions
        self.dropped = 0

    def send(self, answers: Sequence[Answer]) -> None:
        """Each to the reply partition its command named."""
        produce = self._producer.produce
        for answer in answers:
            if not 0 <= answer.partition < self._partitions:
                continue  # the caller named a partition that does not exist: nobody listens there
            details = reply_details(answer.details)
            reply = Reply(
                answer.command_id, answer.status, answer.sequence, list(answer.events), answer.reason, details
            )
            try:
                produce(self._topic, write_reply(reply), answer.command_id, answer.partition)
            except BufferError:
                self.dropped += 1
        self._producer.poll(0)

    def flush(self, timeout_s: float) -> None:
        """Before leaving, so that callers need not ask again."""
        self._producer.flush(timeout_s)

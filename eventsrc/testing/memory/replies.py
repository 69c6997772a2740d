"""Answers to callers in memory: `ports.Replies` on a `MemoryBroker`."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from eventsrc.codec.control import Reply, reply_details, reply_reason, shortened, write_reply
from eventsrc.engine.batch import Answer
from eventsrc.model.names import replies_topic
from eventsrc.testing.memory.process import MemoryProcess

logger = logging.getLogger("eventsrc.testing")


class MemoryReplies:
    """`message_bytes`: what a record may have, key included."""

    def __init__(self, process: MemoryProcess, message_bytes: int) -> None:
        self._process = process
        self._message_bytes = message_bytes

    def send(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            try:
                self._send(answer)
            except Exception as failure:  # noqa: BLE001 - what it carries is a handler's, where it goes is a caller's
                logger.warning("an answer to command %s was not sent: %s", answer.command_id.hex(), failure)

    def flush(self, timeout_s: float) -> None:
        """Everything is delivered when `send` returns."""

    def _send(self, answer: Answer) -> None:
        details, reason = reply_details(answer.details), reply_reason(answer.reason)
        reply = Reply(answer.command_id, answer.status, answer.sequence, list(answer.events), reason, details)
        value = write_reply(reply)
        if len(value) > self._message_bytes:
            value = write_reply(shortened(reply))
        with self._process.request("reply") as broker:
            if len(value) > self._message_bytes or not 0 <= answer.partition < broker.partitions:
                raise ValueError(f"{len(value)} bytes to partition {answer.partition}")
            broker.append(replies_topic(broker.pipeline), answer.partition, answer.command_id, value)

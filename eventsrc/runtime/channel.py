"""The way of a client's commands out and of their answers back: one producer, one reply reader, one thread.

Knows bytes, topics and waiting commands; what an answer means is the client's. A command is registered as waiting
before it is produced, and the reply reader stands at its partition's end before the first one.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from eventsrc.adapters.kafka.command_producer import NotDelivered
from eventsrc.codec.control import Reply
from eventsrc.codec.framing import prefix_of
from eventsrc.errors import DecodingError, NotAuthorized, UnknownSchema, Unreachable
from eventsrc.runtime.connection import Connection
from eventsrc.runtime.replies import WaitingCommand, WaitingCommands, end_unknown

_POLL_S = 0.02

logger = logging.getLogger("eventsrc.client")


class CommandChannel:
    """Connects when constructed: raises `Unreachable`, `NotAuthorized`, `TopicsInvalid`.

    `send` from any thread. `read_reply` raises DecodingError or UnknownSchema. `on_reply` is called on the channel's own
    thread, with a command that no longer waits; it must end its future, and must not block.
    """

    def __init__(
        self,
        connection: Connection,
        replies: str,
        read_reply: Callable[[bytes], Reply],
        on_reply: Callable[[WaitingCommand, Reply], None],
    ) -> None:
        self._read_reply = read_reply
        self._on_reply = on_reply
        self._waiting = WaitingCommands()
        self._reader = connection.answers(replies, random.randrange(1 << 30))
        self.reply_partition = self._reader.partition
        self._producer = connection.commands(self._not_delivered)
        self._ended: str | None = None
        self._refused: NotAuthorized | None = None
        self._answered_any = False
        self._stopping = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="eventsrc-replies", daemon=True)
        self._thread.start()

    def partition_count(self, topic: str) -> int:
        return self._producer.partition_count(topic)

    def send(self, waiting: WaitingCommand, topic: str, partition: int, value: bytes) -> None:
        """Raises `Unreachable` or `NotAuthorized` where the command certainly was not sent; it does not wait then."""
        if self._refused is not None:
            raise self._refused
        self._waiting.add(waiting)
        try:
            self._producer.produce(topic, partition, waiting.key, value)
        except BaseException:
            self._waiting.discard(waiting)
            raise
        if self._ended is not None and self._waiting.discard(waiting):  # nobody reads answers any more
            end_unknown((waiting,), self._ended)

    def serves(self, thread: threading.Thread) -> bool:
        """Whether this is the channel's own thread, which must never wait for an answer."""
        return thread is self._thread

    def close(self, grace_s: float) -> None:
        """Waits up to `grace_s` for outstanding answers, then ends the rest as unknown."""
        deadline = time.monotonic() + grace_s
        while len(self._waiting) and (left := deadline - time.monotonic()) > 0 and self._thread.is_alive():
            self._idle.wait(min(left, _POLL_S))
        self._stopping.set()
        if not self.serves(threading.current_thread()):
            self._thread.join()
        self._end("the client was closed before an answer came")
        self._producer.close()
        self._reader.close()

    def _serve(self) -> None:
        try:
            while not self._stopping.is_set():
                for value in self._reader.poll(_POLL_S):
                    self._answered(value)
                self._poll_producer()
                expired = self._waiting.take_expired(time.monotonic())
                for waiting in expired:
                    end_unknown((waiting,), f"no answer came within {waiting.timeout_s:g} s")
        except NotAuthorized as refusal:
            self._refused = refusal
            self._end(str(refusal))
        except Exception:
            logger.exception("the client stopped reading answers")
            self._end("the client stopped reading answers")
            raise

    def _poll_producer(self) -> None:
        """A producer that is refused before anything was answered has sent nothing."""
        try:
            self._producer.poll()
        except NotAuthorized as refusal:
            for waiting in () if self._answered_any else self._waiting.take_all():
                waiting.fail(refusal)
            raise

    def _end(self, why: str) -> None:
        self._ended = self._ended or why
        end_unknown(self._waiting.take_all(), self._ended)

    def _answered(self, value: bytes) -> None:
        try:
            reply = self._read_reply(value)
        except (DecodingError, UnknownSchema) as error:
            logger.warning("an answer that cannot be read was ignored: %s", error)
            return
        self._answered_any = True
        took_effect = reply.status in ("ok", "duplicate")
        waiting = self._waiting.take_answered(reply.command_id, took_effect=took_effect)
        if waiting is not None:  # None: it came too late, or it is for another client of this partition
            self._on_reply(waiting, reply)

    def _not_delivered(self, failure: NotDelivered) -> None:
        at = len(prefix_of(failure.value))  # meta is a command's first field, and the id the first of meta
        waiting = self._waiting.take(failure.value[at : at + 16])
        if waiting is None:
            return
        if failure.refusal is not None:
            waiting.fail(failure.refusal)
        elif failure.certain:
            waiting.fail(Unreachable(f"{waiting.describe()} was not sent: {failure.reason}"))
        else:
            end_unknown((waiting,), f"Kafka did not acknowledge it ({failure.reason})")

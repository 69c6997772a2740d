"""A client outside the system under test: it sends, hears (or does not hear) answers, and writes down what it knows.

`WireClient` speaks the wire contract by itself: fastavro over the exported schemas, murmur2, the reply topic. `Traffic`
keeps it busy. What they know goes into a `History`, one line at a time.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, Producer, TopicPartition, murmur2

from tests.harness.evidence import Kind, Operation
from tests.harness.wire import Schemas

AGGREGATE = "account"
Headers = list[tuple[str, str | bytes | None]]


class History:
    """JSON lines, each flushed as it is written: what a killed client knew survives it. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()

    def write(self, operation: Operation) -> None:
        with self._lock:
            self._file.write(operation.line() + "\n")

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class Order:
    """A command to be sent."""

    id: str
    name: str
    body: dict[str, Any]


def random_order(rnd: random.Random, accounts: int) -> Order:
    id = f"account-{rnd.randrange(accounts)}"
    draw = rnd.random()
    if draw < 0.55:
        return Order(id, "Deposit", {"amount": rnd.randrange(1, 100)})
    if draw < 0.80:
        return Order(id, "Withdraw", {"amount": rnd.randrange(1, 150)})
    if draw < 0.93:
        return Order(id, "DepositInParts", {"amount": rnd.randrange(1, 20), "parts": rnd.randrange(2, 6)})
    return Order(id, "Audit", {}) if draw < 0.97 else Order(id, "Poison", {})


class WireClient:
    """Sends framed commands and reads its reply partition. The reply partition is assigned at its end before anything
    is sent, as the contract demands."""

    def __init__(
        self, bootstrap_servers: str, pipeline: str, schemas: Schemas, history: History, *, reply_partition: int = 0
    ) -> None:
        self._pipeline, self._schemas, self._history = pipeline, schemas, history
        self._reply_partition = reply_partition
        self._topic = f"{pipeline}.{AGGREGATE}.commands"
        self._namespace = f"{pipeline}.{AGGREGATE}".replace("-", "_")
        self._producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 1, "log_level": 0})
        self._partitions = len(self._producer.list_topics(self._topic, timeout=30).topics[self._topic].partitions)
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap_servers, "group.id": "wire-client", "enable.auto.commit": False,
             "fetch.wait.max.ms": 20, "log_level": 0}
        )  # fmt: skip
        place = TopicPartition(f"{pipeline}.replies", reply_partition)
        place.offset = self._consumer.get_watermark_offsets(place, timeout=30)[1]
        self._consumer.assign([place])
        self._changed = threading.Condition()
        self._waiting: dict[bytes, Order] = {}
        self._answers: dict[bytes, Operation] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._listen, name="wire-client", daemon=True)
        self._thread.start()

    def partition_of(self, id: str) -> int:
        return murmur2(id.encode(), self._partitions)

    def send(self, order: Order, rnd: random.Random, command_id: bytes | None = None) -> bytes:
        """Returns the command id. The same id again is the same command sent again."""
        identity = command_id or rnd.randbytes(16)
        meta = {
            "id": identity, "correlation_id": None, "causation_id": None, "time": datetime.now(UTC),
            "reply": {"partition": self._reply_partition},
        }  # fmt: skip
        value = self._schemas.encode(f"{self._namespace}.{order.name}", {"meta": meta, **order.body})
        with self._changed:
            self._waiting[identity] = order
        self._note("invoke", identity, order)
        self.produce(order.id.encode(), value, self.partition_of(order.id))
        return identity

    def produce(self, key: bytes | None, value: bytes | None, partition: int, headers: Headers | None = None) -> None:
        """A raw record; nothing is noted."""
        while True:
            try:
                self._producer.produce(self._topic, value, key, partition, headers=headers or [])
                break
            except BufferError:
                self._producer.poll(0.05)
        self._producer.poll(0)

    def flush(self) -> None:
        if self._producer.flush(20):
            raise TimeoutError("commands were not taken by the broker")

    def wait_answered(self, timeout_s: float, ids: list[bytes] | None = None) -> bool:
        """Whether all (or the given) commands were answered in time."""
        wanted = set(ids) if ids is not None else None

        def done() -> bool:
            return not (self._waiting.keys() if wanted is None else wanted & self._waiting.keys())

        with self._changed:
            return self._changed.wait_for(done, timeout_s)

    def answer(self, command_id: bytes) -> Operation | None:
        with self._changed:
            return self._answers.get(command_id)

    def outstanding(self) -> dict[bytes, Order]:
        with self._changed:
            return dict(self._waiting)

    def close(self) -> None:
        """What was not answered is unknown. May be called again."""
        if self._stopping:
            return
        self._producer.flush(20)
        self._stopping = True
        self._thread.join(10)
        self._consumer.close()
        for identity, order in self._waiting.items():
            self._note("unknown", identity, order)
        self._waiting.clear()
        self._history.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self) -> None:
        while not self._stopping:
            message = self._consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            value = message.value()
            assert isinstance(value, bytes)
            fields = self._schemas.decode(value).fields
            self._take(bytes(fields["command_id"]), fields)

    def _take(self, identity: bytes, fields: Any) -> None:
        status = str(fields["status"])
        kinds: dict[str, Kind] = {"ok": "ok", "duplicate": "ok", "rejected": "rejected", "failed": "failed"}
        with self._changed:
            order = self._waiting.pop(identity, None)
        if order is None:
            return  # an answer to a copy: the first one counts
        events = len(fields["events"]) if status == "ok" else None
        reason = str(fields.get("reason") or status)
        # A conflict tells of another command under this id: nothing about this one's effect.
        operation = self._note(
            kinds.get(status, "unknown"), identity, order, int(fields["sequence"] or 0) or None, events, reason
        )
        with self._changed:
            self._answers[identity] = operation
            self._changed.notify_all()

    def _note(self, kind: Kind, identity: bytes, order: Order, *told: Any) -> Operation:
        operation = Operation(
            kind, identity.hex(), AGGREGATE, order.id, time.monotonic_ns(), order.name, order.body, *told
        )
        self._history.write(operation)
        return operation


class Traffic:
    """Random commands at a steady rate in a thread, until `stop`. What is not answered within `resend_s` is sent again
    under the same id, as callers do; `stop` gives the last ones time."""

    def __init__(
        self, client: WireClient, seed: int, *, accounts: int = 24, rate: float = 100.0, resend_s: float = 5.0,
        make: Callable[[random.Random, int], Order] = random_order,
    ) -> None:  # fmt: skip
        self._client, self._random, self._make = client, random.Random(seed), make
        self._accounts, self._pause_s, self._resend_s = accounts, 1 / rate, resend_s
        self._stopping = threading.Event()
        self._sent_at: dict[bytes, float] = {}
        self.sent = 0
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 120.0) -> None:
        """Raises `TimeoutError` where commands stay unanswered: somebody has lost them, or progress."""
        self.end()
        deadline = time.monotonic() + timeout_s
        while not self._client.wait_answered(0.25):
            self._send_again()
            if time.monotonic() > deadline:
                left = len(self._client.outstanding())
                raise TimeoutError(f"{left} of {self.sent} commands unanswered after {timeout_s} s")

    def end(self) -> None:
        """Sends no more, and waits for nothing."""
        self._stopping.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stopping.wait(self._pause_s):
            identity = self._client.send(self._make(self._random, self._accounts), self._random)
            self._sent_at[identity] = time.monotonic()
            self.sent += 1
            if self.sent % 20 == 0:
                self._send_again()

    def _send_again(self) -> None:
        now = time.monotonic()
        for identity, order in self._client.outstanding().items():
            if now - self._sent_at.get(identity, 0.0) > self._resend_s:
                self._sent_at[identity] = now
                self._client.send(order, self._random, identity)

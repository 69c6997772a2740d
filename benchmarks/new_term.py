"""When work goes on after a kill, as an outside consumer sees it: the first event of a new term in each partition."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from eventsrc.codec.keys import parse_event_key


class NewTerm:
    """Begins to watch when it is made; make it before the kill. A term is the offset of its barrier: an event names a new one
    if that is at or past where its partition ended then. Use it as a context manager."""

    def __init__(self, bootstrap_servers: str, topic: str, partitions: int) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": f"new-term-{uuid.uuid4().hex[:8]}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
                "log_level": 3,
            }
        )
        places = [TopicPartition(topic, number) for number in range(partitions)]
        for place in places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=10)[1]
        self._ends = {place.partition: place.offset for place in places}
        self._consumer.assign(places)
        self._arrived_s: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def wait_for_all(self, timeout_s: float) -> tuple[float, float]:
        """`time.monotonic()` at the first event of a new term, and when every partition had one. Raises TimeoutError."""
        give_up_s = time.monotonic() + timeout_s
        while len(self._arrived_s) < len(self._ends):
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"{len(self._arrived_s)} of {len(self._ends)} partitions after {timeout_s:g} s")
            time.sleep(0.01)
        return min(self._arrived_s.values()), max(self._arrived_s.values())

    def _watch(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            parsed, number = parse_event_key(message.key() or b""), message.partition() or 0
            if parsed is not None and parsed[2] >= self._ends[number] and number not in self._arrived_s:
                self._arrived_s[number] = time.monotonic()

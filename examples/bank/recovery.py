"""Watches a recovery from outside: a plain consumer at the end of the events topic, and the worker's own log.

A partition has a new owner when a barrier (a key that begins with NUL) comes; it works again with the first event after
that. Nothing of eventsrc is asked for this.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

_OPENED = re.compile(
    r"partition account/(\d+) open after \S+ s: \d+ aggregates, (the log's beginning|the checkpoint at position \d+) "
    r"and (\d+) events after it"
)
_QUIET = logging.getLogger("bank.recovery.kafka")
_QUIET.setLevel(logging.CRITICAL)


class Opened(NamedTuple):
    """What a worker said when a partition was recovered."""

    partition: int
    from_checkpoint: bool
    events: int


def opened(log: str) -> dict[int, Opened]:
    """The last of each partition in a worker's log."""
    found = (Opened(int(number), "checkpoint" in start, int(events)) for number, start, events in _OPENED.findall(log))
    return {each.partition: each for each in found}


def read(log: Path, start: int) -> dict[int, Opened]:
    """From that byte of the log on."""
    with log.open("rb") as file:
        file.seek(start)
        return opened(file.read().decode(errors="replace"))


def read_settled(log: Path, start: int) -> dict[int, Opened]:
    """As `read`, once no further partition has been opened for a moment: those that nobody writes to come last."""
    found = read(log, start)
    for _ in range(50):
        time.sleep(0.2)
        before, found = found, read(log, start)
        if found and found.keys() == before.keys():
            break
    return found


class FirstNewEvent:
    """Begins to watch when it is made, before the kill; `after_s` is known once an event of a new owner was seen."""

    def __init__(self, bootstrap_servers: str, topic: str, partitions: int) -> None:
        config = {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"bank-recovery-{uuid.uuid4().hex[:8]}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 10,
        }
        self._consumer = Consumer(config, logger=_QUIET)
        places = [TopicPartition(topic, number) for number in range(partitions)]
        for place in places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=10)[1]
        self._consumer.assign(places)
        self._stop = threading.Event()
        self._seen = threading.Event()
        self._seen_s = 0.0
        self.partition: int | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def wait(self, since_s: float, timeout_s: float) -> float | None:
        """Seconds from that `time.monotonic()` to the first event of a new owner; None where none came."""
        self._seen.wait(timeout_s)
        self._stop.set()
        self._thread.join(5.0)
        self._consumer.close()
        return self._seen_s - since_s if self._seen.is_set() else None

    @property
    def seen(self) -> bool:
        return self._seen.is_set()

    def _watch(self) -> None:
        taken_over: set[int | None] = set()
        while not self._stop.is_set() and not self._seen.is_set():
            message = self._consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            if (message.key() or b"").startswith(b"\0"):
                taken_over.add(message.partition())
            elif message.partition() in taken_over:
                self._seen_s, self.partition = time.monotonic(), message.partition()
                self._seen.set()

"""Compares topic ids now and then: a topic deleted and made anew under a running worker has the same name and another id.

A reader would continue at the same offset of a log that has nothing to do with the one it knew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from eventsrc.adapters.kafka.config import Config

INTERVAL_S = 1.5
REQUEST_TIMEOUT_S = 10.0
CLOSE_S = 1.0


class TopicWatch:
    """A thread of its own. `changed(topic, what)` is called from it, once per topic."""

    def __init__(self, common: Config, expected: Mapping[str, str], changed: Callable[[str, str], None]) -> None:
        self._common = common
        self._expected = dict(expected)
        self._changed = changed
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="eventsrc-topics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """It reports nothing from here on. Returns when its thread has ended, or is in a look that takes long."""
        self._closed.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        admin: AdminClient | None = None
        seen: dict[str, str] = {}
        while not self._closed.wait(INTERVAL_S) and self._expected:
            admin = admin or AdminClient(dict(self._common), logger=logging.getLogger("eventsrc.librdkafka"))
            described = admin.describe_topics(TopicCollection(list(self._expected)), request_timeout=REQUEST_TIMEOUT_S)
            found = {topic: self._difference(topic, future.result) for topic, future in described.items()}
            seen = self._report(seen, {topic: what for topic, what in found.items() if what is not None})

    def _report(self, before: Mapping[str, str], now: dict[str, str]) -> dict[str, str]:
        """What was seen at two looks: one broker alone may not know yet what the others do. Returns what is to be looked
        at again."""
        for topic in before.keys() & now.keys():
            if not self._closed.is_set():
                del self._expected[topic]
                self._changed(topic, now.pop(topic))
        return now

    def _difference(self, topic: str, result: Callable[[], object]) -> str | None:
        try:
            found = str(result().topic_id)  # type: ignore[attr-defined]  # TopicDescription, untyped in the client
        except KafkaException as exception:
            if exception.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return "it was deleted"
            return None  # unreachable for now: whoever needs the topic notices
        if found == self._expected[topic]:
            return None
        return f"it was deleted and made anew (topic id {found}, was {self._expected[topic]})"

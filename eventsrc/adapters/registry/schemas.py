"""A catalog's registry: from memory, from disk, and from the registry itself, asked in a thread.

A worker's loop waits for an answer at most a moment, once per id: while a registry is away, the partitions that need it
pause and the others run on.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from eventsrc.adapters.registry.cache import SchemaCache
from eventsrc.codec.registered import RegisteredSchemas
from eventsrc.codec.schema_files import SchemaFile
from eventsrc.errors import EventsrcError

logger = logging.getLogger("eventsrc.registry")

ASK_AGAIN_S = 1.0
WARN_AGAIN_S = 30.0


class Registry(Protocol):
    """What `RegistryClient` does."""

    def register(self, subject: str, schema: Any) -> int: ...

    def schema(self, schema_id: int) -> Any | None: ...


@dataclass(slots=True)
class _Question:
    """About one id."""

    asked_s: float
    answered: threading.Event = field(default_factory=threading.Event)


def subject_of(topic: str, file: SchemaFile) -> str:
    """TopicRecordNameStrategy: one topic holds several records, and each evolves by itself."""
    return f"{topic}-{file.node.name}"


class RegistrySchemas(RegisteredSchemas):
    """`wait_s`: how long `schema_of` waits for the registry, the first time that it is asked for an id."""

    def __init__(self, registry: Registry, cache: SchemaCache, wait_s: float) -> None:
        self._registry = registry
        self._cache = cache
        self._wait_s = wait_s
        self._known: dict[int, Any] = {}
        self._asked: dict[int, _Question] = {}
        self._lock = threading.Lock()
        self._warned_s: float | None = None

    def id_for(self, topic: str, file: SchemaFile) -> int:
        subject = subject_of(topic, file)
        found = self._cache.id_of(subject, file.schema)
        if found is None:
            found = self._registry.register(subject, file.schema)
            self._cache.keep_id(subject, file.schema, found)
            logger.info("%s is registered with the id %d", subject, found)
        self._known[found] = file.schema
        return found

    def schema_of(self, schema_id: int) -> Any | None:
        if schema_id not in self._known:
            kept = self._cache.schema(schema_id)
            if kept is None:
                self._ask(schema_id)
            else:
                self._known[schema_id] = kept
        return self._known.get(schema_id)

    def _ask(self, schema_id: int) -> None:
        now_s = time.monotonic()
        with self._lock:
            before = self._asked.get(schema_id)
            if before is not None and (not before.answered.is_set() or now_s - before.asked_s < ASK_AGAIN_S):
                return
            question = self._asked[schema_id] = _Question(now_s)
        threading.Thread(target=self._fetch, args=(schema_id, question), name="eventsrc-registry", daemon=True).start()
        if before is None:
            question.answered.wait(self._wait_s)

    def _fetch(self, schema_id: int, question: _Question) -> None:
        try:
            schema = self._registry.schema(schema_id)
            if schema is not None:
                self._cache.keep_schema(schema_id, schema)
                self._known[schema_id] = schema
        except EventsrcError as failure:
            self._warn(failure)
        finally:
            question.answered.set()

    def _warn(self, failure: EventsrcError) -> None:
        now_s = time.monotonic()
        if self._warned_s is None or now_s - self._warned_s > WARN_AGAIN_S:
            self._warned_s = now_s
            logger.warning("%s; records of schemas not known here wait", failure)

"""What stands around a message: its meta on the wire, the context of a handler, an event as recorded, an outcome.

Everything a handler may take from here is derived from the record, so that a retry and a replay see the same.
"""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EventMeta(NamedTuple):
    """The first field of every event, as it stands on the wire. Ids are 16 bytes."""

    command_id: bytes
    """Of the command that made the event."""
    correlation_id: bytes | None
    """What a whole chain of causes has in common; None: the command's own id."""
    causation_id: bytes | None
    """The event that caused the command; None: the command itself is the cause."""
    source_offset: int
    """Of the command, in its partition."""
    index: int  # type: ignore[assignment]  # the contract's names; they hide tuple's methods, which nobody calls here
    """Which of the command's events it is, from 0."""
    count: int  # type: ignore[assignment]
    """How many events the command made."""
    time: int
    """Hybrid logical time, microseconds since the epoch."""
    payload_hash: bytes
    """8 bytes: the command's, from which deduplication memory is rebuilt."""


class CommandMeta(NamedTuple):
    """The first field of every command. `time` is the client's, in microseconds, and only informs. A causation of
    None: the command came from outside."""

    id: bytes
    correlation_id: bytes | None
    causation_id: bytes | None
    time: int
    reply_partition: int | None


class Recorded(NamedTuple):
    """An event as it stands in the log: what `history` gives, and the optional third parameter of `@apply`."""

    event: Any
    """An instance of its class."""
    sequence: int
    """The aggregate's own number of it, from 1."""
    offset: int | None
    """None inside an `@apply` method: when the event is first applied it is not known yet, and a replay must agree."""
    meta: EventMeta
    """What is recorded beside it."""

    @property
    def time(self) -> datetime:
        """The event's hybrid logical time: aware, UTC."""
        return _EPOCH + timedelta(microseconds=self.meta.time)


class Outcome(NamedTuple):
    """What became of a command that was not refused."""

    command_id: UUID
    """Random, or derived from the idempotency key."""
    events: tuple[Any, ...]
    """Those that it made, in order; empty where the handler returned nothing."""
    sequence: int
    """The aggregate's after it, also when there was no event."""
    duplicate: bool
    """It had taken effect before, under the same id; then `events` were read back from history."""


class Context:
    """Time, randomness and ids for one handler call, all derived from the command's record: a retry, which gets a
    new context, sees the same values in the same order."""

    __slots__ = ("_causation_id", "_command_id", "_correlation_id", "_random", "_seed", "_timestamp_ms", "_uuids")

    def __init__(
        self,
        timestamp_ms: int,
        command_id: bytes,
        correlation_id: bytes | None,
        causation_id: bytes | None,
        seed: bytes,
    ) -> None:
        self._timestamp_ms = timestamp_ms
        self._command_id = command_id
        self._correlation_id = correlation_id
        self._causation_id = causation_id
        self._seed = seed
        self._random: random.Random | None = None
        self._uuids = 0

    @property
    def now(self) -> datetime:
        """The command's record time: aware, UTC, to the millisecond. No client's clock rules it."""
        return _EPOCH + timedelta(milliseconds=self._timestamp_ms)

    @property
    def random(self) -> random.Random:
        """A generator seeded from the record."""
        if self._random is None:
            self._random = random.Random(self._seed)
        return self._random

    def uuid(self) -> UUID:
        """The next of this record's ids; in form a version 4 UUID."""
        self._uuids += 1
        digest = hashlib.blake2b(self._uuids.to_bytes(8, "big") + self._seed, digest_size=16)
        return UUID(bytes=digest.digest(), version=4)

    @property
    def command_id(self) -> UUID:
        """The command's own id: with an idempotency key, the same at each sending."""
        return UUID(bytes=self._command_id)

    @property
    def correlation_id(self) -> UUID:
        """What the whole chain of causes has in common: the first command's id."""
        return UUID(bytes=self._correlation_id or self._command_id)

    @property
    def causation_id(self) -> UUID | None:
        """The event that caused the command; None if it came from outside."""
        return None if self._causation_id is None else UUID(bytes=self._causation_id)

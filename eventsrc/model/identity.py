"""Ids: which aggregate ids are legal, and how the ids of commands and events are derived.

Every derived id is a UUIDv5 in one namespace, over parts joined by U+0000, which no part can contain
unseen: an aggregate id refuses it, names are kebab-case, and an idempotency key is always the last part.
"""

from __future__ import annotations

import os
import uuid

from eventsrc.errors import InvalidCommand, InvalidId

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "eventsrc")
MAX_AGGREGATE_ID_BYTES = 255


def check_aggregate_id(aggregate_id: str) -> bytes:
    """The id's key on every topic. Raises `InvalidId` unless it is 1-255 bytes of UTF-8 without U+0000."""
    if not isinstance(aggregate_id, str):
        raise InvalidId(f"an aggregate id is a str, not {type(aggregate_id).__name__}: {aggregate_id!r}")
    try:
        key = aggregate_id.encode()
    except UnicodeEncodeError as error:
        raise InvalidId(f"the aggregate id {aggregate_id!r} holds a lone surrogate, which UTF-8 refuses") from error
    if not key:
        raise InvalidId("the aggregate id is empty: it has to have 1-255 bytes")
    if len(key) > MAX_AGGREGATE_ID_BYTES:
        raise InvalidId(f"the aggregate id {aggregate_id[:40]!r}... has {len(key)} bytes of UTF-8: at most 255 fit")
    if b"\0" in key:
        raise InvalidId(f"the aggregate id {aggregate_id!r} holds U+0000, which is reserved for control records")
    return key


def is_aggregate_id(key: bytes) -> bool:
    """Whether a record's key is an aggregate id, whoever wrote it."""
    if not 0 < len(key) <= MAX_AGGREGATE_ID_BYTES or 0 in key:
        return False
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True


def random_command_id() -> bytes:
    """16 random bytes: the id of a command that has no idempotency key."""
    return os.urandom(16)


def command_id_for(pipeline: str, aggregate: str, aggregate_id: str, idempotency_key: str) -> bytes:
    """The same 16 bytes for the same idempotency key, in every client. `aggregate` is the kebab-case name.
    Raises `InvalidCommand` for a key that is no text, or empty: a variable that was not set."""
    if not isinstance(idempotency_key, str):
        raise InvalidCommand(f"an idempotency key is a str, not {type(idempotency_key).__name__}: {idempotency_key!r}")
    if not idempotency_key:
        raise InvalidCommand(
            "the idempotency key is empty: every command that has it would be taken for one and the same"
        )
    try:
        idempotency_key.encode()
    except UnicodeEncodeError as error:
        raise InvalidCommand(
            f"the idempotency key {idempotency_key!r} holds a lone surrogate, which UTF-8 refuses"
        ) from error
    return _uuid5("\0".join((pipeline, aggregate, aggregate_id, idempotency_key)))


def event_id_text(aggregate: str, aggregate_id: str, sequence: int) -> str:
    """What `trace` and `rollback` call an event: `<aggregate>/<id>@<sequence>`."""
    return f"{aggregate}/{aggregate_id}@{sequence}"


def event_id(text: str) -> bytes:
    """`event_id_text` as 16 bytes, for causation ids."""
    return _uuid5(text)


def _uuid5(name: str) -> bytes:
    return uuid.uuid5(NAMESPACE, name).bytes

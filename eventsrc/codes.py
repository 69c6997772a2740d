"""Short stable names of what goes wrong: an anchor each in docs/errors.md, a field `code` in logs, reports and probes.

An error's is its class's name in kebab-case (`TopicsInvalid`: topics-invalid), unless it was raised with a narrower one.
"""

from __future__ import annotations

import enum
import re

PAGE = "docs/errors.md"


class HaltCode(enum.StrEnum):
    """Why a partition stands still."""

    SEQUENCE_TWICE = "sequence-twice"
    SEQUENCE_MISSING = "sequence-missing"
    HALF_APPLIED = "half-applied"
    FOREIGN_RECORD = "foreign-record"
    RECORD_UNREADABLE = "record-unreadable"
    EVENT_CLASS_CHANGED = "event-class-changed"
    RECORD_OF_A_NEWER_VERSION = "record-of-a-newer-version"
    APPLY_FAILED = "apply-failed"
    EVENT_SCHEMA_MISSING = "event-schema-missing"
    COMMANDS_DELETED = "commands-deleted"
    COMMANDS_TRUNCATED = "commands-truncated"
    EVENTS_TRUNCATED = "events-truncated"
    EVENTS_LOST = "events-lost"
    HISTORY_DELETED = "history-deleted"
    TOPIC_RECREATED = "topic-recreated"
    CHECKPOINT_ABOVE_THE_LOG = "checkpoint-above-the-log"
    CHECKPOINT_DAMAGED = "checkpoint-damaged"
    CLAIM_REFUSED = "claim-refused"
    COMMITTED_OFFSET_UNREADABLE = "committed-offset-unreadable"
    POSITION_UNREADABLE = "position-unreadable"
    HANGING_TRANSACTION = "hanging-transaction"


class Refusal(enum.StrEnum):
    """Why a command did not begin, where the error's class alone says too little."""

    SETTING_PROTECTED = "setting-protected"
    INSTANCE_ID_TAKEN = "instance-id-taken"
    INSTANCE_SLOTS_TAKEN = "instance-slots-taken"
    ADDRESS_MISSING = "address-missing"
    DATABASE_NOT_PREPARED = "database-not-prepared"
    DATABASE_NEWER = "database-newer"
    EXTRA_MISSING = "extra-missing"
    HTTP_TOKEN_MISSING = "http-token-missing"
    HTTP_ADDRESS_TAKEN = "http-address-taken"


class MistakeGroup(enum.StrEnum):
    """What a declared class has wrong."""

    CLASS = "mistaken-class"
    FIELD = "mistaken-field"
    TYPE = "mistaken-type"
    DEFAULT = "mistaken-default"
    METHOD = "mistaken-method"


UNEXPECTED = "unexpected-error"
"""An exception that is none of ours: a defect of eventsrc, or of a library."""


def code_of(error: BaseException | type[BaseException]) -> str:
    """Its own, else that of its nearest class that belongs to eventsrc (an application's subclass has no page)."""
    own = getattr(error, "_code", None)
    if own is not None:
        return str(own)
    kind = error if isinstance(error, type) else type(error)
    ours = next((each for each in kind.__mro__ if each.__module__.startswith("eventsrc.")), None)
    return UNEXPECTED if ours is None else re.sub(r"(?<=[a-z])(?=[A-Z])", "-", ours.__name__).lower()


def see(code: str) -> str:
    """Where it is explained."""
    return f"see: {PAGE}#{code}"

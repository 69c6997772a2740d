"""Checkpoints and their states, made by hand: what tests of the engine and of its snapshot threads start from."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from eventsrc.codec.blocks import Block, StoredRuns, build_blocks, entry
from eventsrc.engine.notes import TopicIds
from eventsrc.model.position import Offset, Position
from eventsrc.model.snapshot import Anchor, Checkpoint, FoldedBy, StoredCheckpoint
from tests.unit.engine.shop import ACCOUNT, Record, catalog

TOPICS = TopicIds("commands", "events")
FOLDED_BY = FoldedBy(ACCOUNT.version, catalog.state_fingerprint(ACCOUNT))
TAKEN_AT = datetime(2026, 1, 1, tzinfo=UTC)


def anchor_of(record: Record, time: int = 1) -> Anchor:
    """Of a record as it lies in the log."""
    key, value = record.of_key or b"", record.of_value or b""
    return Anchor.of(Offset(record.at), key, value, time)


def some_anchor(offset: int) -> Anchor:
    return Anchor(Offset(offset), b"a@1#0", 1, 1)


def checkpoint_at(anchor: Anchor, seen: Anchor | None = None, **said: Any) -> Checkpoint:
    """At a partition that has had one event, of a command at offset 0, unless it is said otherwise."""
    told: dict[str, Any] = {
        "commands_position": Position(1),
        "term": 0,
        "applied": 1,
        "highest_source": 0,
        "events": 1,
        "aggregates": 1,
        "commands_topic_id": TOPICS.commands,
        "events_topic_id": TOPICS.events,
        "folded_by": FOLDED_BY,
    }
    return Checkpoint(anchor, seen or anchor, **(told | said))


def stored_as(checkpoint: Checkpoint, number: int = 1) -> StoredCheckpoint:
    return StoredCheckpoint(uuid.UUID(int=number), checkpoint, (), TAKEN_AT)


def account_entry(sequence: int, balance: int, memory: bytes = b"") -> bytes:
    """The stored state of an account."""
    account = ACCOUNT.new(b"any")
    account.balance, account.deposits = balance, sequence
    return entry(sequence, memory, catalog.snapshot_writer(ACCOUNT)(account))


def runs_of(*entries: Mapping[bytes, bytes]) -> StoredRuns:
    """Oldest first."""
    return StoredRuns([[Block(encoded) for encoded in build_blocks(each.items())] for each in entries])

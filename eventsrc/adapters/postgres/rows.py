"""A checkpoint as a row, and back: its columns, its manifest, and the digest by which damage shows.

Owns these forms. Must not know connections. A row that is not what was written becomes a DamagedCheckpoint, whatever is
wrong with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from eventsrc.adapters.postgres.compiled import CHECKPOINT_COLUMNS
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.position import Offset, Position
from eventsrc.model.snapshot import Anchor, Checkpoint, DamagedCheckpoint, FoldedBy, Run, Segment, StoredCheckpoint

_DIGESTED = [name for name in CHECKPOINT_COLUMNS if name != "digest"]


def row_of(pipeline: str, key: PartitionKey, stored: StoredCheckpoint, taken_at: datetime) -> dict[str, Any]:
    """Values by column."""
    said = stored.checkpoint
    row = {
        "id": stored.id,
        "pipeline": pipeline,
        "aggregate": key.aggregate,
        "partition": key.number,
        "position": said.position,
        **_anchor_columns("anchor", said.anchor),
        **_anchor_columns("seen", said.seen),
        "commands_position": said.commands_position,
        "term": said.term,
        "applied": said.applied,
        "highest_source": said.highest_source,
        "events": said.events,
        "aggregates": said.aggregates,
        "commands_topic_id": said.commands_topic_id,
        "events_topic_id": said.events_topic_id,
        "code_version": said.folded_by.version,
        "state_fingerprint": f"{said.folded_by.state_fingerprint:016x}",
        "manifest": json.dumps(_manifest_of(stored.runs)),
        "segment_ids": [segment.id for run in stored.runs for segment in run],
        "taken_at": taken_at,
    }
    return {**row, "digest": _digest(row)}


def read_row(values: Sequence[Any], pipeline: str, key: PartitionKey) -> StoredCheckpoint | DamagedCheckpoint:
    """From a row's values in the order of the columns; of that partition, whatever an index says."""
    row = dict(zip(CHECKPOINT_COLUMNS, values, strict=True))
    try:
        if bytes(row["digest"]) != _digest(row):
            raise ValueError("its digest is of other values")
        if (row["pipeline"], row["aggregate"], row["partition"]) != (pipeline, *key):
            raise ValueError(f"it is of {row['pipeline']} {row['aggregate']}/{row['partition']}")
        return _stored_of(row)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        return DamagedCheckpoint(row["id"], f"the row of checkpoint {row['id']} is damaged: {error}", row["taken_at"])


def _stored_of(row: Mapping[str, Any]) -> StoredCheckpoint:
    checkpoint = Checkpoint(
        anchor=_anchor_of("anchor", row),
        seen=_anchor_of("seen", row),
        commands_position=Position(row["commands_position"]),
        term=row["term"],
        applied=row["applied"],
        highest_source=row["highest_source"],
        events=row["events"],
        aggregates=row["aggregates"],
        commands_topic_id=row["commands_topic_id"],
        events_topic_id=row["events_topic_id"],
        folded_by=FoldedBy(row["code_version"], int(row["state_fingerprint"], 16)),
    )
    runs = tuple(tuple(map(_segment_of, run)) for run in json.loads(row["manifest"]))
    return StoredCheckpoint(row["id"], checkpoint, runs, row["taken_at"].astimezone(UTC))


def _anchor_columns(name: str, anchor: Anchor) -> dict[str, Any]:
    return {f"{name}_{field}": value for field, value in anchor._asdict().items()}


def _anchor_of(name: str, row: Mapping[str, Any]) -> Anchor:
    return Anchor(Offset(row[f"{name}_offset"]), bytes(row[f"{name}_key"]), row[f"{name}_crc"], row[f"{name}_time"])


def _manifest_of(runs: Sequence[Run]) -> list[list[dict[str, Any]]]:
    return [[_segment_object(segment) for segment in run] for run in runs]


def _segment_object(segment: Segment) -> dict[str, Any]:
    """Hashes in hexadecimal: many readers of JSON have no 64-bit integers."""
    hashes = {name: f"{getattr(segment, name):016x}" for name in ("first_hash", "last_hash")}
    return {**segment._asdict(), "id": str(segment.id), **hashes}


def _segment_of(found: Mapping[str, Any]) -> Segment:
    hashes = {name: int(found[name], 16) for name in ("first_hash", "last_hash")}
    return Segment(**{**found, "id": UUID(found["id"]), **hashes})


def _digest(row: Mapping[str, Any]) -> bytes:
    """SHA-256 over all other values. The manifest is taken apart first: Postgres keeps its content, not its text."""
    values = [json.loads(row[name]) if name == "manifest" else row[name] for name in _DIGESTED]
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=_plain).encode()).digest()


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)

"""Checkpoints of a synthetic history, correct by construction: the ground into which tests plant bugs of snapshots.

As an owner takes them: a base, then deltas of what has changed, each state perhaps newer than the position.
"""

from __future__ import annotations

import io
import random
import struct
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any
from zlib import crc32

import fastavro
from xxhash import xxh3_64_intdigest

from tests.harness import bank_model
from tests.harness.evidence import Evidence, LogRecord
from tests.harness.log_view import Event, EventsPartition, decode_evidence
from tests.harness.snapshot_checks import state_fingerprint
from tests.harness.snapshots import CheckpointRow, HeadRow, Snapshots, StoredAnchor, StoredState

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "bank.account.Account",
    "fields": [{"name": name, "type": "long"} for name in bank_model.NEW],
}


def state_at(events: list[Event], id: bytes, sequence: int) -> StoredState:
    """The fold of its events to that sequence, and the ids of the commands that made them as its memory."""
    state, memory = dict(bank_model.NEW), b""
    for event in (event for event in events if event.key.id == id and event.key.sequence <= sequence):
        state = bank_model.fold(state, event.decoded.short_name, event.body)
        memory += event.command_id if event.index == event.count - 1 else b""
    return StoredState(id, sequence, memory, encoded(state))


def encoded(state: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, state)
    return out.getvalue()


def block_of(states: list[StoredState]) -> bytes:
    ordered = sorted(states, key=lambda state: (xxh3_64_intdigest(state.key), state.key))
    parts = [
        bytes([len(s.key)]) + s.key + struct.pack("<QI", s.sequence, len(s.memory)) + s.memory + s.body for s in ordered
    ]
    ends = [0, *accumulate(map(len, parts))]
    hashes = [xxh3_64_intdigest(state.key) for state in ordered]
    head = struct.pack(f"<4sI{len(parts)}Q{len(ends)}I", b"ESB2", len(parts), *hashes, *ends)
    return head + b"".join(parts)


def add_run(stored: Snapshots, states: list[StoredState]) -> list[dict[str, Any]]:
    """Stores them as one segment; returns the run for a manifest."""
    if not states:
        return []
    block, id = block_of(states), uuid.uuid4()
    stored.blocks[id] = block
    hashes = sorted(xxh3_64_intdigest(state.key) for state in states)
    said = {
        "id": str(id), "first_hash": f"{hashes[0]:016x}", "last_hash": f"{hashes[-1]:016x}", "states": len(states),
        "size_bytes": len(block), "crc": crc32(block),
    }  # fmt: skip
    return [said]


def with_snapshots(evidence: Evidence, seed: int) -> Evidence:
    """Adds three checkpoints to each partition and makes the last one its head."""
    rnd = random.Random(seed)
    stored = Snapshots({"account": SCHEMA})
    for place, partition in decode_evidence(evidence).partitions.items():
        records = [r for r in evidence.committed_view if r.partition == place[1]]
        _add_checkpoints(stored, partition, records, evidence, rnd)
    evidence.snapshots = stored
    return evidence


def _add_checkpoints(
    stored: Snapshots, partition: EventsPartition, records: list[LogRecord], evidence: Evidence, rnd: random.Random
) -> None:
    ends = [event for event in partition.events if event.index == event.count - 1]
    manifest: list[list[dict[str, Any]]] = []
    row: CheckpointRow | None = None
    since = 0
    for number, at in enumerate((len(ends) // 3, 2 * len(ends) // 3, len(ends) - 1)):
        anchor = ends[at]
        later = [event for event in ends if event.offset >= anchor.offset and event.key.term == anchor.key.term]
        seen = later[min(len(later) - 1, rnd.randrange(3))]
        changed = [event for event in partition.events if since <= event.offset <= seen.offset]
        latest = {event.key.id: event.key.sequence for event in changed}
        run = add_run(stored, [state_at(partition.events, id, sequence) for id, sequence in latest.items()])
        manifest = [*manifest, run] if run else manifest
        row = row_at(partition, records, anchor, seen, manifest, number)
        stored.checkpoints.append(row)
        since = row.position
    if row is not None:
        stored.heads.append(HeadRow(row.aggregate, row.partition, partition.barriers[-1], row.id))


def row_at(
    partition: EventsPartition, records: list[LogRecord], anchor: Event, seen: Event, manifest: Any, number: int
) -> CheckpointRow:
    covered = [event for event in partition.events if event.offset <= anchor.offset]
    by_offset = {record.offset: record for record in records}
    return CheckpointRow(
        uuid.uuid4(), partition.aggregate, partition.place[1], anchor.offset + 1,
        _anchored(by_offset[anchor.offset]), _anchored(by_offset[seen.offset]),
        anchor.source_offset + 1, anchor.key.term,
        sum(event.key.term == anchor.key.term and event.index == event.count - 1 for event in covered),
        max(event.source_offset for event in covered), len(covered), len({event.key.id for event in covered}),
        state_fingerprint(SCHEMA), manifest, tuple(uuid.UUID(said["id"]) for run in manifest for said in run),
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
    )  # fmt: skip


def _anchored(record: LogRecord) -> StoredAnchor:
    key = record.key or b""
    return StoredAnchor(record.offset, key, crc32(record.value or b"", crc32(key)))


def replaced(stored: Snapshots, row: CheckpointRow, **changes: Any) -> CheckpointRow:
    """The row with other values in its place, whatever its digest would say."""
    changed = replace(row, **changes)
    stored.checkpoints[stored.checkpoints.index(row)] = changed
    return changed

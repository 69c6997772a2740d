"""Bugs to plant into the checkpoints of a correct history. Each takes the evidence (and a seeded random)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.harness import bank_model
from tests.harness.evidence import Evidence
from tests.harness.log_view import Event, decode_evidence
from tests.harness.snapshots import CheckpointRow, HeadRow, Snapshots, StoredAnchor, StoredState, read_block
from tests.harness.synthetic_snapshots import add_run, encoded, replaced, row_at, state_at


def stored_of(evidence: Evidence) -> Snapshots:
    assert evidence.snapshots is not None
    return evidence.snapshots


def head_row(evidence: Evidence, rnd: random.Random) -> CheckpointRow:
    stored = stored_of(evidence)
    heads = {head.checkpoint_id for head in stored.heads}
    return rnd.choice([row for row in stored.checkpoints if row.id in heads])


def events_of(evidence: Evidence, row: CheckpointRow) -> list[Event]:
    return decode_evidence(evidence).partitions[(evidence.events_topic(row.aggregate), row.partition)].events


def states_of(stored: Snapshots, row: CheckpointRow) -> dict[bytes, StoredState]:
    blocks = [stored.blocks[UUID(said["id"])] for run in row.manifest for said in run]
    return {state.key: state for block in blocks for state in read_block(block)}


def row_values(row: CheckpointRow) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row) if field.name not in ("id", "taken_at")}


def store(evidence: Evidence, row: CheckpointRow, states: list[StoredState]) -> None:
    """The checkpoint holds these states, and no others."""
    manifest = [add_run(stored_of(evidence), states)]
    replaced(stored_of(evidence), row, manifest=manifest, segment_ids=(UUID(manifest[0][0]["id"]),))


def stored_anew(evidence: Evidence, rnd: random.Random, change: Callable[[StoredState], StoredState | None]) -> None:
    """One of the head's states is another, or is not there."""
    row = head_row(evidence, rnd)
    states = states_of(stored_of(evidence), row)
    known = [event.key.id for event in events_of(evidence, row) if event.offset < row.position]
    changed = change(states.pop(rnd.choice(known)))
    store(evidence, row, [*states.values(), *([] if changed is None else [changed])])


def stale_state(evidence: Evidence, rnd: random.Random) -> None:
    """An aggregate changed, and was not written again."""
    row = head_row(evidence, rnd)
    states, events = states_of(stored_of(evidence), row), events_of(evidence, row)
    below = [event.key for event in events if event.offset < row.position]
    id = rnd.choice([key.id for key in below if key.sequence > 1])
    last = max(key.sequence for key in below if key.id == id)
    states[id] = state_at(events, id, last - 1)
    store(evidence, row, list(states.values()))


def missing_state(evidence: Evidence, rnd: random.Random) -> None:
    stored_anew(evidence, rnd, lambda state: None)


def wrong_state(evidence: Evidence, rnd: random.Random) -> None:
    stored_anew(evidence, rnd, lambda state: replace(state, body=encoded({**bank_model.NEW, "balance": 1_000_003})))


def state_of_another_aggregate(evidence: Evidence, rnd: random.Random) -> None:
    stored_anew(evidence, rnd, lambda state: replace(state, key=b"a-stranger"))


def state_under_a_newer_sequence(evidence: Evidence, rnd: random.Random) -> None:
    """The state of a transaction that was aborted: its event is nowhere."""
    stored_anew(evidence, rnd, lambda state: replace(state, sequence=state.sequence + 1_000))


def torn_state(evidence: Evidence, rnd: random.Random) -> None:
    stored_anew(evidence, rnd, lambda state: replace(state, body=state.body[:-1]))


def forgotten_commands(evidence: Evidence, rnd: random.Random) -> None:
    stored_anew(evidence, rnd, lambda state: replace(state, memory=b""))


def position_too_high(evidence: Evidence, rnd: random.Random) -> None:
    """The end of the log was taken for the position, with all that belongs to it: a recovery skips what lies between."""
    row = min(stored_of(evidence).checkpoints, key=lambda row: row.position)
    partition = decode_evidence(evidence).partitions[(evidence.events_topic(row.aggregate), row.partition)]
    records = [record for record in evidence.committed_view if record.partition == row.partition]
    last = partition.events[-1]
    replaced(stored_of(evidence), row, **row_values(row_at(partition, records, last, last, row.manifest, 0)))


def position_beside_its_anchor(evidence: Evidence, rnd: random.Random) -> None:
    row = head_row(evidence, rnd)
    replaced(stored_of(evidence), row, position=row.position + 1)


def commands_position_behind(evidence: Evidence, rnd: random.Random) -> None:
    row = head_row(evidence, rnd)
    replaced(stored_of(evidence), row, commands_position=row.commands_position - 1)


def commands_position_ahead(evidence: Evidence, rnd: random.Random) -> None:
    row = min(stored_of(evidence).checkpoints, key=lambda row: row.position)
    last = max(event.source_offset for event in events_of(evidence, row))
    replaced(stored_of(evidence), row, commands_position=last + 1)


def anchor_of_another_record(evidence: Evidence, rnd: random.Random) -> None:
    row = head_row(evidence, rnd)
    replaced(stored_of(evidence), row, anchor=replace(row.anchor, crc=row.anchor.crc ^ 1))


def events_miscounted(evidence: Evidence, rnd: random.Random) -> None:
    row = head_row(evidence, rnd)
    replaced(stored_of(evidence), row, events=row.events + 1)


def seen_too_low(evidence: Evidence, rnd: random.Random) -> None:
    """A state has seen more than the row says: time travel would start from the future."""
    row = head_row(evidence, rnd)
    events, states = events_of(evidence, row), states_of(stored_of(evidence), row)
    earlier = next(event for event in reversed(events) if event.offset < row.anchor.offset and event.index == 0)
    states = {id: state for id, state in states.items() if id != earlier.key.id}
    store(evidence, row, [*states.values(), state_at(events, earlier.key.id, earlier.key.sequence)])
    row = next(each for each in stored_of(evidence).checkpoints if each.id == row.id)
    low = next(r for r in evidence.committed_view if r.partition == row.partition)
    anchor = StoredAnchor(low.offset, low.key or b"", row.anchor.crc)
    replaced(stored_of(evidence), row, seen=anchor)


def segment_lost(evidence: Evidence, rnd: random.Random) -> None:
    stored = stored_of(evidence)
    del stored.blocks[rnd.choice(head_row(evidence, rnd).segment_ids)]


def segment_flipped(evidence: Evidence, rnd: random.Random) -> None:
    stored = stored_of(evidence)
    id = rnd.choice(head_row(evidence, rnd).segment_ids)
    block = bytearray(stored.blocks[id])
    block[rnd.randrange(len(block))] ^= 1 << rnd.randrange(8)
    stored.blocks[id] = bytes(block)


def segment_of_no_manifest(evidence: Evidence, rnd: random.Random) -> None:
    row = head_row(evidence, rnd)
    replaced(stored_of(evidence), row, segment_ids=row.segment_ids[1:])


def zombie_checkpoint(evidence: Evidence, rnd: random.Random) -> None:
    """A deposed owner's was accepted after its successor's."""
    stored, row = stored_of(evidence), head_row(evidence, rnd)
    late = replace(row, id=UUID(int=7), term=row.term - 1, taken_at=row.taken_at + timedelta(seconds=9))
    stored.checkpoints.append(late)


def head_left_behind(evidence: Evidence, rnd: random.Random) -> None:
    stored, row = stored_of(evidence), head_row(evidence, rnd)
    older = next(each for each in stored.checkpoints if each.partition == row.partition and each.id != row.id)
    heads = [head for head in stored.heads if head.partition != row.partition]
    stored.heads[:] = [*heads, HeadRow(row.aggregate, row.partition, 1 << 40, older.id)]


PLANTED: list[tuple[Callable[[Evidence, random.Random], None], str]] = [
    (stale_state, "I6"),
    (missing_state, "I6"),
    (wrong_state, "I6"),
    (state_of_another_aggregate, "I10"),
    (state_under_a_newer_sequence, "I10"),
    (torn_state, "I6"),
    (forgotten_commands, "I1"),
    (position_too_high, "I6"),
    (position_beside_its_anchor, "I6"),
    (commands_position_behind, "I5"),
    (commands_position_ahead, "I5"),
    (anchor_of_another_record, "I6"),
    (events_miscounted, "I6"),
    (seen_too_low, "I6"),
    (segment_lost, "I6"),
    (segment_flipped, "I6"),
    (segment_of_no_manifest, "I6"),
    (zombie_checkpoint, "I6"),
    (head_left_behind, "I6"),
]

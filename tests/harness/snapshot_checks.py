"""I6, judged from outside: every stored state is the fold of its aggregate's events to its sequence, and the states of a
checkpoint cover every event below its position; what else a checkpoint says is what the log says.

Pure: the rows and blocks that `snapshots` read, and the log as plain consumers saw it.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID
from zlib import crc32

from fastavro.schema import fingerprint

from tests.harness.evidence import Evidence, LogRecord
from tests.harness.log_view import Event, EventsPartition, View, Violation
from tests.harness.model_checks import Application
from tests.harness.snapshots import (
    CheckpointRow,
    HeadRow,
    Malformed,
    Snapshots,
    StoredAnchor,
    StoredState,
    decode_state,
    read_block,
    wrong_with_segment,
)

REMEMBERED = 8
"""The least that a state must remember: its last commands that made events (contract.md section 1)."""


@dataclass
class _Told:
    """One aggregate as the log tells it, by sequence from 1."""

    offsets: list[int] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)
    ends_of_commands: list[tuple[int, bytes]] = field(default_factory=list)


class _Log:
    """One events partition, prepared for the questions of every checkpoint. That its sequences have no gaps is judged
    elsewhere (I3)."""

    def __init__(self, partition: EventsPartition, records: list[LogRecord], application: Application) -> None:
        self.barriers = set(partition.barriers)
        self.records = {record.offset: record for record in records}
        self.events = partition.events
        self.offsets = [event.offset for event in partition.events]
        self.told: dict[bytes, _Told] = defaultdict(_Told)
        for event in partition.events:
            told = self.told[event.key.id]
            before = told.states[-1] if told.states else application.NEW
            told.offsets.append(event.offset)
            told.states.append(application.fold(before, event.decoded.short_name, event.body))
            if event.index == event.count - 1:
                told.ends_of_commands.append((event.key.sequence, event.command_id))

    def below(self, position: int) -> list[Event]:
        return self.events[: bisect_left(self.offsets, position)]


class _Judge:
    def __init__(self, topic: str, stored: Snapshots, log: _Log) -> None:
        self._topic, self._stored, self._log = topic, stored, log
        self._blocks: dict[UUID, dict[bytes, StoredState]] = {}
        self._judged: dict[StoredState, list[tuple[str, str]]] = {}

    def checkpoint(self, row: CheckpointRow) -> Iterator[Violation]:
        for invariant, subject, message in (*self._anchors(row), *self._counts(row), *self._states(row)):
            offsets = (row.position - 1,)
            text = f"checkpoint {row.id} of term {row.term}: {message}"
            yield Violation(invariant, self._topic, row.partition, subject, offsets, text)

    def _anchors(self, row: CheckpointRow) -> Iterator[tuple[str, str, str]]:
        if row.position != row.anchor.offset + 1 or row.seen.offset < row.anchor.offset:
            yield "I6", "", f"position {row.position}, anchor {row.anchor.offset}, seen {row.seen.offset}"
        for name, anchor in (("anchor", row.anchor), ("seen", row.seen)):
            record = self._log.records.get(anchor.offset)
            if record is None or not _is(anchor, record):
                yield "I6", "", f"its {name} at offset {anchor.offset} is not the record there"
        if row.term not in self._log.barriers:
            yield "I6", "", "there is no such barrier"
        for anchor in (row.anchor, row.seen):
            if anchor.offset != row.term and not anchor.key.endswith(b"#%d" % row.term):
                yield "I6", "", f"the record at offset {anchor.offset} is not of its owner's term"

    def _counts(self, row: CheckpointRow) -> Iterator[tuple[str, str, str]]:
        covered = self._log.below(row.position)
        ends = [event for event in covered if event.key.term == row.term and event.index == event.count - 1]
        due = {
            "events": len(covered),
            "aggregates": len({event.key.id for event in covered}),
            "highest_source": max((event.source_offset for event in covered), default=None),
            "applied": len(ends),
        }
        told = {name: getattr(row, name) for name in due}
        if told != due:
            yield "I6", "", f"it says {told}, the log {due}"
        if covered and row.commands_position <= max(event.source_offset for event in covered):
            yield "I5", "", f"commands position {row.commands_position} is below a command that it covers"
        following = self._log.events[len(covered) :]
        if any(event.source_offset < row.commands_position for event in following):
            yield "I5", "", f"a command below commands position {row.commands_position} was decided after it"

    def _states(self, row: CheckpointRow) -> Iterator[tuple[str, str, str]]:
        schema = self._stored.schemas[row.aggregate]
        if row.state_fingerprint != state_fingerprint(schema):
            yield "I6", "", f"its states are of schema {row.state_fingerprint}"
        if [str(id) for id in row.segment_ids] != [said["id"] for run in row.manifest for said in run]:
            yield "I6", "", "its segment_ids are not its manifest's: segments in use would be collected"
        newest: dict[bytes, StoredState] = {}
        for run in row.manifest:
            for said in run:
                if (wrong := self._load(said)) is not None:
                    yield "I6", "", wrong
                    return
                newest.update(self._blocks[UUID(said["id"])])
        for id, told in self._log.told.items():
            due = bisect_left(told.offsets, row.position)
            found = newest[id].sequence if id in newest else 0
            if found < due:
                yield "I6", _text(id), f"its state is of sequence {found}, and events to {due} are below the position"
        for state in newest.values():
            yield from self._state(row, state)

    def _load(self, said: dict[str, Any]) -> str | None:
        id = UUID(said["id"])
        if id not in self._blocks:
            block = self._stored.blocks.get(id)
            try:
                wrong = wrong_with_segment(said, block)
                if wrong is not None or block is None:
                    return wrong
                self._blocks[id] = {state.key: state for state in read_block(block)}
            except Malformed as malformed:
                return f"segment {id}: {malformed}"
        return None

    def _state(self, row: CheckpointRow, state: StoredState) -> Iterator[tuple[str, str, str]]:
        told = self._log.told.get(state.key)
        if told is None or not 1 <= state.sequence <= len(told.offsets):
            yield "I10", _text(state.key), f"a state of sequence {state.sequence}, whose event is not visible"
            return
        if told.offsets[state.sequence - 1] > row.seen.offset:
            yield (
                "I6",
                _text(state.key),
                f"its state has seen sequence {state.sequence}, above offset {row.seen.offset}",
            )
        if state not in self._judged:
            self._judged[state] = list(self._compare(state, told, self._stored.schemas[row.aggregate]))
        for invariant, message in self._judged[state]:
            yield invariant, _text(state.key), message

    def _compare(self, state: StoredState, told: _Told, schema: Any) -> Iterator[tuple[str, str]]:
        due = told.states[state.sequence - 1]
        try:
            found = decode_state(state.body, schema)
        except Malformed as malformed:
            yield "I6", str(malformed)
            return
        if found != due:
            yield "I6", f"stored {found} at sequence {state.sequence}, the fold is {due}"
        ends = [identity for sequence, identity in told.ends_of_commands if sequence <= state.sequence]
        if any(identity not in state.memory for identity in ends[-REMEMBERED:]):
            yield "I1", f"its state of sequence {state.sequence} does not remember its last commands"


def check_snapshots(view: View, evidence: Evidence, application: Application) -> Iterator[Violation]:
    """Of every checkpoint that is kept, not only of the heads."""
    stored = evidence.snapshots
    if stored is None:
        return
    judges: dict[tuple[str, int], _Judge] = {}
    records: dict[tuple[str, int], list[LogRecord]] = defaultdict(list)
    for record in evidence.committed_view:
        records[(record.topic, record.partition)].append(record)
    for row in stored.checkpoints:
        if row.id in stored.excused:
            continue
        place = (evidence.events_topic(row.aggregate), row.partition)
        if place not in judges:
            partition = view.partitions.get(place, EventsPartition(row.aggregate, place))
            judges[place] = _Judge(place[0], stored, _Log(partition, records[place], application))
        yield from judges[place].checkpoint(row)
    for head in stored.heads:
        yield from _check_head(evidence.events_topic(head.aggregate), head, stored)


def _check_head(topic: str, head: HeadRow, stored: Snapshots) -> Iterator[Violation]:
    """Who has claimed a partition is never followed by an earlier owner, and the head is the last that was taken."""
    place = (head.aggregate, head.partition)
    sound = [each for each in stored.checkpoints if each.id not in stored.excused]
    rows = sorted((each for each in sound if (each.aggregate, each.partition) == place), key=lambda each: each.taken_at)
    for before, row in pairwise(rows):
        if row.term < before.term:
            message = f"checkpoint {row.id} of term {row.term} was taken after one of term {before.term}"
            yield Violation("I6", topic, head.partition, "", (row.position - 1,), message)
    if head.term is not None and any(row.term > head.term for row in rows):
        yield Violation(
            "I6", topic, head.partition, "", (), f"a checkpoint is of a later term than the head's {head.term}"
        )
    at = head.checkpoint_id
    if rows and at is not None and at != rows[-1].id and at not in stored.excused:
        message = f"the head is {at}, the last one taken {rows[-1].id}"
        yield Violation("I6", topic, head.partition, "", (), message)


def _is(anchor: StoredAnchor, record: LogRecord) -> bool:
    return (record.key, crc32(record.value or b"", crc32(anchor.key))) == (anchor.key, anchor.crc)


def state_fingerprint(schema: Any) -> str:
    """Of all that the schema says, logical types and defaults too. As 16 hexadecimal digits."""
    whole = json.dumps(schema, sort_keys=True, separators=(",", ":"))
    value = bytes.fromhex(fingerprint(whole, "CRC-64-AVRO"))
    return f"{int.from_bytes(value, 'little'):016x}"


def _text(id: bytes) -> str:
    return id.decode(errors="replace")

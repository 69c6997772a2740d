"""Evidence decoded once: events, barriers, commands, dead letters and replies as typed values, by partition.

What cannot be decoded where the contract says it must be is itself a violation, found here.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.harness.evidence import CommittedOffset, Evidence, LogRecord
from tests.harness.wire import CONTROL_PREFIX, Decoded, EventKey, SchemaUnknown, Undecodable, parse_event_key

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Violation:
    """`invariant` is the row of reliability.md (or `terms`, `wire`); `offsets` lie in `topic`/`partition`."""

    invariant: str
    topic: str
    partition: int
    key: str
    offsets: tuple[int, ...]
    message: str

    def __str__(self) -> str:
        at = ", ".join(map(str, self.offsets)) or "-"
        return f"{self.invariant} {self.topic}/{self.partition} @ {at} key {self.key!r}: {self.message}"


@dataclass(frozen=True, slots=True)
class Event:
    aggregate: str
    place: Place
    offset: int
    key: EventKey
    decoded: Decoded
    raw: bytes
    timestamp_ms: int

    @property
    def command_id(self) -> bytes:
        return bytes(self.decoded.meta["command_id"])

    @property
    def source_offset(self) -> int:
        return int(self.decoded.meta["source_offset"])

    @property
    def index(self) -> int:
        return int(self.decoded.meta["index"])

    @property
    def count(self) -> int:
        return int(self.decoded.meta["count"])

    @property
    def time(self) -> int:
        return int(self.decoded.meta["time"])

    @property
    def body(self) -> dict[str, Any]:
        return {name: value for name, value in self.decoded.fields.items() if name != "meta"}


@dataclass(frozen=True, slots=True)
class Command:
    """`decoded` is None where the record is no well-formed command of its topic: then only a dead letter is right."""

    aggregate: str
    place: Place
    offset: int
    key: bytes | None
    decoded: Decoded | None

    @property
    def command_id(self) -> bytes | None:
        return None if self.decoded is None else bytes(self.decoded.meta["id"])

    @property
    def body(self) -> dict[str, Any]:
        assert self.decoded is not None
        return {name: value for name, value in self.decoded.fields.items() if name != "meta"}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    source: Place
    source_offset: int
    reason: str
    record: LogRecord


@dataclass(frozen=True, slots=True)
class Reply:
    command_id: bytes
    status: str
    sequence: int
    events: tuple[bytes, ...]
    record: LogRecord


@dataclass
class EventsPartition:
    """One events partition in offset order; `controls` are (offset, decoded control record)."""

    aggregate: str
    place: Place
    events: list[Event] = field(default_factory=list)
    barriers: list[int] = field(default_factory=list)
    pruned: dict[bytes, int] = field(default_factory=dict)


@dataclass
class View:
    partitions: dict[Place, EventsPartition] = field(default_factory=dict)
    hidden: list[LogRecord] = field(default_factory=list)
    commands: dict[Place, list[Command]] = field(default_factory=lambda: defaultdict(list))
    dead_letters: dict[tuple[Place, int], list[DeadLetter]] = field(default_factory=lambda: defaultdict(list))
    replies: list[Reply] = field(default_factory=list)
    journal: dict[Place, list[CommittedOffset]] = field(default_factory=lambda: defaultdict(list))
    violations: list[Violation] = field(default_factory=list)

    def events(self) -> Iterable[Event]:
        for partition in self.partitions.values():
            yield from partition.events

    def refuse(self, invariant: str, record: LogRecord, message: str) -> None:
        key = (record.key or b"").decode(errors="replace")
        self.violations.append(Violation(invariant, record.topic, record.partition, key, (record.offset,), message))


def decode_evidence(evidence: Evidence) -> View:
    view = View()
    _read_events(view, evidence)
    _read_commands(view, evidence)
    for record in evidence.dead_letters:
        _read_dead_letter(view, record)
    for record in evidence.replies:
        _read_reply(view, evidence, record)
    for entry in evidence.commit_journal:
        view.journal[(entry.topic, entry.partition)].append(entry)
    return view


def _read_events(view: View, evidence: Evidence) -> None:
    visible = {(record.topic, record.partition, record.offset) for record in evidence.committed_view}
    view.hidden = [r for r in evidence.uncommitted_view if (r.topic, r.partition, r.offset) not in visible]
    aggregates = {evidence.events_topic(name): name for name in evidence.aggregates}
    for record in sorted(evidence.committed_view, key=lambda r: (r.topic, r.partition, r.offset)):
        place = (record.topic, record.partition)
        partition = view.partitions.setdefault(place, EventsPartition(aggregates[record.topic], place))
        _read_event(view, evidence, partition, record)


def _read_event(view: View, evidence: Evidence, partition: EventsPartition, record: LogRecord) -> None:
    key = record.key or b""
    if record.value is None:
        return  # a tombstone: what it leaves missing is judged as a gap
    try:
        decoded = evidence.schemas.decode(record.value)
    except (Undecodable, SchemaUnknown) as problem:
        view.refuse("wire", record, f"an event that cannot be read: {problem!r}")
        return
    if key.startswith(CONTROL_PREFIX):
        if decoded.name == "eventsrc.Barrier" and key.startswith(b"\0barrier@"):
            partition.barriers.append(record.offset)
        elif decoded.name == "eventsrc.Pruned" and key.startswith(b"\0pruned@"):
            pruned_id = decoded.fields["id"]
            identity = pruned_id.encode() if isinstance(pruned_id, str) else bytes(pruned_id)
            partition.pruned[identity] = max(partition.pruned.get(identity, 0), int(decoded.fields["sequence"]))
        else:
            view.refuse("wire", record, f"a control key with the value {decoded.name}")
        return
    parsed = parse_event_key(key)
    if parsed is None:
        view.refuse("wire", record, "the key is not <id>@<sequence>#<term>")
        return
    partition.events.append(
        Event(partition.aggregate, partition.place, record.offset, parsed, decoded, record.value, record.timestamp_ms)
    )


def _read_commands(view: View, evidence: Evidence) -> None:
    aggregates = {evidence.commands_topic(name): name for name in evidence.aggregates}
    for record in sorted(evidence.commands, key=lambda r: (r.topic, r.partition, r.offset)):
        aggregate = aggregates[record.topic]
        decoded = None
        if record.value is not None and record.key:
            with contextlib.suppress(Undecodable, SchemaUnknown):
                decoded = evidence.schemas.decode(record.value)
        prefix = f"{evidence.pipeline}.{aggregate}".replace("-", "_") + "."
        if decoded is not None and not (decoded.name.startswith(prefix) and "id" in decoded.meta):
            decoded = None
        place = (record.topic, record.partition)
        view.commands[place].append(Command(aggregate, place, record.offset, record.key, decoded))


def _read_dead_letter(view: View, record: LogRecord) -> None:
    headers = dict(reversed(record.headers))  # the first of a name wins: ours come before the originals
    if "eventsrc.audit" in headers and "eventsrc.reason" not in headers:
        return  # what an operator did about a letter
    try:
        source = ((headers["eventsrc.topic"] or b"").decode(), int(headers["eventsrc.partition"] or b""))
        offset = int(headers["eventsrc.offset"] or b"")
        reason = (headers["eventsrc.reason"] or b"").decode()
    except (KeyError, ValueError) as problem:
        view.refuse("wire", record, f"a dead letter without its source: {problem!r}")
        return
    view.dead_letters[(source, offset)].append(DeadLetter(source, offset, reason, record))


def _read_reply(view: View, evidence: Evidence, record: LogRecord) -> None:
    try:
        decoded = evidence.schemas.decode(record.value or b"")
    except (Undecodable, SchemaUnknown) as problem:
        view.refuse("wire", record, f"a reply that cannot be read: {problem!r}")
        return
    fields = decoded.fields
    command_id = bytes(fields["command_id"])
    if record.key != command_id:
        view.refuse("wire", record, "a reply's key is the command id")
    events = tuple(bytes(value) for value in fields["events"])
    view.replies.append(Reply(command_id, str(fields["status"]), int(fields["sequence"] or 0), events, record))

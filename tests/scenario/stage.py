"""A script of inputs and the exact effects of each: what a worker does, readable line by line.

    producer ready
    assigned account/0
    -> ask account/0 #1
    stable account/0 #1 committed none log 0..3
    -> commit barriers account/0 to 0 by m1

A line is an input; the lines with an arrow below it are all effects it has, in order. `by m2` at the end of an input
names the group metadata it comes with (`m1` where it is left out). Offsets stand before a colon. A command or an event is
of the partition's one id `id`, or, as `b.deposit5`, of another. Checkpoints are numbered from 1 as they are written; the
records that the engine committed are kept, and `replayed` brings them back.
"""

from __future__ import annotations

import textwrap
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from confluent_kafka import murmur2

from eventsrc.codec.blocks import Block, StoredRuns, build_blocks, entry, entry_sequence
from eventsrc.codec.control import Barrier, write_barrier
from eventsrc.codec.keys import barrier_key, event_key, is_control_key
from eventsrc.codes import HaltCode
from eventsrc.engine.batch import Batch, BatchKind, DeadLetter
from eventsrc.engine.counts import Counts
from eventsrc.engine.decide import Limits, Surroundings
from eventsrc.engine.effects import (
    Assigned,
    AwaitTransaction,
    CheckpointFailed,
    CheckpointRequested,
    CheckpointWritten,
    CommandsPolled,
    Commit,
    Effect,
    EventsPolled,
    FetchStableOffset,
    FindBlocker,
    Halt,
    Input,
    Instant,
    LoadSnapshot,
    LogRefused,
    LoopTurned,
    Lost,
    Open,
    Pause,
    ProducerReady,
    RecordOverlong,
    ReloadSchemas,
    ReplaceProducer,
    Revoked,
    Revoking,
    SendAnswers,
    ShutdownRequested,
    SnapshotClaimRefused,
    SnapshotLoaded,
    SnapshotPartRead,
    StableOffsetFetched,
    StartReading,
    StopReading,
    TakeoverRefused,
    Ticked,
    TransactionAborted,
    TransactionCommitted,
    TransactionInDoubt,
    WriteCheckpoint,
)
from eventsrc.engine.notes import Owner, TopicIds, write_note
from eventsrc.engine.partition import CommandPlace, PartitionKey
from eventsrc.engine.worker import WorkerEngine
from eventsrc.model.position import Offset, Position
from eventsrc.model.snapshot import Checkpoint, StoredCheckpoint
from tests.unit.engine.shop import (
    ACCOUNT,
    Deposit,
    Deposited,
    DepositParts,
    Poison,
    Record,
    Withdraw,
    catalog,
    command_value,
    commands_topic_of,
    event_value,
    key_on,
    pipeline,
)

WALL_US = 1_700_000_000_000_000
UNKNOWN = b"\xc3\x01unknown!body"
_IDS = {"account": TopicIds("commands-1", "events-1"), "basket": TopicIds("commands-2", "events-2")}


@dataclass
class Stage:
    """One engine. `play` takes a script, runs its inputs, and holds the effects against it."""

    limits: Limits = field(default_factory=Limits)
    engine: WorkerEngine = field(init=False)
    now_s: float = 100.0
    deciding_s: float = 0.0
    """How much later it is when the first command has been decided."""
    overlong_before: Mapping[CommandPlace, int] = field(default_factory=dict)
    halts: dict[str, str] = field(default_factory=dict)
    has_snapshots: bool = False
    asked: WriteCheckpoint | None = None
    stored: dict[int, tuple[StoredCheckpoint, dict[bytes, bytes]]] = field(default_factory=dict)
    log: dict[PartitionKey, dict[int, Record]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = WorkerEngine(
            pipeline,
            catalog,
            Owner("host-0", "shop-host-0"),
            self.limits,
            Surroundings(commands_topic_of, murmur2),
            _IDS,
            lambda: self.now_s + self.deciding_s,
            uuid.uuid4,
            self.has_snapshots,
            overlong_before=self.overlong_before,
        )

    def play(self, script: str) -> None:
        """Asserts that the inputs of the script have exactly the effects that it names."""
        lines = [line.strip() for line in textwrap.dedent(script).strip().splitlines()]
        expected = [line for line in lines if line and not line.startswith("#")]
        played: list[str] = []
        for line in expected:
            if not line.startswith("->"):
                played.append(line)
                effects = self.engine.step(self._input(line), self._instant(line))
                played += [f"-> {self._said(effect)}" for effect in effects]
                self.now_s, self.deciding_s = self.now_s + self.deciding_s, 0.0
        assert played == expected

    def _instant(self, line: str) -> Instant:
        return Instant(WALL_US + int(self.now_s * 1e6), self.now_s)

    # ---- inputs

    def _input(self, line: str) -> Input:
        metadata = "m1"
        words = line.split()
        if words[-2:-1] == ["by"]:
            metadata, words = words[-1], words[:-2]
        return _INPUTS[words[0]](self, words[1:], metadata)

    @property
    def _current(self) -> Batch:
        batch = self.engine.lane.current
        assert batch is not None, "the script decides a transaction, and none is in flight"
        return batch

    def _stable(self, words: list[str], metadata: str) -> Input:
        """`K #attempt committed N|none log A..B [events A..B] [term T [recreated | applied N]]`"""
        key, attempt, _, committed, _, log, *rest = words
        start, end = (Position(int(number)) for number in log.split(".."))
        events: tuple[Position | None, Position | None] = (None, None)
        if rest[:1] == ["events"]:
            low, high = (Position(int(number)) for number in rest[1].split(".."))
            events, rest = (low, high), rest[2:]
        topics = TopicIds("commands-1", "events-0") if rest[2:] == ["recreated"] else None
        counts = Counts(int(rest[3])) if rest[2:3] == ["applied"] else Counts()
        note = write_note(Owner("host-9", "shop-host-9"), int(rest[1]), counts, topics) if rest else None
        position = None if committed == "none" else Position(int(committed))
        return StableOffsetFetched(_key(key), int(attempt[1:]), metadata, position, note, start, end, *events)

    def _refused(self, words: list[str], metadata: str) -> Input:
        return TakeoverRefused(_key(words[0]), int(words[1][1:]), " ".join(words[2:]), HaltCode.HANGING_TRANSACTION)

    def _log_refused(self, words: list[str], metadata: str) -> Input:
        """`K [for-good] reason`"""
        return LogRefused(_key(words[0]), " ".join(words[1:]), HaltCode.TOPIC_RECREATED, "for-good" in words)

    def _commands(self, words: list[str], metadata: str) -> Input:
        """`K offset:what ... K2 ... [taking seconds]`"""
        if words[-2:-1] == ["taking"]:
            self.deciding_s, words = float(words[-1]), words[:-2]
        return CommandsPolled(_records(words, _command), metadata)

    def _events(self, words: list[str], metadata: str) -> Input:
        return EventsPolled(_records(words, _event))

    def _committed(self, words: list[str], metadata: str) -> Input:
        """`[K=offset of its last record ...] [suspect]`"""
        pairs = [word.split("=") for word in words if "=" in word]
        offsets = {_key(key): Offset(int(offset)) for key, offset in pairs}
        for key, last in offsets.items():
            records = self._current.sections[key].records
            for offset, (of_key, value, time_ms) in enumerate(records, start=last + 1 - len(records)):
                self.log.setdefault(key, {})[offset] = Record(offset, of_key, value, key.number, time_ms)
        return TransactionCommitted(self._current, offsets, "suspect" in words)

    def _replayed(self, words: list[str], metadata: str) -> Input:
        """`K A..B`: what was committed there, B included."""
        key, (first, last) = _key(words[0]), map(int, words[1].split(".."))
        return EventsPolled({key: [each for at, each in sorted(self.log[key].items()) if first <= at <= last]})

    def _aborted(self, words: list[str], metadata: str) -> Input:
        return TransactionAborted(self._current, "refused", "unusable" not in words)

    def _in_doubt(self, words: list[str], metadata: str) -> Input:
        return TransactionInDoubt(self._current, "no answer", "late" in words)

    def _tick(self, words: list[str], metadata: str) -> Input:
        self.now_s += float(words[0])
        return Ticked()

    # ---- effects

    def _said(self, effect: Effect) -> str:
        match effect:
            case FetchStableOffset(key, attempt):
                return f"ask {key} #{attempt}"
            case Commit(batch):
                return _batch(batch)
            case AwaitTransaction():
                return "await transaction"
            case ReplaceProducer():
                return "replace producer"
            case StartReading(key, position):
                return f"read {key}" if position == 0 else f"read {key} from {position}"
            case StopReading(key):
                return f"stop reading {key}"
            case Open(key, position):
                return f"open {key} at {position}"
            case Pause(key):
                return f"pause {key}"
            case SendAnswers(answers):
                return "answer " + " ".join(f"{each.status}@{each.sequence}" for each in answers)
            case RecordOverlong((aggregate, number, offset), times):
                return f"record overlong {aggregate}/{number} {offset} #{times}"
            case ReloadSchemas():
                return "reload schemas"
            case LoadSnapshot(key, attempt, term):
                return f"load {key} #{attempt} term {term}"
            case WriteCheckpoint():
                return self._checkpoint(effect)
            case FindBlocker(key, attempt):
                return f"find blocker of {key} #{attempt}"
            case Halt(key, reason):
                self.halts[str(key)] = reason
                return f"halt {key}"

    def _checkpoint(self, effect: WriteCheckpoint) -> str:
        """`write K #attempt position P seen S commands C: id@sequence ... [extending N] [over head, if it is another] [claiming]
        [all]`"""
        self.asked = effect
        checkpoint, extends, head = effect.checkpoint, effect.extends, effect.head
        words = [f"write {effect.partition} #{effect.attempt} position {checkpoint.position} seen"]
        words.append(f"{checkpoint.seen_position} commands {checkpoint.commands_position}:")
        words += sorted(f"{_name(key)}@{entry_sequence(encoded)}" for key, encoded in effect.entries)
        words += [] if extends is None else [f"extending {extends.id.int}"]
        words += [] if head is None or (extends is not None and head == extends.id) else [f"over {head.int}"]
        words += ["claiming"] * (not effect.claimed) + ["all"] * effect.covers_all
        return " ".join(words)

    # ---- the snapshot store

    def _loaded(self, words: list[str], metadata: str) -> Input:
        """`K #attempt nothing | away | N [damaged]`, the checkpoint of that number; the head is the newest, if there is one.
        `damaged`: its states are no states any more."""
        key, attempt, what = _key(words[0]), int(words[1][1:]), words[2]
        head = uuid.UUID(int=max(self.stored)) if self.stored else None
        if what == "nothing":
            return SnapshotLoaded(key, attempt, None, None, head, True)
        if what == "away":
            return SnapshotLoaded(key, attempt, None, None, None, False, (), "Postgres does not answer")
        stored, entries = self.stored[int(what)]
        if "damaged" in words:
            entries = {each: entry(entry_sequence(encoded), b"", b"\xff") for each, encoded in entries.items()}
        states = StoredRuns([[Block(encoded) for encoded in build_blocks(entries.items())]])
        return SnapshotLoaded(key, attempt, stored, states, head, True)

    def _written(self, words: list[str], metadata: str) -> Input:
        """`K #attempt`: the one that was asked for last."""
        asked = self.asked
        assert asked is not None, "the script ends a checkpoint, and none was begun"
        before = {} if asked.extends is None or asked.covers_all else self.stored[asked.extends.id.int][1]
        return CheckpointWritten(
            _key(words[0]),
            int(words[1][1:]),
            self._store(asked.checkpoint, before | dict(asked.entries)),
            len(asked.entries),
        )

    def _merged(self, words: list[str], metadata: str) -> Input:
        """`K N`: the writer has merged the segments of that checkpoint, into another."""
        replaced, entries = self.stored[int(words[1])]
        stored = self._store(replaced.checkpoint, entries)
        return CheckpointWritten(_key(words[0]), None, stored, 0, replaces=replaced.id)

    def _store(self, checkpoint: Checkpoint, entries: dict[bytes, bytes]) -> StoredCheckpoint:
        number = len(self.stored) + 1
        stored = StoredCheckpoint(uuid.UUID(int=number), checkpoint, (), datetime.now(UTC))
        self.stored[number] = (stored, entries)
        return stored

    def _not_written(self, words: list[str], metadata: str) -> Input:
        """`K #attempt [superseded]`, or `K damaged`: found while merging."""
        if words[1] == "damaged":
            return CheckpointFailed(_key(words[0]), None, "a segment is damaged", superseded=True)
        return CheckpointFailed(_key(words[0]), int(words[1][1:]), "Postgres does not answer", "superseded" in words)

    def _claim_refused(self, words: list[str], metadata: str) -> Input:
        return SnapshotClaimRefused(_key(words[0]), int(words[1][1:]), "its head has term 99")


def _name(key: bytes) -> str:
    """Without the number that puts it on its partition."""
    return key.decode().rstrip("0123456789")


def _key(text: str) -> PartitionKey:
    aggregate, number = text.split("/")
    return PartitionKey(aggregate, int(number))


def _records(words: list[str], make: Callable[[PartitionKey, int, str], Record]) -> Mapping[PartitionKey, list[Record]]:
    """`K offset:what offset:what K2 ...`"""
    records: dict[PartitionKey, list[Record]] = {}
    for word in words:
        if "/" in word and ":" not in word:
            key = _key(word)
            records[key] = []
        else:
            offset, what = word.split(":")
            records[key].append(make(key, int(offset), what))
    return records


def _command(key: PartitionKey, offset: int, what: str) -> Record:
    """`deposit5`, `parts3`, `withdraw5`, `poison`, `unknown` (of a schema not known), `garbage`; `deposit5=name`: with
    that command id; `b.deposit5`: of another aggregate."""
    identity, what = _identity(key, what)
    what, _, name = what.partition("=")
    kind, number = what.rstrip("0123456789"), what.lstrip("abcdefghijklmnopqrstuvwxyz")
    commands = {
        "deposit": lambda: Deposit(int(number)),
        "parts": lambda: DepositParts(1, int(number)),
        "withdraw": lambda: Withdraw(int(number)),
        "poison": Poison,
    }
    raw = {"unknown": UNKNOWN, "garbage": b"garbage"}.get(kind)
    value = raw if raw is not None else command_value(commands[kind](), name or f"{key}:{offset}")
    return Record(offset, identity, value, key.number)


def _identity(key: PartitionKey, what: str) -> tuple[bytes, str]:
    prefix, dot, rest = what.partition(".")
    return (key_on(key.number, prefix=prefix), rest) if dot else (key_on(key.number), what)


def _event(key: PartitionKey, offset: int, what: str) -> Record:
    """`barrier`, `barrier!` (of other topics), `deposited5@sequence#term<source`, `unknown@sequence#term`."""
    if what.startswith("barrier"):
        ids = TopicIds("another", "another") if what.endswith("!") else _IDS[key.aggregate]
        barrier = Barrier("host-9", "shop-host-9", "", ids.events, ids.commands, 0, WALL_US)
        return Record(offset, barrier_key(uuid.uuid4()), write_barrier(barrier), key.number)
    identity, what = _identity(key, what)
    what, _, source = what.partition("<")
    what, _, term = what.partition("#")
    kind, _, sequence = what.partition("@")
    value = UNKNOWN
    if kind != "unknown":
        amount = int(kind.removeprefix("deposited"))
        value = event_value(Deposited(amount), f"{key}:{source}", source=int(source or 0), of=ACCOUNT)
    return Record(offset, event_key(identity, int(sequence), int(term)), value, key.number)


def _batch(batch: Batch) -> str:
    if batch.kind is BatchKind.BARRIERS:
        assert all(is_control_key(each.records[0][0]) for each in batch.sections.values())
        parts = [f"{key} to {section.position}" for key, section in batch.sections.items()]
        return f"commit barriers {' '.join(parts)} by {batch.metadata}"
    parts = []
    for key, section in batch.sections.items():
        events = ["@" + record[0].rpartition(b"@")[2].decode() for record in section.records]
        dead = [_reason(letter) for letter in section.dead_letters]
        parts.append(" ".join([f"{key} {section.start}..{section.position}", *events, *dead]))
    return f"commit {' '.join(parts)} by {batch.metadata}"


def _reason(letter: DeadLetter) -> str:
    return "dead:" + next((value or b"").decode() for name, value in letter.headers if name == "eventsrc.reason")


_INPUTS: dict[str, Callable[[Stage, list[str], str], Input]] = {
    "producer": lambda stage, words, metadata: ProducerReady(),
    "assigned": lambda stage, words, metadata: Assigned(tuple(map(_key, words))),
    "revoking": lambda stage, words, metadata: Revoking(tuple(map(_key, words))),
    "revoked": lambda stage, words, metadata: Revoked(tuple(map(_key, words))),
    "lost": lambda stage, words, metadata: Lost(tuple(map(_key, words))),
    "shutdown": lambda stage, words, metadata: ShutdownRequested(),
    "stable": Stage._stable,
    "refused": Stage._refused,
    "log-refused": Stage._log_refused,
    "commands": Stage._commands,
    "events": Stage._events,
    "committed": Stage._committed,
    "aborted": Stage._aborted,
    "in-doubt": Stage._in_doubt,
    "tick": Stage._tick,
    "turn": lambda stage, words, metadata: LoopTurned(),
    "request": lambda stage, words, metadata: CheckpointRequested(_key(words[0])),
    "loaded": Stage._loaded,
    "part-read": lambda stage, words, metadata: SnapshotPartRead(),
    "claim-refused": Stage._claim_refused,
    "written": Stage._written,
    "merged": Stage._merged,
    "replayed": Stage._replayed,
    "not-written": Stage._not_written,
}

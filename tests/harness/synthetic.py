"""A correct history of the bank pipeline, made in memory as wire bytes: the ground into which tests plant bugs.

A miniature worker over `bank_model`: takeovers, transactions that commit or abort, rejections, duplicates, dead
letters, replies, histories. Its schemas are written by hand from the contract: nothing of the product is in here.
"""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.harness import bank_model
from tests.harness.evidence import CommittedOffset, Evidence, LogRecord, Observation, Operation
from tests.harness.offset_checks import COUNTED
from tests.harness.wire import Schemas, barrier_key, event_key

_FIXED16 = {"type": "fixed", "name": "eventsrc.Id", "size": 16}
_EVENT_META = {
    "type": "record",
    "name": "eventsrc.EventMeta",
    "fields": [
        {"name": "command_id", "type": _FIXED16},
        {"name": "correlation_id", "type": ["null", "eventsrc.Id"]},
        {"name": "causation_id", "type": ["null", "eventsrc.Id"]},
        {"name": "source_offset", "type": "long"},
        {"name": "index", "type": "int"},
        {"name": "count", "type": "int"},
        {"name": "time", "type": "long"},
        {"name": "payload_hash", "type": {"type": "fixed", "name": "eventsrc.Hash", "size": 8}},
    ],
}
_REPLY_TARGET = {"type": "record", "name": "eventsrc.ReplyTo", "fields": [{"name": "partition", "type": "int"}]}
_COMMAND_META = {
    "type": "record",
    "name": "eventsrc.CommandMeta",
    "fields": [
        {"name": "id", "type": _FIXED16},
        {"name": "correlation_id", "type": ["null", "eventsrc.Id"]},
        {"name": "causation_id", "type": ["null", "eventsrc.Id"]},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "reply", "type": ["null", _REPLY_TARGET]},
    ],
}
_STATUS = {"type": "enum", "name": "eventsrc.Status", "symbols": ["ok", "rejected", "failed", "duplicate", "conflict"]}


def _record(name: str, *fields: tuple[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields]}


def schemas() -> Schemas:
    amount, parts = ("amount", "long"), ("parts", "long")
    commands = {"Deposit": [amount], "Withdraw": [amount], "DepositInParts": [amount, parts], "Audit": [], "Poison": []}
    definitions = [_record(f"bank.account.{n}", ("meta", _COMMAND_META), *f) for n, f in commands.items()]
    definitions += [_record(f"bank.account.{n}", ("meta", _EVENT_META), amount) for n in ("Deposited", "Withdrawn")]
    definitions.append(_record("eventsrc.Barrier", ("instance", "string")))
    definitions.append(_record("eventsrc.Pruned", ("id", "string"), ("sequence", "long")))
    definitions.append(
        _record(
            "eventsrc.Reply",
            ("command_id", _FIXED16),
            ("status", _STATUS),
            ("sequence", "long"),
            ("events", {"type": "array", "items": "bytes"}),
        )
    )
    return Schemas.of(definitions)


COMMANDS, EVENTS = "bank.account.commands", "bank.account.events"


@dataclass(frozen=True)
class _Sent:
    record: LogRecord
    identity: bytes
    name: str
    body: dict[str, Any]

    @property
    def id(self) -> bytes:
        return self.record.key or b""


@dataclass
class _Partition:
    """`log` holds a record with its visibility, or None for a transaction marker."""

    commands: list[_Sent] = field(default_factory=list)
    log: list[tuple[LogRecord, bool] | None] = field(default_factory=list)
    states: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    sequences: dict[bytes, int] = field(default_factory=dict)
    remembered: dict[tuple[bytes, bytes], int] = field(default_factory=dict)
    journal: list[CommittedOffset] = field(default_factory=list)
    position: int = 0
    term: int = -1
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))


@dataclass
class _Transaction:
    partition: _Partition
    visible: bool
    operations: list[Operation] = field(default_factory=list)
    replies: list[LogRecord] = field(default_factory=list)
    dead_letters: list[LogRecord] = field(default_factory=list)


class SyntheticBank:
    def __init__(self, seed: int = 0, partitions: int = 2) -> None:
        self.random = random.Random(seed)
        self.schemas = schemas()
        self.partitions = [_Partition() for _ in range(partitions)]
        self.history: list[Operation] = []
        self.dead_letters: list[LogRecord] = []
        self.replies: list[LogRecord] = []
        self.now = 1_000_000

    def tick(self) -> int:
        self.now += 1_000
        return self.now

    def identity(self) -> bytes:
        return self.random.randbytes(16)

    def send(self, id: str, name: str, body: dict[str, Any], command_id: bytes | None = None) -> bytes:
        partition = self.partitions[hash_of(id) % len(self.partitions)]
        identity = command_id or self.identity()
        meta = {"id": identity, "correlation_id": None, "causation_id": None, "time": self.tick(), "reply": None}
        value = self.schemas.encode(f"bank.account.{name}", {"meta": meta, **body})
        place = self.partitions.index(partition)
        record = LogRecord(COMMANDS, place, len(partition.commands), id.encode(), value)
        partition.commands.append(_Sent(record, identity, name, body))
        self.history.append(Operation("invoke", identity.hex(), "account", id, self.now, name, body))
        return identity

    def take_over(self, place: int) -> None:
        partition = self.partitions[place]
        value = self.schemas.encode("eventsrc.Barrier", {"instance": "one"})
        key = barrier_key(uuid.UUID(bytes=self.identity()))
        partition.term = len(partition.log)
        partition.log.append((LogRecord(EVENTS, place, partition.term, key, value), True))
        partition.log.append(None)
        partition.counts = dict.fromkeys(COUNTED, 0)
        self._commit(place)

    def process(self, place: int, limit: int = 10, abort: bool = False) -> None:
        """One transaction. An aborted one leaves hidden records and nothing else."""
        partition = self.partitions[place]
        saved = (dict(partition.states), dict(partition.sequences), dict(partition.remembered), dict(partition.counts))
        transaction = _Transaction(partition, not abort)
        batch = partition.commands[partition.position : partition.position + limit]
        for sent in batch:
            self._decide(transaction, sent)
        if partition.log and partition.log[-1] is not None:
            partition.log.append(None)
        if abort:
            partition.states, partition.sequences, partition.remembered, partition.counts = saved
            return
        partition.position += len(batch)
        self._commit(place)
        self.history += transaction.operations
        self.replies += transaction.replies
        self.dead_letters += transaction.dead_letters

    def _decide(self, transaction: _Transaction, sent: _Sent) -> None:
        partition = transaction.partition
        state = partition.states.get(sent.id, dict(bank_model.NEW))
        values: list[bytes] = []
        if (sent.id, sent.identity) in partition.remembered:
            status, counted = "duplicate", "duplicate"
        else:
            try:
                drafts = bank_model.decide(state, sent.name, sent.body)
            except bank_model.Faulty:
                partition.counts["dead"] += 1
                transaction.dead_letters.append(dead_letter(sent.record, "handler-failed"))
                self._answer(transaction, sent, "failed", 0, values)
                return
            status = "rejected" if drafts is None else "ok"
            counted = "rejected" if drafts is None else "applied" if drafts else "empty"
            for index, draft in enumerate(drafts or []):
                values.append(self._append(transaction, sent, index, len(drafts or []), draft))
                state = bank_model.fold(state, *draft)
            partition.states[sent.id] = state
            if values:
                partition.remembered[(sent.id, sent.identity)] = len(values)
        partition.counts[counted] += 1
        self._answer(transaction, sent, status, partition.sequences.get(sent.id, 0), values)

    def _append(
        self, transaction: _Transaction, sent: _Sent, index: int, count: int, draft: tuple[str, dict[str, Any]]
    ) -> bytes:
        partition = transaction.partition
        partition.sequences[sent.id] = sequence = partition.sequences.get(sent.id, 0) + 1
        time = self.tick()
        meta = {
            "command_id": sent.identity, "correlation_id": None, "causation_id": None,
            "source_offset": sent.record.offset, "index": index, "count": count, "time": time, "payload_hash": bytes(8),
        }  # fmt: skip
        value = self.schemas.encode(f"bank.account.{draft[0]}", {"meta": meta, **draft[1]})
        key = event_key(sent.id, sequence, partition.term)
        record = LogRecord(EVENTS, sent.record.partition, len(partition.log), key, value, (), time // 1000)
        partition.log.append((record, transaction.visible))
        return value

    def _answer(self, transaction: _Transaction, sent: _Sent, status: str, sequence: int, values: list[bytes]) -> None:
        fields = {"command_id": sent.identity, "status": status, "sequence": sequence, "events": values}
        offset = len(self.replies) + len(transaction.replies)
        value = self.schemas.encode("eventsrc.Reply", fields)
        transaction.replies.append(LogRecord("bank.replies", 0, offset, sent.identity, value))
        kind: Any = "ok" if status == "duplicate" else status
        told = None if status == "duplicate" else len(values)
        transaction.operations.append(
            Operation(
                kind, sent.identity.hex(), "account", sent.id.decode(), self.tick(), sequence=sequence, events=told
            )
        )

    def _commit(self, place: int) -> None:
        partition = self.partitions[place]
        metadata = {"instance": "one", "transactional_id": "one", "term": partition.term, "counts": partition.counts}
        partition.journal.append(CommittedOffset(COMMANDS, place, partition.position, json.dumps(metadata)))

    def evidence(self) -> Evidence:
        logs = [entry for partition in self.partitions for entry in partition.log if entry is not None]
        observations = [
            Observation("account", id.decode(), partition.sequences[id], dict(state))
            for partition in self.partitions
            for id, state in partition.states.items()
            if id in partition.sequences
        ]
        return Evidence(
            "bank", self.schemas, ["account"],
            commands=[sent.record for partition in self.partitions for sent in partition.commands],
            committed_view=[record for record, visible in logs if visible],
            uncommitted_view=[record for record, _ in logs],
            dead_letters=list(self.dead_letters),
            replies=list(self.replies),
            history=sorted(self.history, key=lambda operation: operation.at_ns),
            observations=observations,
            committed=[partition.journal[-1] for partition in self.partitions if partition.journal],
            commit_journal=[entry for partition in self.partitions for entry in partition.journal],
            commands_end={(COMMANDS, place): len(p.commands) for place, p in enumerate(self.partitions)},
        )  # fmt: skip


def hash_of(id: str) -> int:
    return sum(id.encode())


def dead_letter(source: LogRecord, reason: str, offset: int = 0) -> LogRecord:
    headers = (
        ("eventsrc.reason", reason.encode()),
        ("eventsrc.message", b""),
        ("eventsrc.topic", source.topic.encode()),
        ("eventsrc.partition", str(source.partition).encode()),
        ("eventsrc.offset", str(source.offset).encode()),
        ("eventsrc.traceback", b""),
    )
    return LogRecord("bank.dead-letter", source.partition, source.offset + offset, source.key, source.value, headers)


def busy_bank(seed: int) -> SyntheticBank:
    """A history with everything in it: two partitions, takeovers, aborts, duplicates, rejections, dead letters."""
    bank = SyntheticBank(seed)
    rnd = bank.random
    ids = [f"a{number}" for number in range(6)]
    for place in range(len(bank.partitions)):
        bank.take_over(place)
    for _ in range(6):
        sent: list[tuple[str, bytes, str, dict[str, Any]]] = []
        for _ in range(12):
            id = rnd.choice(ids)
            name, body = rnd.choice(
                [
                    ("Deposit", {"amount": rnd.randrange(1, 100)}),
                    ("Deposit", {"amount": rnd.randrange(1, 100)}),
                    ("Withdraw", {"amount": rnd.randrange(1, 150)}),
                    ("DepositInParts", {"amount": rnd.randrange(1, 9), "parts": rnd.randrange(2, 5)}),
                    ("Audit", {}),
                    ("Poison", {}),
                ]
            )
            sent.append((id, bank.send(id, name, body), name, body))
        for place in range(len(bank.partitions)):
            if rnd.random() < 0.5:
                bank.process(place, 4, abort=True)
                bank.take_over(place)
            bank.process(place, rnd.randrange(1, 20))
        id, identity, name, body = rnd.choice(sent)
        bank.send(id, name, body, identity)
    for place in range(len(bank.partitions)):
        bank.process(place, 1000)
    return bank

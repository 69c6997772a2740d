"""Judges a run of the bank from outside: with a plain Kafka consumer, fastavro and the schema files.

Nothing of eventsrc is imported here, or the check would agree with the product's mistakes. The bank's rules are written
down a second time, as a plain loop over the commands that were sent; the log must hold exactly the events of that loop.
"""

from __future__ import annotations

import io
import json
import logging
import re
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import fastavro
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # public by its documentation, but not exported
from fastavro.schema import parse_schema

UNANSWERED = "unanswered"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "eventsrc")
_EVENT_KEY = re.compile(rb"(?s)(.+)@([1-9][0-9]*)#(0|[1-9][0-9]*)")
_READ_WITHIN_S = 20.0
_QUIET = logging.getLogger("bank.check.kafka")  # the client library's own lines
_QUIET.setLevel(logging.CRITICAL)
_LATEST: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the class has no annotations


class Sent(NamedTuple):
    """A command as a client sent it, and the answer it got: `ok`, `rejected`, or `UNANSWERED`, which is right only where it was
    sent again and answered then. Anything else is none."""

    account: str
    idempotency_key: str
    name: str
    body: Mapping[str, Any]
    answer: str
    sequence: int | None
    duplicate: bool


class Record(NamedTuple):
    """A record of the events topic; of one partition they come in the order of their offsets."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class Event(NamedTuple):
    """An event as bytes told it; `place` says where it stands."""

    sequence: int
    command_id: bytes
    name: str
    body: Mapping[str, Any]
    place: str


@dataclass
class Verdict:
    """What was found. The run was right if there is no problem."""

    events: int = 0
    accounts: int = 0
    deposited: int = 0
    withdrawn: int = 0
    balance: int = 0
    problems: list[str] = field(default_factory=list)


def check(sent: Sequence[Sent], records: Iterable[Record], schemas: Mapping[int, Any]) -> Verdict:
    """`sent`: every command of the run, those of one account in the order of sending. Records of other accounts are
    left alone."""
    verdict = Verdict()
    commands: dict[str, list[Sent]] = defaultdict(list)
    for each in sent:
        commands[each.account].append(each)
    histories = _histories(records, commands.keys(), schemas, verdict.problems)
    for account, orders in commands.items():
        expected = _expected(account, orders, verdict)
        _compare(account, expected, histories[account], verdict.problems)
        _count_money(account, histories[account], verdict)
        verdict.events += len(histories[account])
    verdict.accounts = len(commands)
    if verdict.balance != verdict.deposited - verdict.withdrawn:
        verdict.problems.append(
            f"money: {verdict.deposited:,} cents were acknowledged as deposited and {verdict.withdrawn:,} as withdrawn, "
            f"but the accounts hold {verdict.balance:,}"
        )
    return verdict


def _histories(
    records: Iterable[Record], accounts: Iterable[str], schemas: Mapping[int, Any], problems: list[str]
) -> dict[str, list[Event]]:
    """The events of each account, in log order. An event stands under the last barrier before it: its term."""
    found: dict[str, list[Event]] = {account: [] for account in accounts}
    barriers: dict[int, int] = {}
    for record in records:
        place = f"partition {record.partition} offset {record.offset}"
        if record.key is not None and record.key.startswith(b"\0barrier@"):
            barriers[record.partition] = record.offset
            continue
        parsed = _EVENT_KEY.fullmatch(record.key or b"")
        if parsed is None or (account := parsed[1].decode(errors="replace")) not in found:
            continue
        if int(parsed[3]) != barriers.get(record.partition):
            problems.append(f"account {account}: {place}: its term {int(parsed[3])} is not that of the last barrier")
        try:
            name, body = decode(record.value or b"", schemas)
        except ValueError as error:
            problems.append(f"account {account}: {place}: {error}")
            continue
        meta = body.pop("meta")
        if (meta["index"], meta["count"]) != (0, 1):
            problems.append(f"account {account}: {place}: half of a command, event {meta['index']} of {meta['count']}")
        found[account].append(Event(int(parsed[2]), bytes(meta["command_id"]), name, body, place))
    return found


def decode(value: bytes, schemas: Mapping[int, Any]) -> tuple[str, dict[str, Any]]:
    """Avro single-object encoding: C3 01, the schema's fingerprint, the record. Raises `ValueError`."""
    schema = schemas.get(int.from_bytes(value[2:10], "little"))
    if value[:2] != b"\xc3\x01" or schema is None:
        raise ValueError("not an event of a known schema")
    stream = io.BytesIO(value[10:])
    try:
        body = cast(dict[str, Any], fastavro.schemaless_reader(stream, schema, None))
    except (EOFError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read: {error}") from error
    if stream.read(1):
        raise ValueError("has bytes after its end")
    return str(schema["name"]).rpartition(".")[2], body


def _expected(account: str, orders: Sequence[Sent], verdict: Verdict) -> list[Event]:
    """The bank's rules as a plain loop. What was answered is compared on the way."""
    events: list[Event] = []
    done: dict[str, int] = {}
    unsettled: dict[str, Sent] = {}
    owner, balance = "", 0
    for order in orders:
        again = done.get(order.idempotency_key)
        amount = int(order.body.get("amount", 0))
        refused = {"Open": bool(owner), "Deposit": not owner, "Withdraw": amount > balance}[order.name]
        right = (
            ("ok", again, True) if again else ("rejected", None, False) if refused else ("ok", len(events) + 1, False)
        )
        answer = (order.answer, order.sequence, order.duplicate)
        unsettled.pop(order.idempotency_key, None)
        if order.answer == UNANSWERED:  # a worker that is killed cannot tell what it has committed
            unsettled[order.idempotency_key] = order
        elif answer != right:
            verdict.problems.append(
                f"account {account}: {order.name} {dict(order.body)} was answered {_told(*answer)}, not {_told(*right)}"
            )
        if again or refused:
            continue
        name = {"Open": "Opened", "Deposit": "Deposited", "Withdraw": "Withdrawn"}[order.name]
        command_id = uuid.uuid5(_NAMESPACE, "\0".join(("bank", "account", account, order.idempotency_key))).bytes
        events.append(Event(len(events) + 1, command_id, name, order.body, "nowhere in the log"))
        done[order.idempotency_key] = len(events)
        owner = owner or str(order.body.get("owner", ""))
        balance += {"Open": 0, "Deposit": amount, "Withdraw": -amount}[order.name]
        verdict.deposited += amount if order.name == "Deposit" and order.answer in ("ok", UNANSWERED) else 0
        verdict.withdrawn += amount if order.name == "Withdraw" and order.answer in ("ok", UNANSWERED) else 0
    for order in unsettled.values():
        verdict.problems.append(f"account {account}: {order.name} {dict(order.body)} was never answered")
    return events


def _told(answer: str, sequence: int | None, duplicate: bool) -> str:
    return f"{answer}{'' if sequence is None else f' at sequence {sequence}'}{' as a duplicate' if duplicate else ''}"


def _compare(account: str, expected: list[Event], found: list[Event], problems: list[str]) -> None:
    """Event for event: the same sequences, commands, kinds and amounts, each once, in order."""
    wanted = {event.sequence: event for event in expected}
    seen: dict[int, Event] = {}
    last = 0
    for event in found:
        right, what = wanted.get(event.sequence), f"account {account}: sequence {event.sequence}"
        if event.sequence in seen:
            problems.append(f"{what} stands twice: {seen[event.sequence].place} and {event.place}")
        elif right is None:
            problems.append(f"{what}, {event.place}: no command asked for {event.name} {dict(event.body)}")
        elif right[:4] != event[:4]:
            problems.append(
                f"{what}, {event.place}: is {event.name} {dict(event.body)}, but {right.name} {dict(right.body)} was asked for"
                + ("" if right.command_id == event.command_id else ", by another command")
            )
        if event.sequence < last:
            problems.append(f"{what}, {event.place}: stands after sequence {last}")
        seen[event.sequence] = event
        last = max(last, event.sequence)
    for sequence in wanted.keys() - seen.keys():
        problems.append(f"account {account}: sequence {sequence}, {wanted[sequence].name}, is nowhere in the log")


def _count_money(account: str, history: list[Event], verdict: Verdict) -> None:
    balance = 0
    for event in history:
        balance += {"Opened": 0, "Deposited": 1, "Withdrawn": -1}.get(event.name, 0) * int(event.body.get("amount", 0))
        if balance < 0:
            verdict.problems.append(f"account {account}: {balance:,} cents after sequence {event.sequence}")
    verdict.balance += balance


# ---- what is read


def read_schemas(directory: Path) -> dict[int, Any]:
    """Writer schemas by fingerprint, from `<Name>.<16 hex digits>.avsc` files."""
    return {
        int(path.name.split(".")[-2], 16): parse_schema(json.loads(path.read_text()))
        for path in directory.rglob("*.avsc")
    }


def read_log(bootstrap_servers: str, topic: str) -> list[Record]:
    """Every committed record of a topic to which nobody writes any more. Raises `TimeoutError`."""
    deadline = time.monotonic() + _READ_WITHIN_S
    ends = _settled_ends(bootstrap_servers, topic, deadline)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "bank-check",  # a name is wanted; no group is joined
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
        },
        logger=_QUIET,
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    records: list[Record] = []
    try:
        while ends:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic} could not be read to its end within {_READ_WITHIN_S:g} s")
            for message in consumer.consume(5000, 0.05):
                partition, offset, error = message.partition() or 0, message.offset() or 0, message.error()
                if error is None:
                    records.append(Record(partition, offset, message.key(), message.value()))
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise TimeoutError(f"{topic} cannot be read: {error.str()}")
                elif offset >= ends.get(partition, offset):
                    ends.pop(partition, None)
    finally:
        consumer.close()
    return sorted(records, key=lambda record: (record.partition, record.offset))


def _settled_ends(bootstrap_servers: str, topic: str, deadline: float) -> dict[int, int]:
    """Where each partition ends, once no transaction is open: a commit returns before it can be read."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers}, logger=_QUIET)
    why = "a transaction is still open"
    while time.monotonic() < deadline:
        try:
            stable = _ends(admin, topic, IsolationLevel.READ_COMMITTED)
            if stable == _ends(admin, topic, IsolationLevel.READ_UNCOMMITTED):
                return stable
        except KafkaException as error:  # a broker that has just started, for one
            why = str(error.args[0])
        time.sleep(0.02)
    raise TimeoutError(f"{topic} could not be read: {why}")


def _ends(admin: AdminClient, topic: str, level: IsolationLevel) -> dict[int, int]:
    partitions = admin.list_topics(topic, timeout=10).topics[topic].partitions
    places = {TopicPartition(topic, number): _LATEST for number in partitions}
    found = admin.list_offsets(places, isolation_level=level)
    return {place.partition: future.result().offset for place, future in found.items()}

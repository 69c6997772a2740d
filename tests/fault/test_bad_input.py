"""Bytes that are no command, commands that kill, and commands sent again and again: rows 35, 36 and 37."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names, re-exported without saying so
    AdminClient,
    NewTopic,
)

from tests.fault.scene import ROUNDS, Scene
from tests.harness.brokers import wait_led
from tests.harness.collect import wait_until
from tests.harness.evidence import Evidence, LogRecord
from tests.harness.load import Order, WireClient
from tests.harness.wire import frame

SEEDS = range(ROUNDS)


@dataclass(frozen=True)
class Bad:
    reason: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None


def command(scene: Scene, name: str, **body: object) -> bytes:
    meta = {
        "id": random.randbytes(16), "correlation_id": None, "causation_id": None, "time": datetime.now(UTC),
        "reply": None,
    }  # fmt: skip
    namespace = f"{scene.name}.account".replace("-", "_")
    return scene.schemas.encode(f"{namespace}.{name}", {"meta": meta, **body})


def an_event(scene: Scene) -> bytes:
    meta = {
        "command_id": bytes(16), "correlation_id": None, "causation_id": None, "source_offset": 0, "index": 0,
        "count": 1, "time": 0, "payload_hash": bytes(8),
    }  # fmt: skip
    namespace = f"{scene.name}.account".replace("-", "_")
    return scene.schemas.encode(f"{namespace}.Deposited", {"meta": meta, "amount": 1_000_000})


def bad_records(scene: Scene, client: WireClient) -> list[Bad]:
    good = command(scene, "Deposit", amount=1_000_000)
    here = client.partition_of("account-1")
    return [
        Bad("null-key", None, good, 0),
        Bad("bad-id", b"", good, 0),
        Bad("bad-id", b"x" * 256, good, client.partition_of("x" * 256)),
        Bad("bad-id", b"a\0b", good, client.partition_of("a\0b")),
        Bad("bad-id", b"\xff\xfe", good, 0),
        Bad("wrong-partition", b"account-1", good, (here + 1) % 4),
        Bad("null-value", b"account-1", None),
        Bad("oversize", b"account-1", good + bytes(40_000)),
        Bad("undecodable", b"account-1", b""),
        Bad("undecodable", b"account-1", b"not avro at all"),
        Bad("undecodable", b"account-1", good[:-1]),
        Bad("undecodable", b"account-1", good + b"\0"),
        Bad("undecodable", b"account-1", good[:10] + b"\xff" * 40),
        Bad("unknown-schema", b"account-1", frame(0xDEADBEEF, good[10:])),
        Bad("not-a-command", b"account-1", an_event(scene)),
        Bad("constraint", b"account-1", command(scene, "Deposit", amount=-5)),
        Bad("handler-failed", b"account-1", command(scene, "Poison")),
        # Two reasons at once: the first in the contract's order.
        Bad("null-key", None, b"", 0),
        Bad("wrong-partition", b"account-1", None, (here + 1) % 4),
        Bad("null-value", b"account-1", None),
    ]


def reasons(evidence: Evidence) -> dict[tuple[int, int], tuple[str, LogRecord]]:
    found = {}
    for record in evidence.dead_letters:
        headers = dict(record.headers)
        source = (int(headers["eventsrc.partition"] or b""), int(headers["eventsrc.offset"] or b""))
        found[source] = ((headers["eventsrc.reason"] or b"").decode(), record)
    return found


def test_what_is_no_command_is_dead_lettered_with_its_reason_and_processing_goes_on(scene: Scene) -> None:
    """Row 36: between good commands, in the same transactions; key, value and headers are kept."""
    scene.configure(max_command_bytes=20_000, unknown_schema_deadline="1s", batch_records=50)
    client = scene.client()
    bad = bad_records(scene, client)
    for number, each in enumerate(bad):
        where = client.partition_of((each.key or b"").decode()) if each.partition is None else each.partition
        client.produce(each.key, each.value, where, [("trace", b"%d" % number), ("eventsrc.reason", b"forged")])
        client.send(Order("account-1", "Deposit", {"amount": 1}), random.Random(number))
    client.flush()
    worker = scene.started()
    assert client.wait_answered(60), worker.log()
    evidence = scene.verdict()
    letters = {dict(record.headers)["trace"]: (reason, record) for reason, record in reasons(evidence).values()}
    for number, each in enumerate(bad):
        reason, record = letters[b"%d" % number]
        assert reason == each.reason, (number, each, dict(record.headers))
        assert (record.key, record.value) == (each.key, each.value)
        assert [value for name, value in record.headers if name == "eventsrc.reason"] == [each.reason.encode()]
    assert len(letters) == len(bad)
    balance = sum(1 for record in evidence.committed_view if (record.key or b"").startswith(b"account-1@"))
    assert balance == len(bad)


def test_a_record_that_unpacks_to_more_than_any_topic_takes_is_dead_lettered_in_part(scene: Scene) -> None:
    """Row 36: compressed, the broker took it; whole, no transaction could carry it, and its partition would stop for
    ever. The dead-letter topic was made by hand, with one partition."""
    dead_letter_topic = f"{scene.name}.dead-letter"
    admin = AdminClient({"bootstrap.servers": scene.cluster.direct})
    admin.delete_topics([dead_letter_topic])[dead_letter_topic].result()
    settings = {"retention.ms": "-1", "max.message.bytes": "2000000"}
    wait_until(
        lambda: _created(admin, NewTopic(dead_letter_topic, 1, 1, config=settings)), 20, "the topic is made anew"
    )
    wait_led(scene.cluster.direct, [dead_letter_topic])
    client = scene.client()
    bomb = Producer(
        {"bootstrap.servers": scene.cluster.direct, "compression.type": "gzip", "message.max.bytes": 20_000_000}
    )
    bomb.produce(scene.commands, bytes(8_000_000), b"account-1", client.partition_of("account-1"))
    assert bomb.flush(20) == 0
    client.send(Order("account-1", "Deposit", {"amount": 1}), random.Random(1))
    client.flush()
    worker = scene.started()
    assert client.wait_answered(60), worker.log()
    ((reason, record),) = reasons(scene.evidence()).values()
    assert (reason, record.key, record.partition) == ("oversize", b"account-1", 0)
    assert dict(record.headers)["eventsrc.value-bytes"] == b"8000000"
    assert 0 < len(record.value or b"") < 1_100_000


def _created(admin: AdminClient, topic: NewTopic) -> bool:
    """False while the topic of that name is still being deleted."""
    try:
        admin.create_topics([topic])[topic.topic].result()
    except KafkaException:
        return False
    return True


@pytest.mark.parametrize("seed", SEEDS)
def test_random_bytes_never_stop_a_partition(scene: Scene, seed: int) -> None:
    """Row 36: mutations of good commands; each is applied, refused or dead-lettered, and counted."""
    rnd = random.Random(seed)
    scene.configure(unknown_schema_deadline="1s")
    client = scene.client()
    worker = scene.started()
    names = [("Deposit", {"amount": 5}), ("DepositInParts", {"amount": 2, "parts": 2}), ("Audit", {})]
    for number in range(300):
        name, body = rnd.choice(names)
        value = bytearray(command(scene, name, **body))
        for _ in range(rnd.randrange(0, 3)):
            value[rnd.randrange(10, len(value))] = rnd.randrange(256)
        if rnd.random() < 0.3:
            del value[rnd.randrange(2, len(value)) :]
        id = f"account-{rnd.randrange(8)}"
        client.produce(id.encode(), bytes(value), client.partition_of(id))
        if number % 10 == 0:
            client.send(Order(id, "Deposit", {"amount": 1}), rnd)
    client.flush()
    assert client.wait_answered(60), worker.log()
    evidence = scene.verdict(history_complete=False)
    assert evidence.dead_letters
    assert worker.starts == 1


def test_a_command_that_kills_its_worker_is_isolated_after_some_restarts(scene: Scene) -> None:
    """Row 35: whoever restarts the worker is not in a loop for ever; its neighbours are processed."""
    client = scene.client()
    good = [Order(f"account-{number}", "Deposit", {"amount": 5}) for number in range(20)]
    scene.send_all(client, good[:10], seed=1)
    scene.send_all(client, [Order("account-3", "Lethal", {})], seed=2)
    scene.send_all(client, good[10:], seed=3)
    worker = scene.worker()
    while worker.starts < 10:
        worker.start()
        while worker.running and not client.wait_answered(0.05):
            pass
        if worker.running:
            break
    assert worker.running, worker.log(whole=True)[-3000:]
    evidence = scene.verdict()
    assert [reason for reason, _ in reasons(evidence).values()] == ["handler-failed"]


@pytest.mark.parametrize("seed", SEEDS)
def test_one_command_sent_ten_times_takes_effect_once(scene: Scene, seed: int) -> None:
    """Row 37: ten copies among other commands, before and after a kill; each gets the one outcome."""
    rnd = random.Random(seed)
    scene.configure(batch_records=4)
    client = scene.client()

    def answers() -> list[LogRecord]:
        return [each for each in scene.reader.read(f"{scene.name}.replies") if each.key == identity]

    order = Order("account-1", "DepositInParts", {"amount": 7, "parts": 3})
    identity = client.send(order, rnd)
    worker = scene.started()
    for number in range(9):
        scene.send_all(client, [Order("account-1", "Deposit", {"amount": 1})], seed=1000 * (seed + 1) + number)
        client.send(order, rnd, identity)
        if number == 4:
            assert client.wait_answered(60), worker.log()
            # the answer to one copy is the client's to all of them; the kill must not lose those that are on their way
            wait_until(lambda: len(answers()) == 6, 60, f"each copy is answered\n{worker.log()}")
            worker.kill()
            worker.start()
    client.flush()
    assert client.wait_answered(60), worker.log()
    wait_until(lambda: len(answers()) == 10, 60, f"each copy is answered\n{worker.log()}")
    scene.verdict()
    told = [scene.schemas.decode(each.value or b"").fields for each in answers()]
    assert [each["status"] for each in told] == ["ok"] + 9 * ["duplicate"]

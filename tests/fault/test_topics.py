"""Topics that were changed, recreated or written to by others: rows 25, 27, 28, 30 and 43."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from tests.fault.scene import PARTITIONS, Scene
from tests.harness.collect import wait_until
from tests.harness.evidence import LogRecord
from tests.harness.load import Order
from tests.harness.wire import parse_event_key


def deposits(count: int) -> list[Order]:
    return [Order(f"account-{number % 12}", "Deposit", {"amount": 5}) for number in range(count)]


def recreate(scene: Scene, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": scene.cluster.direct, "log_level": 0})
    admin.delete_topics([topic])[topic].result(20)
    wait_until(lambda: topic not in admin.list_topics(timeout=30).topics, 40, f"{topic} is gone")
    scene.create_topics()


@pytest.mark.parametrize("which", ["events", "commands"])
def test_a_topic_recreated_at_rest_is_refused(scene: Scene, which: str) -> None:
    """Row 25: the history is not what the group's position stands for. Nothing is written, the log says what to do."""
    client = scene.client()
    scene.send_all(client, deposits(40))
    worker = scene.started()
    assert client.wait_answered(60), worker.log()
    assert worker.drain() == 0
    recreate(scene, scene.events if which == "events" else scene.commands)
    scene.send_all(client, deposits(20), seed=2)
    before = {(record.partition, record.offset) for record in scene.reader.read(scene.events)}
    worker.start()
    worker.wait_log(r"(?i)(recreated|created again|another topic|topic id|deleted)")
    assert not client.wait_answered(1.0)
    now = {(r.partition, r.offset) for r in scene.reader.read(scene.events) if parse_event_key(r.key or b"")}
    assert now <= before
    client.close()


def test_an_events_topic_recreated_under_a_running_worker_is_noticed(scene: Scene) -> None:
    """Row 25: before its next checkpoint at the latest, so "now and then" is a bound in seconds here."""
    client = scene.client()
    scene.send_all(client, deposits(40))
    worker = scene.started()
    assert client.wait_answered(60), worker.log()
    recreate(scene, scene.events)
    scene.send_all(client, deposits(20), seed=2)
    worker.wait_log(r"(?i)(recreated|created again|another topic|topic id|deleted)")
    client.close()


@pytest.mark.parametrize("which", ["events", "commands"])
def test_added_partitions_are_refused_at_start(scene: Scene, which: str) -> None:
    """Row 27: ids would move to other partitions than their history."""
    admin = AdminClient({"bootstrap.servers": scene.cluster.direct, "log_level": 0})
    topic = scene.events if which == "events" else scene.commands
    admin.create_partitions([NewPartitions(topic, PARTITIONS + 1)])[topic].result(20)
    wait_until(lambda: len(scene.reader.partitions(topic)) == PARTITIONS + 1, 40, "the added partition")
    worker = scene.started()
    assert worker.wait_ended() == 1, worker.log()
    assert topic in worker.log()
    assert str(PARTITIONS + 1) in worker.log()
    assert "Traceback" not in worker.log()


@pytest.mark.parametrize("plant", ["same key", "same sequence", "gap", "no barrier"])
def test_a_foreign_writers_event_halts_its_partition_by_name(scene: Scene, plant: str) -> None:
    """Row 30: found when the partition is read again. The other partitions go on."""
    client = scene.client()
    scene.send_all(client, deposits(48))
    worker = scene.started()
    assert client.wait_answered(60), worker.log()
    assert worker.drain() == 0
    victim = planted_event(scene, plant)
    worker.start()
    halted = worker.wait_log(rf"partition account/{victim.partition} is halted: .*")
    assert parse_event_key(victim.key or b"") is not None
    assert (victim.key or b"").partition(b"@")[0].decode() in halted[0]
    scene.send_all(client, deposits(48), seed=2)
    elsewhere = [i for i, order in client.outstanding().items() if client.partition_of(order.id) != victim.partition]
    assert elsewhere
    assert client.wait_answered(60, elsewhere), worker.log()
    assert client.outstanding()
    client.close()


def planted_event(scene: Scene, plant: str) -> LogRecord:
    """An event of the running term, written by somebody else without a transaction."""
    events = [record for record in scene.reader.read(scene.events) if parse_event_key(record.key or b"")]
    victim = events[-1]
    key = parse_event_key(victim.key or b"")
    assert key is not None
    fields = dict(scene.schemas.decode(victim.value or b"").fields)
    name = scene.schemas.decode(victim.value or b"").name
    written = {
        "same key": (victim.key, {**fields, "amount": 777}),
        "same sequence": (b"%b@%d#%d" % (key.id, key.sequence - 1, key.term), fields),
        "gap": (b"%b@%d#%d" % (key.id, key.sequence + 2, key.term), fields),
        "no barrier": (b"%b@%d#%d" % (key.id, key.sequence + 1, 987_654), fields),
    }[plant]
    producer = Producer({"bootstrap.servers": scene.cluster.direct, "log_level": 0})
    producer.produce(scene.events, scene.schemas.encode(name, written[1]), written[0], victim.partition)
    producer.flush(30)
    return victim


def test_lost_group_offsets_are_found_again_from_the_log(scene: Scene) -> None:
    """Rows 28 and 43: no committed offset, but events: the position is not the beginning, and no negative offset is
    ever sent."""
    client = scene.client()
    scene.send_all(client, deposits(60))
    worker = scene.started()
    assert client.wait_answered(60), worker.log()
    assert worker.drain() == 0
    admin = AdminClient({"bootstrap.servers": scene.cluster.direct, "log_level": 0})

    def deleted() -> bool:
        try:
            admin.delete_consumer_groups([scene.name])[scene.name].result(10)
        except Exception as busy:  # noqa: BLE001 - a static member holds the group until its session ends
            return "GroupIdNotFound" in str(busy) or "does not exist" in str(busy)
        return True

    wait_until(deleted, 60, "the group is deleted")
    worker.start()
    scene.send_all(client, deposits(30), seed=2)
    assert client.wait_answered(60), worker.log()
    evidence = scene.evidence()
    evidence.commit_journal = []  # what the deleted group had committed is gone
    client.close()
    applied = [record for record in evidence.committed_view if parse_event_key(record.key or b"")]
    assert len(applied) == 90
    assert len({record.key for record in applied}) == 90


def test_a_fresh_partition_is_fenced_by_its_log_start(scene: Scene) -> None:
    """Row 43: every first commit of the group is a valid offset, in the barrier's own transaction."""
    client = scene.client()
    scene.send_all(client, deposits(12))
    worker = scene.started()
    assert client.wait_answered(60), worker.log()
    evidence = scene.verdict()
    firsts = {entry.partition: entry.offset for entry in reversed(evidence.commit_journal)}
    assert firsts == dict.fromkeys(range(PARTITIONS), 0)

"""`eventsrc fsck` on real Kafka and Postgres: quiet where all is well, also at work; each planted fault is found, and named
with its repair."""

from __future__ import annotations

import functools
import json
import random
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names, re-exported without saying so
    AdminClient,
    NewPartitions,
)

from eventsrc.adapters.kafka.decided_ends import decided_ends
from eventsrc.adapters.kafka.topics import create_topics
from eventsrc.adapters.postgres import upgrading
from eventsrc.adapters.postgres.store import PostgresSnapshots
from eventsrc.codec.keys import event_key, parse_event_key
from eventsrc.engine.counts import Counts
from eventsrc.engine.notes import Owner, TopicIds, write_note
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.snapshot import StoredCheckpoint
from eventsrc.runtime import fsck
from eventsrc.runtime.findings import Finding
from eventsrc.runtime.settings import Settings
from eventsrc.runtime.starting_points import topic_ids
from tests.harness.brokers import alter_topic, wait_led
from tests.harness.collect import Reader, wait_until
from tests.harness.evidence import LogRecord
from tests.harness.taken_checkpoints import Taker
from tests.harness.till import Till
from tests.harness.travel_world import PARTITIONS, World, make_world, write_at_random
from tests.harness.written_log import WrittenLog

COMMANDS = 80
"""In each partition; as many as the whole log has commands, so that every source offset is below it."""


@dataclass
class Checkable:
    """A pipeline that is sound, and means to make it unsound."""

    world: World
    database_url: str
    store: PostgresSnapshots
    ids: Mapping[str, TopicIds]

    @property
    def name(self) -> str:
        return self.world.name

    def check(self, *keys: PartitionKey) -> fsck.Checked:
        settings = Settings(bootstrap_servers=self.world.kafka, database_url=self.database_url)
        return fsck.check(self.world.app.pipeline, settings, keys or None)

    def found(self, *keys: PartitionKey) -> Finding:
        """The only one that is more than a note."""
        (finding,) = [each for each in self.check(*keys).findings if each.severity != "note"]
        return finding

    def records(self, aggregate: str = "basket") -> list[LogRecord]:
        with closing(Reader(self.world.kafka)) as reader:
            return reader.read(f"{self.name}.{aggregate}.events")

    def last_event(self) -> LogRecord:
        return next(each for each in reversed(self.records()) if parse_event_key(each.key or b""))

    def write_event(self, like: LogRecord, key: bytes | None = None, value: bytes | None = None) -> int:
        """As another program would; returns its offset."""
        producer = Producer({"bootstrap.servers": self.world.kafka})
        offsets: list[int] = []
        producer.produce(
            like.topic, value or like.value, key or like.key, like.partition,
            on_delivery=lambda _, message: offsets.append(message.offset() or 0),
        )  # fmt: skip
        producer.flush(10)
        return offsets[0]

    def commit(
        self,
        offset: int,
        aggregate: str = "basket",
        number: int = 0,
        *,
        term: int | None = None,
        counts: Counts | None = None,
    ) -> None:
        """With the note of an owner."""
        written = next(each.offset for each in self.records(aggregate) if each.partition == number)
        text = write_note(
            Owner("host-0", f"{self.name}-host-0"),
            written if term is None else term,
            counts or Counts(),
            self.ids[aggregate],
        )
        consumer = Consumer({"bootstrap.servers": self.world.kafka, "group.id": self.name, "enable.auto.commit": False})
        place = TopicPartition(f"{self.name}.{aggregate}.commands", number, offset, text)
        consumer.commit(offsets=[place], asynchronous=False)
        consumer.close()

    def take(self, alter: Callable[[list[LogRecord]], list[LogRecord]] | None = None) -> StoredCheckpoint:
        """A checkpoint of basket/0 at its end; `alter`: the log that its taker has seen."""
        records = [each for each in self.records() if each.partition == 0]
        seen = alter(records) if alter is not None else records
        taker = Taker(self.world.app.pipeline, self.store, PartitionKey("basket", 0), self.ids["basket"], seen)
        end = seen[-1].offset + 1
        return taker.take(end, end, random.Random(1))

    def delete_below(self, topic: str, number: int, offset: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.world.kafka})
        place = TopicPartition(topic, number, offset)
        next(iter(admin.delete_records([place]).values())).result(10)


@pytest.fixture
def sound(kafka: str, database_url: str, pipeline_name: str, tmp_path: Path) -> Iterator[Checkable]:
    upgrading.upgrade(database_url)
    world = make_world(kafka, pipeline_name, tmp_path)
    ids = topic_ids(world.app.pipeline, kafka, None)
    world.log = WrittenLog(world.app.pipeline, kafka, ids)
    write_at_random(world, 3, COMMANDS - 1)
    world.events()  # which waits until all of it can be read
    with closing(PostgresSnapshots(database_url, pipeline_name)) as store:
        made = Checkable(world, database_url, store, ids)
        producer = Producer({"bootstrap.servers": kafka})
        for aggregate in ("basket", "parcel"):
            for number in range(PARTITIONS):
                for _ in range(COMMANDS):
                    producer.produce(f"{pipeline_name}.{aggregate}.commands", b"command", b"key", number)
        producer.flush(10)
        for aggregate in ("basket", "parcel"):
            for number in range(PARTITIONS):
                made.commit(COMMANDS, aggregate, number)
        yield made


def test_a_sound_pipeline_is_said_in_one_line(sound: Checkable) -> None:
    sound.take()
    checked = sound.check()
    assert checked.findings == []
    assert (checked.sound, checked.partitions, checked.checkpoints) == (True, 2 * PARTITIONS, 1)
    events = [each for name in ("basket", "parcel") for each in sound.records(name) if parse_event_key(each.key or b"")]
    assert checked.events == len(events)
    said = sound.world.run("fsck", DATABASE_URL=sound.database_url)
    assert said == f"{sound.name}: 6 topics, 6 partitions, {len(events)} events, 1 checkpoints: sound\n"
    one = json.loads(sound.world.run("fsck", "--partition", "basket/1", "--json", DATABASE_URL=sound.database_url))
    assert (one["sound"], one["topics"], one["partitions"]) == (True, 2, 1)
    assert "of which aggregate? basket/1, parcel/1" in sound.world.run("fsck", "--partition", "1", exit_code=2)
    assert "write AGGREGATE/N" in sound.world.run("fsck", "--partition", "basket/9", exit_code=2)


def test_it_changes_nothing(sound: Checkable) -> None:
    sound.take()
    sound.write_event(sound.last_event())
    with closing(Reader(sound.world.kafka)) as reader:
        topics = [f"{sound.name}.basket.commands", f"{sound.name}.parcel.commands"]
        before = (
            sound.records(),
            reader.committed(sound.name, topics),
            sound.store.checkpoints(PartitionKey("basket", 0)),
        )
        assert not sound.check().sound
        assert before == (
            sound.records(),
            reader.committed(sound.name, topics),
            sound.store.checkpoints(PartitionKey("basket", 0)),
        )


# ---- the log


def test_a_sequence_that_stands_twice(sound: Checkable) -> None:
    event = sound.last_event()
    offset = sound.write_event(event)
    finding = sound.found()
    assert (finding.severity, finding.subject) == ("error", f"basket/{event.partition}")
    assert "twice" in finding.what
    assert f"{event.topic}/{event.partition} offset {offset}, key {event.key!r}" == finding.where
    assert "nothing is repaired silently" in finding.safe
    assert f"--topic {event.topic} --partition {event.partition} --offset {offset}" in (finding.next or "")
    said = sound.world.run("fsck", exit_code=1)
    assert f"error: basket/{event.partition}: " in said
    assert f"  next   {finding.next}" in said
    assert "1 error" in said
    assert sound.check(PartitionKey("basket", (event.partition + 1) % PARTITIONS)).sound


def test_gaps_are_all_told(sound: Checkable) -> None:
    number = sound.last_event().partition
    latest: dict[bytes, LogRecord] = {}
    for each in sound.records():
        parsed = parse_event_key(each.key or b"")
        if parsed and each.partition == number:
            latest[parsed[0]] = each
    for id, event in list(latest.items())[:2]:
        parsed = parse_event_key(event.key or b"")
        assert parsed is not None
        sound.write_event(event, event_key(id, parsed[1] + 2, parsed[2]))
    findings = sound.check().findings
    assert len(findings) == 2
    assert all("has no event of sequence" in each.what for each in findings)


def test_a_record_that_no_owner_wrote(sound: Checkable) -> None:
    offset = sound.write_event(sound.last_event(), b"another program's")
    finding = sound.found()
    assert "which is neither an event's nor a control record's" in finding.what
    assert f"offset {offset}" in finding.where


def test_an_unknown_schema(sound: Checkable) -> None:
    event = sound.last_event()
    parsed = parse_event_key(event.key or b"")
    assert parsed is not None
    sound.write_event(event, event_key(parsed[0], parsed[1] + 1, parsed[2]), b"\xc3\x01" + b"\x07" * 8 + b"body")
    finding = sound.found()
    assert "schema not known here" in finding.what
    assert ".avsc" in finding.safe


def test_a_transaction_that_stays_open(sound: Checkable, monkeypatch: pytest.MonkeyPatch) -> None:
    event = sound.last_event()
    producer = Producer({"bootstrap.servers": sound.world.kafka, "transactional.id": f"open-{uuid.uuid4()}"})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(event.topic, b"undecided", b"key", event.partition)
    producer.flush(10)
    with monkeypatch.context() as patched:
        patched.setattr(fsck, "decided_ends", functools.partial(decided_ends, wait_s=1.0))
        finding = sound.found()
    assert "has been open for more than" in finding.what
    assert f"find-hanging --topic {event.topic} --partition {event.partition}" in (finding.next or "")
    producer.abort_transaction(10)
    assert sound.check().sound


# ---- topics


def test_topics_that_are_missing_or_wrong(sound: Checkable) -> None:
    # Its records are of a day long past: a broker that may delete them does so within seconds, and fsck finds that too.
    delete_none = {"cleanup.policy": "delete", "retention.ms": "-1"}
    alter_topic(sound.world.kafka, f"{sound.name}.basket.events", delete_none)
    finding = sound.found()
    assert "cleanup.policy is delete, must be compact" in finding.what
    assert (finding.next or "").endswith(
        f"--entity-name {sound.name}.basket.events --add-config cleanup.policy=compact"
    )
    alter_topic(sound.world.kafka, f"{sound.name}.basket.events", {"cleanup.policy": "compact"})
    admin = AdminClient({"bootstrap.servers": sound.world.kafka})
    admin.delete_topics([f"{sound.name}.replies"])[f"{sound.name}.replies"].result(10)
    wait_until(lambda: len(sound.check().findings) == 1, 40, "it is gone")
    finding = sound.found()
    assert (finding.subject, finding.next) == (f"{sound.name}.replies", "eventsrc topics create")
    wait_led(sound.world.kafka, create_topics(sound.world.app.pipeline, sound.world.kafka).created)
    assert sound.check().sound
    admin.create_partitions([NewPartitions(f"{sound.name}.parcel.events", PARTITIONS + 1)])[
        f"{sound.name}.parcel.events"
    ].result(10)
    wait_until(lambda: len(sound.check().findings) == 1, 40, "it has one more")
    checked = sound.check()
    assert "ids would move" in checked.findings[0].what
    assert checked.partitions == PARTITIONS
    assert "parcel" in checked.unlooked[0]


def test_an_events_topic_that_was_made_anew(sound: Checkable) -> None:
    sound.take()
    topic = f"{sound.name}.basket.events"
    admin = AdminClient({"bootstrap.servers": sound.world.kafka})
    admin.delete_topics([topic])[topic].result(10)
    wait_until(lambda: topic not in admin.list_topics(timeout=5).topics, 30, "it is gone")
    wait_led(sound.world.kafka, create_topics(sound.world.app.pipeline, sound.world.kafka).created)
    whats = [each.what for each in sound.check(PartitionKey("basket", 0)).findings]
    assert any("is another one than instance host-0 knew" in what for what in whats)
    assert any("wrote its barrier at offset 0, and it is not in the events topic" in what for what in whats)
    assert any("it is of another events topic" in what for what in whats)


# ---- offsets


def test_the_committed_offset_beyond_the_end(sound: Checkable) -> None:
    sound.commit(COMMANDS + 5)
    finding = sound.found()
    assert f"up to offset {COMMANDS + 5}, but their topic ends at {COMMANDS}" in finding.what
    assert f"--describe --group {sound.name}" in (finding.next or "")


def test_the_committed_offset_behind_the_events(sound: Checkable) -> None:
    sound.commit(1)
    finding = sound.found()
    assert finding.severity == "warning"
    assert "the committed offset is 1, but the events come of commands up to" in finding.what
    assert finding.next is None


def test_commands_that_retention_took(sound: Checkable) -> None:
    topic = f"{sound.name}.basket.commands"
    sound.delete_below(topic, 0, COMMANDS)
    assert sound.check().sound  # they were processed
    producer = Producer({"bootstrap.servers": sound.world.kafka})
    for _ in range(2):
        producer.produce(topic, b"command", b"key", 0)
    producer.flush(10)
    sound.delete_below(topic, 0, COMMANDS + 1)
    finding = sound.found()
    assert (
        f"commands from offset {COMMANDS} to {COMMANDS} were deleted (retention) before they were processed"
        in finding.what
    )
    assert f"--topic {topic}:0 --reset-offsets --to-earliest --execute" in (finding.next or "")


def test_commands_that_a_checkpoint_knows_to_be_processed_are_not_missed(sound: Checkable) -> None:
    """As at a takeover: the group was set back to 0, retention took what had been processed."""
    known = sound.take().checkpoint.commands_position
    sound.commit(0)
    sound.delete_below(f"{sound.name}.basket.commands", 0, known)
    finding = sound.found()
    assert (finding.severity, "commands resume after that" in finding.safe) == ("warning", True)


def test_history_that_was_deleted(sound: Checkable) -> None:
    topic = f"{sound.name}.basket.events"
    # the events' times are a week back and more: retention would take more than is asked for
    alter_topic(sound.world.kafka, topic, {"cleanup.policy": "compact,delete", "retention.ms": "-1"})
    sound.delete_below(topic, 0, 2)
    alter_topic(sound.world.kafka, topic, {"cleanup.policy": "compact"})
    finding = sound.found()
    assert "the events topic begins at offset 2: history below it was deleted" in finding.what


def test_a_barrier_that_is_not_in_the_log(sound: Checkable) -> None:
    sound.commit(COMMANDS, term=1_000_000)
    assert "wrote its barrier at offset 1000000, and it is not in the events topic" in sound.found().what


def test_commands_that_were_applied_and_are_not_in_the_log(sound: Checkable) -> None:
    sound.commit(COMMANDS, counts=Counts(applied=999))
    finding = sound.found()
    assert "999 commands were applied and committed, and the events topic holds" in finding.what
    assert f"--topic {sound.name}.basket.commands:0 --delete-offsets" in (finding.next or "")


# ---- checkpoints


def test_a_damaged_checkpoint(sound: Checkable) -> None:
    taken = sound.take()
    with psycopg.connect(sound.database_url) as connection:
        connection.execute("UPDATE eventsrc.segment SET block = overlay(block PLACING '\\x00' FROM 30)")
    finding = sound.found()
    assert f"checkpoint {taken.id} is damaged" in finding.what
    assert "recovery takes the log" in finding.safe
    assert finding.next == "eventsrc checkpoint now --aggregate basket --partition 0"


def test_a_damaged_row(sound: Checkable) -> None:
    sound.take()
    with psycopg.connect(sound.database_url) as connection:
        connection.execute("UPDATE eventsrc.checkpoint SET events = events + 1")
    assert "is damaged" in sound.found().what


@pytest.mark.parametrize("beyond", [True, False])
def test_a_checkpoint_that_knows_another_log(sound: Checkable, beyond: bool) -> None:
    """Truncated below it; or grown again since, with other records."""
    single = next(each for each in reversed(sound.world.events()["basket", 0]) if each.count == 1)

    def alter(records: list[LogRecord]) -> list[LogRecord]:
        below = [each for each in records if each.offset <= single.offset]
        parsed = parse_event_key(below[-1].key or b"")
        assert parsed is not None
        if beyond:
            key = event_key(parsed[0], parsed[1] + 1, parsed[2])
            return [*below, replace(below[-1], offset=records[-1].offset + 50, key=key)]
        return [*below[:-1], replace(below[-1], key=event_key(b"somebody", 1, parsed[2]))]

    sound.take(alter)
    finding = sound.found()
    assert "the events topic was truncated, or is another one" in finding.what
    assert ("the log ends at" in finding.what) is beyond
    assert finding.next == "eventsrc checkpoint discard --aggregate basket --partition 0"


def test_a_head_whose_term_is_no_barrier(sound: Checkable) -> None:
    sound.take()
    with psycopg.connect(sound.database_url) as connection:
        connection.execute("UPDATE eventsrc.head SET term = 1")
    finding = sound.found()
    assert "has term 1, and no barrier is at that offset" in finding.what
    assert "checkpoint discard" in (finding.next or "")


def test_a_checkpoint_of_other_code_is_a_note(sound: Checkable) -> None:
    records = [each for each in sound.records() if each.partition == 0]
    taker = Taker(sound.world.app.pipeline, sound.store, PartitionKey("basket", 0), sound.ids["basket"], records)
    end = records[-1].offset + 1
    taker.take(end, end, random.Random(1), version=7)
    checked = sound.check()
    assert checked.sound
    assert [each.severity for each in checked.findings] == ["note"]
    assert "version 7" in checked.findings[0].what


# ---- what does not answer


def test_who_is_away(sound: Checkable) -> None:
    away = "postgresql://nobody@127.0.0.1:9/none"
    said = json.loads(sound.world.run("fsck", "--json", exit_code=3, out=True, DATABASE_URL=away))
    assert said["sound"] is True
    assert "postgres" in said["problems"]
    assert said["partitions"] == 2 * PARTITIONS
    assert "does not answer" in sound.world.run("fsck", exit_code=3, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9")
    sound.write_event(sound.last_event())
    assert json.loads(sound.world.run("fsck", "--json", exit_code=1, DATABASE_URL=away))["sound"] is False


# ---- beside workers


def test_a_pipeline_at_work_is_sound(kafka: str, database_url: str, tmp_path: Path) -> None:
    """Committed offsets, notes, logs and checkpoints all move while they are read."""
    upgrading.upgrade(database_url)
    till = Till(tmp_path, kafka, DATABASE_URL=database_url)
    with closing(till):
        till.run()
        with _load(till) as sent:
            for _ in range(3):
                before = sent()
                checked = till.json("fsck")
                assert checked["sound"], checked
                asking = till.start("checkpoint", "now", "--timeout", "0")
                asking.communicate(timeout=90)
                assert asking.returncode in (0, 1)  # whether all were taken by then
                wait_until(lambda before=before: sent() > before, 30, "the load goes on")  # type: ignore[misc]  # mypy #12557
        till.settle()
        checked = till.json("fsck")
        assert (checked["sound"], checked["events"]) == (True, sent()), checked


@contextmanager
def _load(till: Till) -> Iterator[Callable[[], int]]:
    """Deposits as fast as they are taken, until the block ends, each with its effect then. How many were sent."""
    load = till.start("send", "--file", "-", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ending = threading.Event()
    sent = 0

    def feed() -> None:
        nonlocal sent
        with load.stdin as lines:  # type: ignore[union-attr]  # it is a pipe
            while not ending.is_set():
                for number in range(100):
                    command = {"aggregate": "Account", "id": f"a{number % 50}", "command": "Deposit"}
                    lines.write(json.dumps({**command, "payload": {"amount": 1}}) + "\n")
                sent += 100

    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        yield lambda: sent
        ending.set()
        feeding.join()
        assert load.wait(60) == 0
    finally:
        ending.set()
        load.kill()
        load.wait()
        feeding.join()

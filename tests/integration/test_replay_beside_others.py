"""A replay beside those who write: a worker under load that takes checkpoints, and a log that is being compacted (row 29)."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names, re-exported without saying so
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from eventsrc import Client
from eventsrc.adapters.kafka.topics import create_topics
from eventsrc.adapters.postgres import upgrading
from eventsrc.model.moments import AtTime, at_time
from eventsrc.runtime.comparing import compare
from eventsrc.runtime.replaying import replay
from eventsrc.runtime.settings import Settings
from tests.harness.applications import load_application
from tests.harness.collect import Reader, wait_until
from tests.harness.travel_world import BEGIN_US, PARTITIONS, expect, make_world, write_at_random
from tests.harness.workers import Worker


@pytest.fixture
def worker(kafka: str, database_url: str, pipeline_name: str, tmp_path: Path) -> Iterator[Worker]:
    upgrading.upgrade(database_url)
    environment = {**application(pipeline_name), "KAFKA_BOOTSTRAP_SERVERS": kafka, "DATABASE_URL": database_url}
    worker = Worker("tests.harness.travel:pipeline", "one", tmp_path, environment)
    yield worker
    worker.end()


def application(name: str) -> dict[str, str]:
    settings = {"checkpoint_interval": "1s", "checkpoint_overhead": 0.5}
    return {
        "EVENTSRC_TEST_PIPELINE": name,
        "EVENTSRC_TEST_PARTITIONS": str(PARTITIONS),
        "EVENTSRC_TEST_SETTINGS": json.dumps(settings),
    }


def test_during_live_load_and_checkpoints(
    worker: Worker, kafka: str, database_url: str, pipeline_name: str, tmp_path: Path
) -> None:
    app = load_application("tests.harness.travel", **application(pipeline_name))
    create_topics(app.pipeline, kafka)
    worker.start()
    settings = Settings(bootstrap_servers=kafka, database_url=database_url, schemas_dir=tmp_path / "schemas")
    rnd = random.Random(1)
    started = 0

    def load(client: Client, commands: int) -> None:
        futures = [
            client.submit(
                rnd.choice((app.Basket, app.Parcel)), f"id-{rnd.randrange(40)}", app.Add(rnd.choice("abc"), 1)
            )
            for _ in range(commands)
        ]
        for future in futures:
            future.result(60)

    with Client(app.pipeline, kafka, settings) as client:
        load(client, 300)
        wait_until(lambda: compare(app.pipeline, settings).checkpoints >= 2 * PARTITIONS, 30, "checkpoints")
        load(client, 300)
        with closing(Reader(kafka)) as reader:  # a commit is answered before its offsets can be read
            reader.wait_at_rest(pipeline_name, ["basket", "parcel"], 30)
        until = at_time(datetime.now(UTC))
        group = committed(kafka, pipeline_name)
        first = replay(app.pipeline, settings, until)
        assert (first.events, committed(kafka, pipeline_name)) == (600, group)
        for _ in range(4):
            load(client, 200)
            again = replay(app.pipeline, settings, until)
            assert (again.events, again.digest()) == (600, first.digest())
            started += sum(each.checkpoint is not None for each in again.partitions)
        whole = replay(app.pipeline, settings, from_log=True)
        assert whole.digest() == replay(app.pipeline, settings).digest()
        assert whole.events == 1400
    assert started > 0
    found = compare(app.pipeline, settings)
    assert (found.difference, found.skipped) == (None, [])
    assert found.states > 0
    assert worker.drain() == 0


def committed(kafka: str, group: str) -> dict[Any, Any]:
    """Offsets and members: what a replay must leave as they are."""
    reader = Reader(kafka)
    topics = [f"{group}.basket.commands", f"{group}.parcel.commands"]
    described = reader.admin.describe_consumer_groups([group])[group].result(10)
    offsets = {(each.topic, each.partition): each.offset for each in reader.committed(group, topics)}
    return {**offsets, "members": [each.client_id for each in described.members]}


def test_while_the_log_is_compacted(kafka: str, pipeline_name: str, tmp_path: Path) -> None:
    world = make_world(kafka, pipeline_name, tmp_path)
    topics = [f"{world.name}.{name}.events" for name in ("basket", "parcel")]
    add = world.app.Added
    for number in range(6):
        write_at_random(world, 30 + number, commands=40, begin_us=BEGIN_US + number * 1_000_000)
        world.log.append("basket", f"gone-{number}", [add("x", 1)] * 30, [BEGIN_US + number * 1_000_000] * 30)
        world.log.abort()
        world.log.append("parcel", f"id-{number}", [add("y", 1)], [BEGIN_US + number * 1_000_000 + 900_000])
        world.log.erase("parcel", f"id-{number}", 4_000)
        world.log.commit()
    until = AtTime(BEGIN_US + 4_500_000)
    first = world.replay(until)
    expect(world, first, lambda each: each.time <= until.time_us)
    before = sum(len(Reader(kafka).read(topic, "read_uncommitted")) for topic in topics)
    compact(kafka, topics)
    deadline, number, seen = time.monotonic() + 60, 6, before
    while seen >= before:  # what is appended is more than nothing, so fewer records than before were cleaned away
        assert time.monotonic() < deadline, "the cleaner did nothing"
        number += 1
        for item in "abc":
            world.log.append("basket", f"late-{item}", [add(item, 1)], [BEGIN_US + number * 1_000_000])
        world.log.commit()
        assert world.replay(until).digest() == first.digest()
        seen = sum(len(Reader(kafka).read(topic, "read_uncommitted")) for topic in topics)
    expect(world, world.replay(until), lambda each: each.time <= until.time_us)


def compact(kafka: str, topics: list[str]) -> None:
    """Tiny segments, no lag, always dirty."""
    settings = {
        "segment.ms": "100",
        "segment.bytes": "1048576",
        "min.cleanable.dirty.ratio": "0.0",
        "min.compaction.lag.ms": "0",
        "delete.retention.ms": "0",
    }
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            topic,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in settings.items()
            ],
        )
        for topic in topics
    ]
    admin = Reader(kafka).admin
    for future in admin.incremental_alter_configs(resources).values():
        future.result(10)

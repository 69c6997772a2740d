"""A pipeline whose log a test writes, replays of it here and in processes of their own, and what they must say."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from eventsrc.adapters.kafka.topics import create_topics
from eventsrc.codec.catalog import Catalog
from eventsrc.model.moments import Moment
from eventsrc.runtime.replaying import Replayed, replay
from eventsrc.runtime.settings import Settings
from tests.harness import travel_model
from tests.harness.applications import load_application
from tests.harness.brokers import wait_led
from tests.harness.collect import Reader
from tests.harness.travel_model import Event, closed_cut, fold
from tests.harness.wire import Schemas
from tests.harness.written_log import WrittenLog

SOURCE = str(Path(__file__).parents[2])
PARTITIONS = 3
BEGIN_US = 1_795_000_000_000_000
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@dataclass
class World:
    """A pipeline whose log a test writes, and replays of it."""

    name: str
    kafka: str
    directory: Path
    app: ModuleType
    log: WrittenLog

    @property
    def settings(self) -> Settings:
        return Settings(bootstrap_servers=self.kafka)

    def replay(self, until: Moment, **options: Any) -> Replayed:
        return replay(self.app.pipeline, self.settings, until, **options)

    def events(self) -> dict[travel_model.Place, list[Event]]:
        schemas = Schemas.of([json.loads(file.text()) for file in Catalog(self.app.pipeline, None).schemas()])
        reader = Reader(self.kafka)
        topics = [f"{self.name}.{name}.events" for name in ("basket", "parcel")]
        for topic in topics:
            reader.wait_stable(topic)  # a commit is answered before its markers are written
        records = [each for topic in topics for each in reader.read(topic)]
        return travel_model.read_events(records, schemas)

    def run(self, *words: str, seed: str = "0", exit_code: int = 0, out: bool = False, **environment: str) -> str:
        """Stdout of a command in a process of its own; where it exits with more than 1 and not `out`, stderr."""
        done = subprocess.run(
            [sys.executable, "-m", "eventsrc", *words],
            cwd=self.directory,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": SOURCE,
                "PYTHONHASHSEED": seed,
                "EVENTSRC_APP": "tests.harness.travel:pipeline",
                "EVENTSRC_TEST_PIPELINE": self.name,
                "EVENTSRC_TEST_PARTITIONS": str(PARTITIONS),
                "KAFKA_BOOTSTRAP_SERVERS": self.kafka,
                "TZ": "Europe/Berlin",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == exit_code, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout if out or exit_code in (0, 1) else done.stderr


def write_at_random(world: World, seed: int, commands: int = 250, begin_us: int = BEGIN_US) -> None:
    """Commands of one to three events, some caused by events whose writers' clocks are ahead, some transactions aborted."""
    rnd = random.Random(seed)
    clocks: dict[str, int] = {"basket": begin_us, "parcel": begin_us - 40_000}
    known: list[bytes] = []
    for number in range(commands):
        aggregate = rnd.choice(("basket", "basket", "parcel"))
        count = rnd.choice((1, 1, 1, 2, 3))
        times = []
        for _ in range(count):
            clocks[aggregate] += rnd.randrange(1, 2_000)
            times.append(clocks[aggregate])
        item = rnd.choice("abcdef")
        remove = aggregate == "basket" and rnd.random() < 0.2
        events = [
            world.app.Removed(item) if remove else world.app.Added(item, rnd.randrange(100)) for _ in range(count)
        ]
        cause = rnd.choice(known[-10:]) if known and rnd.random() < 0.3 else None
        known.append(world.log.append(aggregate, f"id-{rnd.randrange(20)}", events, times, cause))
        if number % 25 == 24:
            world.log.commit()
    world.log.commit()


def expect(world: World, replayed: Replayed, asked: Callable[[Event], bool]) -> None:
    """The replay holds exactly the events of the smallest closed cut, and says so by its positions, counts and digest."""
    log = world.events()
    counts = closed_cut(log, asked)
    inside = [each for place, events in log.items() for each in events[: counts[place]]]
    for place, events in log.items():
        position = replayed.cut[f"{place[0]}/{place[1]}"]
        assert sum(each.offset < position for each in events) == counts[place], place
    states = fold(inside)
    assert (replayed.events, replayed.aggregates) == (len(inside), len(states))
    assert replayed.digest() == travel_model.digest(states)
    wanted = sum(next((n for n, each in enumerate(events) if not asked(each)), len(events)) for events in log.values())
    assert replayed.completed + replayed.caused == len(inside) - wanted


def make_world(kafka: str, name: str, directory: Path) -> World:
    """With topics, and nothing in them."""
    app = load_application(
        "tests.harness.travel", EVENTSRC_TEST_PIPELINE=name, EVENTSRC_TEST_PARTITIONS=str(PARTITIONS)
    )
    wait_led(kafka, create_topics(app.pipeline, kafka).created)
    return World(name, kafka, directory, app, WrittenLog(app.pipeline, kafka))

"""Replays that start from checkpoints say what replays of the whole log say, whatever became of some checkpoints."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventsrc.adapters.postgres import upgrading
from eventsrc.adapters.postgres.store import PostgresSnapshots
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.moments import AtPositions, AtTime, Moment, Place, parse_moment
from eventsrc.model.snapshot import StoredCheckpoint
from eventsrc.runtime.replaying import Replayed, replay
from eventsrc.runtime.settings import Settings
from eventsrc.runtime.starting_points import topic_ids
from tests.harness.collect import Reader
from tests.harness.taken_checkpoints import Taker
from tests.harness.travel_model import is_half
from tests.harness.travel_world import BEGIN_US, NOW, PARTITIONS, World, expect, make_world, write_at_random


@dataclass
class Kept:
    """A world whose partitions have checkpoints."""

    world: World
    database_url: str
    store: PostgresSnapshots

    def replay(self, until: Moment, **options: Any) -> Replayed:
        settings = Settings(bootstrap_servers=self.world.kafka, database_url=self.database_url)
        return replay(self.world.app.pipeline, settings, until, **options)

    def take(
        self, places: list[tuple[str, int]], shares: tuple[float, ...], version: int | None = None
    ) -> list[StoredCheckpoint]:
        """Of each partition, one at about each share of its events; each is fuzzy up to a tenth further."""
        pipeline = self.world.app.pipeline
        topics = topic_ids(pipeline, self.world.kafka, None)
        log = self.world.events()
        rnd = random.Random(9)
        taken = []
        for aggregate, number in places:
            records = Reader(self.world.kafka).read(f"{self.world.name}.{aggregate}.events")
            taker = Taker(pipeline, self.store, PartitionKey(aggregate, number), topics[aggregate], records)
            events = log[aggregate, number]
            whole = [events[n].offset + 1 for n in range(len(events)) if not is_half(events[: n + 1])]
            for share in shares:
                below = whole[int(share * (len(whole) - 1))]
                seen_below = whole[min(int((share + 0.1) * len(whole)), len(whole) - 1)]
                taken.append(taker.take(below, max(seen_below, below), rnd, version))
        return taken

    def take_altered(self, place: tuple[str, int], alter: str) -> StoredCheckpoint:
        """Of everything, and wrong in one way."""
        pipeline = self.world.app.pipeline
        topics = topic_ids(pipeline, self.world.kafka, None)[place[0]]
        records = Reader(self.world.kafka).read(f"{self.world.name}.{place[0]}.events")
        taker = Taker(pipeline, self.store, PartitionKey(*place), topics, records)
        end = self.world.events()[place][-1].offset + 1
        return taker.take(end, end, random.Random(0), alter=alter)


@pytest.fixture
def kept(kafka: str, database_url: str, pipeline_name: str, tmp_path: Path) -> Iterator[Kept]:
    upgrading.upgrade(database_url)
    world = make_world(kafka, pipeline_name, tmp_path)
    store = PostgresSnapshots(database_url, pipeline_name)
    yield Kept(world, database_url, store)
    store.close()


def every_place(world: World) -> list[tuple[str, int]]:
    return sorted(world.events())


def started(replayed: Replayed) -> int:
    return sum(each.checkpoint is not None for each in replayed.partitions)


def test_from_checkpoints_as_from_the_log(kept: Kept) -> None:
    world = kept.world
    write_at_random(world, 11)
    kept.take(every_place(world), (0.2, 0.5, 0.8))
    times = sorted(each.time for events in world.events().values() for each in events)
    used = []
    for share in (0, 0.4, 0.55, 0.7, 1):
        time_us = times[int(share * (len(times) - 1))]
        replayed = kept.replay(AtTime(time_us))
        expect(world, replayed, lambda each, until=time_us: each.time <= until)  # type: ignore[misc]  # a default binds it
        used.append(started(replayed))
    assert (used[0], used[-1]) == (0, 2 * PARTITIONS)
    assert replayed.notes == []
    log = world.events()
    positions = {place: events[int(len(events) * 0.7)].offset for place, events in log.items()}
    replayed = kept.replay(AtPositions({Place(*place): position for place, position in positions.items()}))
    expect(world, replayed, lambda each: each.offset < positions[each.aggregate, each.partition])
    assert started(replayed) == len(positions)
    expect(world, kept.replay(parse_moment("end", NOW)), lambda _: True)
    expect(world, kept.replay(parse_moment("start", NOW)), lambda _: False)


def test_digests_agree_across_processes_seeds_and_starting_points(kept: Kept) -> None:
    write_at_random(kept.world, 12, commands=120)
    kept.take(every_place(kept.world), (0.3, 0.6))
    until = str(AtTime(BEGIN_US + 90_000))
    runs = [
        kept.world.run("replay", "--until", until, "--json", seed=seed, DATABASE_URL=kept.database_url)
        for seed in ("0", "31")
    ]
    runs.append(
        kept.world.run("replay", "--until", until, "--json", "--from-log", seed="7", DATABASE_URL=kept.database_url)
    )
    assert runs[0] == runs[1] == runs[2]
    shown = kept.world.run("replay", "--until", until, DATABASE_URL=kept.database_url)
    assert f"nearest checkpoints: {2 * PARTITIONS} of {2 * PARTITIONS}, " in shown
    said = json.loads(runs[0])
    assert said["digest"] in shown
    typed = next(line.split("cut ")[1] for line in shown.splitlines() if line.startswith("  cut @"))
    again = json.loads(kept.world.run("replay", "--until", typed, "--json", DATABASE_URL=kept.database_url))
    assert {**again, "until": until} == said


def test_one_id_from_a_checkpoint(kept: Kept) -> None:
    world = kept.world
    write_at_random(world, 13)
    kept.take(every_place(world), (0.2, 0.5, 0.8))
    basket = world.app.pipeline.aggregates["basket"]
    used = 0
    for number in range(20):
        last = kept.replay(parse_moment("end", NOW), aggregate=basket, id=f"id-{number}", from_log=True)
        for moment in ("end", str(AtTime(BEGIN_US + 120_000)), f"#{max(last.events // 2, 1)}"):
            asked = parse_moment(moment, NOW)
            one = kept.replay(asked, aggregate=basket, id=f"id-{number}")
            log = kept.replay(asked, aggregate=basket, id=f"id-{number}", from_log=True)
            assert (one.cut, one.events, one.aggregates, one.digest()) == (
                log.cut,
                log.events,
                log.aggregates,
                log.digest(),
            )
            used += started(one)
    assert used > 20


def test_what_cannot_be_used_is_passed_over_and_said(kept: Kept) -> None:
    world = kept.world
    write_at_random(world, 14)
    (older, newer) = kept.take([("basket", 0)], (0.3, 0.7))
    kept.take([("basket", 1)], (0.5,), version=7)
    kept.take([("basket", 2)], (0.5,))
    kept.take([("parcel", 0)], (0.5,))
    with psycopg.connect(kept.database_url, autocommit=True) as database:
        segment = newer.runs[0][0].id
        database.execute(
            "UPDATE eventsrc.segment SET block = set_byte(block, 20, get_byte(block, 20) # 1) WHERE id = %s", [segment]
        )
        database.execute(
            "UPDATE eventsrc.checkpoint SET position = position + 1 WHERE partition = 2 AND aggregate = 'basket'"
        )
    replayed = kept.replay(parse_moment("end", NOW))
    expect(world, replayed, lambda _: True)
    used = {str(each.place): each.checkpoint.id for each in replayed.partitions if each.checkpoint is not None}
    assert used["basket/0"] == older.id
    assert set(used) == {"basket/0", "parcel/0"}
    said = "\n".join(replayed.notes)
    assert (
        f"basket/0: checkpoint {newer.id} is passed over: segment {segment} has other bytes than were written" in said
    )
    assert "folded by version 7 of the aggregate; the code has version 1" in said
    assert said.count("basket/2: checkpoint") == 1


def test_without_a_database_the_log_serves(kept: Kept) -> None:
    write_at_random(kept.world, 15, commands=60)
    kept.take([("basket", 0)], (0.5,))
    settings = Settings(bootstrap_servers=kept.world.kafka, database_url="postgresql://127.0.0.1:1/nowhere")
    replayed = replay(kept.world.app.pipeline, settings, parse_moment("end", NOW))
    expect(kept.world, replayed, lambda _: True)
    assert [note.partition(":")[0] for note in replayed.notes] == ["no checkpoints"]


def test_a_cause_above_the_cut_is_found_though_its_effect_lies_below_a_checkpoint(kept: Kept) -> None:
    world = kept.world
    add = world.app.Added
    cause = world.log.append("parcel", "p-1", [add("a", 1)], [BEGIN_US + 50_000])
    world.log.append("basket", "tea", [add("a", 1)], [BEGIN_US], cause)
    for number in range(5):
        world.log.append("basket", "tea", [add("b", 1)], [BEGIN_US + 1000 * (number + 1)])
    world.log.commit()
    kept.take([place for place in every_place(world) if place[0] == "basket"], (0.8,))
    replayed = kept.replay(AtTime(BEGIN_US + 5_000))
    assert started(replayed) == 1
    assert replayed.caused == 1
    expect(world, replayed, lambda each: each.time <= BEGIN_US + 5_000)


def test_a_replay_cannot_write_to_the_database(kept: Kept) -> None:
    from eventsrc.adapters.postgres.reading import read_only_snapshots
    from eventsrc.errors import SnapshotsUnavailable

    store = read_only_snapshots(kept.database_url, kept.world.name, "test")
    with pytest.raises(SnapshotsUnavailable, match="read-only"):
        store.claim(PartitionKey("basket", 0), 5, "topic")
    store.close()


def compared(kept: Kept, *words: str, exit_code: int = 0) -> Any:
    return json.loads(
        kept.world.run("replay", "--compare", "--json", *words, exit_code=exit_code, DATABASE_URL=kept.database_url)
    )


def test_sound_checkpoints_are_what_the_log_folds_to(kept: Kept) -> None:
    write_at_random(kept.world, 16, commands=120)
    taken = kept.take(every_place(kept.world), (0.3, 0.9))
    said = compared(kept)
    assert said["difference"] is None
    assert said["checkpoints"] == len(taken)
    assert said["states"] == sum(each.states for each in taken)
    shown = kept.world.run("replay", "--compare", DATABASE_URL=kept.database_url)
    assert f"{said['states']} states in {len(taken)} checkpoints are what the log folds to" in shown
    assert "only --aggregate goes with it" in kept.world.run("replay", "--compare", "--until", "-1m", exit_code=2)


@pytest.mark.parametrize(
    ("alter", "field"),
    [("field", "total"), ("lacking", "sequence"), ("above", "sequence"), ("events", "events")],
)
def test_the_first_difference_is_named(kept: Kept, alter: str, field: str) -> None:
    add = kept.world.app.Added
    for number in range(4):
        kept.world.log.append("basket", "tea", [add("a", 1)], [BEGIN_US + number])
    kept.world.log.append("basket", "tea", [kept.world.app.Removed("a")], [BEGIN_US + 9])
    kept.world.log.commit()
    (place,) = every_place(kept.world)
    taken = kept.take_altered(place, alter)
    said = compared(kept, exit_code=1)["difference"]
    assert (said["aggregate"], said["partition"], said["checkpoint"]) == (*place, str(taken.id))
    assert said["field"] == field
    if alter == "field":
        assert (said["id"], said["sequence"], said["stored"], said["folded"]) == ("tea", 5, 77, 0)
    elif alter == "lacking":
        assert (said["id"], said["stored"], said["folded"]) == ("tea", None, 5)
    elif alter == "above":
        assert (said["id"], said["sequence"], said["stored"], said["folded"]) == ("tea", 9, 9, 5)
    shown = kept.world.run("replay", "--compare", exit_code=1, DATABASE_URL=kept.database_url)
    assert f"checkpoint {taken.id} of basket/{place[1]} is not what the log folds to" in shown


def test_damaged_checkpoints_are_told_and_the_others_compared_all_the_same(kept: Kept) -> None:
    write_at_random(kept.world, 17, commands=60)
    without_block, without_row, _sound = kept.take([("basket", 0), ("basket", 1)], (0.3, 0.6))[:3]
    before = compared(kept)
    with psycopg.connect(kept.database_url, autocommit=True) as database:
        database.execute("DELETE FROM eventsrc.segment WHERE id = %s", [without_block.runs[0][0].id])
        database.execute("UPDATE eventsrc.checkpoint SET term = term + 1 WHERE id = %s", [without_row.id])
    said = compared(kept, exit_code=1)
    reasons = {each["checkpoint"]: each["reason"] for each in said["damaged"]}
    assert reasons.keys() == {str(without_block.id), str(without_row.id)}
    assert reasons[str(without_block.id)] == f"segment {without_block.runs[0][0].id} is missing"
    assert said["difference"]["checkpoint"] in reasons
    assert said["checkpoints"] == before["checkpoints"] - 2 > 0
    shown = kept.world.run("replay", "--compare", exit_code=1, DATABASE_URL=kept.database_url)
    assert f"damaged, and never used: checkpoint {without_row.id} of basket/" in shown
    assert "are what the log folds to" in shown

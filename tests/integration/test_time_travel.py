"""Replays against a fold of the test's own, written from the wire contract alone, over logs with crafted times and causes."""

from __future__ import annotations

import json
import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eventsrc import Client
from eventsrc.model.moments import AtPositions, AtTime, Place, parse_moment
from eventsrc.runtime.settings import Settings
from tests.harness import travel_model
from tests.harness.travel_model import closed_cut, fold
from tests.harness.travel_world import BEGIN_US, NOW, PARTITIONS, World, expect, make_world, write_at_random


@pytest.fixture
def world(kafka: str, pipeline_name: str, tmp_path: Path) -> World:
    return make_world(kafka, pipeline_name, tmp_path)


def test_a_time_means_the_smallest_closed_cut_that_holds_everything_up_to_it(world: World) -> None:
    write_at_random(world, 1)
    times = sorted(each.time for events in world.events().values() for each in events)
    moved = 0
    for time_us in [times[0] - 1, *random.Random(2).sample(times, 10), times[-1]]:
        replayed = world.replay(AtTime(time_us))
        expect(world, replayed, lambda each, until=time_us: each.time <= until)  # type: ignore[misc]  # a default binds it
        moved += replayed.caused
    assert moved > 0


@pytest.mark.parametrize("timestamp_ms", [1, BEGIN_US // 1000 + 10_000_000])
def test_the_time_of_an_event_is_the_one_in_its_meta_whatever_its_record_says(world: World, timestamp_ms: int) -> None:
    world.log.timestamp_ms = timestamp_ms
    write_at_random(world, 9, commands=80)
    for time_us in (BEGIN_US + 10_000, BEGIN_US + 40_000):
        replayed = world.replay(AtTime(time_us))
        expect(world, replayed, lambda each, until=time_us: each.time <= until)  # type: ignore[misc]  # a default binds it


def test_positions_mean_the_smallest_closed_cut_too(world: World) -> None:
    write_at_random(world, 3)
    log = world.events()
    rnd = random.Random(4)
    for _ in range(6):
        positions = {place: rnd.choice(events).offset for place, events in log.items() if rnd.random() < 0.7}
        replayed = world.replay(AtPositions({Place(*place): position for place, position in positions.items()}))
        expect(
            world,
            replayed,
            lambda each, at=positions: each.offset < at.get((each.aggregate, each.partition), 1 << 62),  # type: ignore[misc]  # a default binds it
        )
        again = world.replay(parse_moment("@" + ",".join(f"{k}:{v}" for k, v in replayed.cut.items()), NOW))
        assert (again.cut, again.digest(), again.caused, again.completed) == (replayed.cut, replayed.digest(), 0, 0)


def test_start_is_empty_and_end_is_everything_committed(world: World) -> None:
    write_at_random(world, 5, commands=60)
    world.log.append("basket", "id-1", [world.app.Added("z", 1)], [BEGIN_US + 10_000_000])
    world.log.abort()
    expect(world, world.replay(parse_moment("end", NOW)), lambda _: True)
    start = world.replay(parse_moment("start", NOW))
    expect(world, start, lambda _: False)
    assert start.digest() == "0" * 32
    expect(world, world.replay(parse_moment("2999-01-01", NOW)), lambda _: True)


def test_digests_agree_across_processes_and_hash_seeds(world: World) -> None:
    write_at_random(world, 6, commands=80)
    until = str(AtTime(BEGIN_US + 40_000))
    said = [json.loads(world.run("replay", "--until", until, "--json", seed=seed)) for seed in ("0", "1", "4242")]
    assert said[0] == said[1] == said[2]
    assert list(said[0]) == ["until", "cut", "events", "aggregates", "digest"]
    here = world.replay(AtTime(BEGIN_US + 40_000))
    assert said[0] == {
        "until": until,
        "cut": here.cut,
        "events": here.events,
        "aggregates": here.aggregates,
        "digest": here.digest(),
    }


def test_one_aggregate_and_one_id(world: World) -> None:
    write_at_random(world, 7, commands=80)
    log = world.events()
    baskets = {place: events for place, events in log.items() if place[0] == "basket"}
    basket = world.app.pipeline.aggregates["basket"]
    replayed = world.replay(AtTime(BEGIN_US + 40_000), aggregate=basket)
    counts = closed_cut(baskets, lambda each: each.time <= BEGIN_US + 40_000)
    states = fold(each for place, events in baskets.items() for each in events[: counts[place]])
    assert set(replayed.cut) == {f"basket/{number}" for number in range(PARTITIONS)}
    assert replayed.digest() == travel_model.digest(states)

    key, (sequence, _) = max(states.items(), key=lambda each: each[1][0])
    one = world.replay(AtTime(BEGIN_US + 40_000), aggregate=basket, id=key[1].decode())
    assert (one.events, one.aggregates, len(one.cut)) == (sequence, 1, 1)
    assert one.digest() == travel_model.digest({key: states[key]})
    back = world.replay(parse_moment(f"#{sequence}", NOW), aggregate=basket, id=key[1].decode())
    assert back.digest() == one.digest()
    nobody = world.replay(AtTime(BEGIN_US + 40_000), aggregate=basket, id="nobody")
    assert (nobody.events, nobody.aggregates, nobody.digest()) == (0, 0, "0" * 32)


def test_a_command_is_shown_whole_however_its_events_lie_around_the_moment(world: World) -> None:
    add = world.app.Added
    world.log.append("basket", "tea", [add("a", 1)], [BEGIN_US])
    world.log.append(
        "basket", "tea", [add("a", 2), add("a", 4), add("a", 8)], [BEGIN_US + n for n in (999, 1000, 1001)]
    )
    world.log.append("basket", "tea", [add("a", 16)], [BEGIN_US + 1500])
    world.log.commit()
    with Client(world.app.pipeline, world.kafka, Settings()) as client:

        def total(at: datetime | str) -> int:
            basket = client.get(world.app.Basket, "tea", at=at)
            return 0 if basket is None else basket.total

        begin = datetime.fromtimestamp(BEGIN_US // 1_000_000, UTC)
        assert [total(begin + timedelta(microseconds=us)) for us in (-1, 0, 998, 999, 1000, 1001, 1499, 1500)] == [
            0, 1, 1, 15, 15, 15, 15, 31,
        ]  # fmt: skip
        assert [total(at) for at in ("start", "#1", "#2", "#3", "#4", "#5", "end")] == [0, 1, 15, 15, 15, 31, 31]
        place = next(place for place, events in world.events().items() if events)
        offsets = [each.offset for each in world.events()[place]]
        assert [total(f"@basket/{place[1]}:{offset}") for offset in offsets] == [0, 1, 15, 15, 15]


def test_states_are_written_to_files_as_the_replay_has_them(world: World) -> None:
    write_at_random(world, 8, commands=60)
    until = str(AtTime(BEGIN_US + 30_000))
    counts = closed_cut(log := world.events(), lambda each: each.time <= BEGIN_US + 30_000)
    states = fold(each for place, events in log.items() for each in events[: counts[place]])
    expected = [
        {"aggregate": name, "id": key.decode(), "sequence": sequence, "state": state, "at": until}
        for (name, key), (sequence, state) in sorted(states.items())
    ]
    first = next(each for each in expected if each["aggregate"] == "basket")
    world.run("replay", "--until", until, "--into", "states.jsonl")
    lines = (world.directory / "states.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == expected
    assert json.loads(world.run("show", "Basket", str(first["id"]), "--at", until, "--json")) == first

    refused = world.run("replay", "--until", until, "--into", "states.jsonl", exit_code=2)
    assert "exists already; --force overwrites it" in refused
    world.run("replay", "--until", "start", "--into", "states.jsonl", "--force")
    assert (world.directory / "states.jsonl").read_text() == ""

    world.run("replay", "--until", until, "--into", "sqlite:before.db")
    with sqlite3.connect(world.directory / "before.db") as database:
        rows = database.execute("SELECT id, sequence, owner, total, items, history FROM basket ORDER BY id").fetchall()
    database.close()
    assert [(row[0], row[1], row[2], row[3], json.loads(row[4]), json.loads(row[5])) for row in rows] == [
        (name.decode(), sequence, *state.values())
        for (aggregate, name), (sequence, state) in sorted(states.items())
        if aggregate == "basket"
    ]
    world.run("replay", "--until", until, "--aggregate", "Parcel", "--into", "parcels.csv")
    head, *rest = (world.directory / "parcels.csv").read_text().splitlines()
    assert head == "id,sequence,contents"
    assert len(rest) == sum(each["aggregate"] == "parcel" for each in expected)
    assert sorted(path.name for path in world.directory.iterdir()) == ["before.db", "parcels.csv", "states.jsonl"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--until", "yesterday"], "'yesterday' is not a time: write 2026-11-22T10:00:00Z"),
        (["--until", "@p0:1"], "does not say of which aggregate p0 is: write @basket/0:1"),
        (["--until", "@basket/3:1"], "names partition 3 of basket, which has 3, from 0 on"),
        (["--until", "@cup/0:1"], "names cup, which is no aggregate here: there are basket, parcel"),
        (["--until", "@basket/0:99"], "basket/0:99 is above what is committed: basket/0 ends at"),
        (["--until", "#3"], "#3 is a sequence of one aggregate: name it, with --aggregate and --id"),
        (["--id", "x"], "--id needs --aggregate"),
        (["--aggregate", "Cup"], "Cup"),
        (["--into", "states.xml"], "write a path that ends with .jsonl or .csv, or sqlite:PATH"),
        (["--into", "states.csv"], "a CSV file has the columns of one aggregate: add --aggregate (basket, parcel)"),
        (["--into", "nowhere/states.jsonl"], "there is no directory nowhere"),
    ],
)
def test_each_mistake_has_its_sentence_and_exit_code_2(world: World, words: list[str], message: str) -> None:
    assert message in world.run("replay", *words, exit_code=2)


def test_a_moved_cut_says_by_how_much_and_why(world: World) -> None:
    add = world.app.Added
    cause = world.log.append("basket", "tea", [add("a", 1), add("b", 2)], [BEGIN_US + 5_000, BEGIN_US + 5_001])
    world.log.append("parcel", "p-1", [add("a", 1)], [BEGIN_US], cause)
    world.log.commit()
    until = str(AtTime(BEGIN_US))
    shown = world.run("replay", "--until", until)
    assert "3 events, 2 aggregates, cut closed at" in shown
    assert "(2 events later than asked: 2 effects of earlier causes)" in shown
    assert "digest " in shown
    assert f"until @basket/0:0 ({2 * PARTITIONS - 1} partitions not named: to the end)" in world.run(
        "replay", "--until", "@basket/0:0"
    )
    timeline = world.run("log", "Basket", "tea", "--diff").splitlines()
    assert 'owner "" -> "tea", total 0 -> 1, items.a (none) -> 1, history + "+a"' in timeline[0]
    assert 'items.b (none) -> 2, history + "+b"' in timeline[1]
    assert world.run("log", "Basket", "tea", "--until", "#1").count("\n") == 2
    typed = timeline[1].split("  Added")[0].strip().removeprefix("2").strip()
    assert "sequence 2, at" in world.run("show", "Basket", "tea", "--at", typed)

"""Logs and positions that a checkpoint knows better: truncated topics, lost group offsets, deleted commands, clocks that
jump: rows 26, 28 and 34."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from tests.fault.scene import ROUNDS, Scene, busy
from tests.fault.test_topics import deposits
from tests.harness import shifted_clock
from tests.harness.collect import wait_until
from tests.harness.wire import parse_event_key

SEEDS = range(ROUNDS)
SHIFTED_CLOCK = Path(shifted_clock.__file__).parent


def delete_group(scene: Scene) -> None:
    admin = scene.reader.admin

    def deleted() -> bool:
        try:
            admin.delete_consumer_groups([scene.name])[scene.name].result(10)
        except Exception as busy:  # noqa: BLE001 - a static member holds the group until its session ends
            return "GroupIdNotFound" in str(busy) or "does not exist" in str(busy)
        return True

    wait_until(deleted, 60, "the group is deleted")


def delete_commands(scene: Scene) -> None:
    """All that were processed, as retention does."""
    places = [
        TopicPartition(e.topic, e.partition, e.offset) for e in scene.reader.committed(scene.name, [scene.commands])
    ]
    for future in scene.reader.admin.delete_records(places).values():
        future.result(20)


def set_clock(clock: Path, shift_s: int) -> None:
    """Replaced at once: a worker reads it at any time."""
    written = clock.with_suffix(".new")
    written.write_text(str(shift_s))
    written.replace(clock)


def test_commands_that_were_deleted_after_they_were_processed_are_not_missed(scene: Scene) -> None:
    """As in every pipeline that is older than the retention: the offset 0, at which a partition is assigned, is gone."""
    client = scene.client()
    worker = scene.started()
    for seed in range(3):
        scene.send_all(client, deposits(60), seed)
        assert client.wait_answered(60), worker.log()
        assert worker.drain() == 0
        delete_commands(scene)
        worker.start()
        worker.wait_log(r"(?s)(.* open after){4}")
        assert "halted" not in worker.log()
    client.close()


def test_lost_group_offsets_are_found_in_the_checkpoints(stored_scene: Scene) -> None:
    """Row 28: the commands were processed, their offsets are gone, and then retention has deleted them: the checkpoints
    know where to go on, at every later start too, whether or not a command came between."""
    scene = stored_scene
    client = scene.client()
    scene.send_all(client, deposits(60))
    worker = scene.started()
    assert client.wait_answered(60), worker.log()
    positions = scene.committed_all()
    covered = "SELECT partition, commands_position FROM eventsrc.checkpoint ORDER BY position"
    wait_until(lambda: dict(scene.database.sql(covered)) == positions, 60, "checkpoints of all")
    assert worker.drain() == 0
    delete_commands(scene)
    delete_group(scene)
    worker.start()
    worker.wait_log(r"(?s)(.*the committed offset was missing){4}")
    worker.wait_log(r"(?s)(.* open after){4}")
    worker.kill()
    worker.start()
    worker.wait_log(r"(?s)(.* open after){4}")
    scene.send_all(client, deposits(30), seed=2)
    assert client.wait_answered(60), worker.log()
    evidence = scene.evidence()
    client.close()
    applied = [record for record in evidence.committed_view if parse_event_key(record.key or b"")]
    assert len({record.key for record in applied}) == len(applied) == 90


@pytest.mark.parametrize("seed", SEEDS)
def test_clocks_jump(stored_scene: Scene, tmp_path: Path, seed: int) -> None:
    """Row 34: by minutes, either way, under a running worker and between one and the next; and by more than Kafka would
    take for a record's time."""
    rnd = random.Random(seed)
    scene = stored_scene
    clock = tmp_path / "clock"
    set_clock(clock, 0)
    environment = {"EVENTSRC_TEST_CLOCK": str(clock), "PYTHONPATH": f"{SHIFTED_CLOCK}:{Path(__file__).parents[2]}"}
    traffic = busy(scene, seed)
    worker = scene.worker()
    worker.start(**environment)
    for jump_s in rnd.sample([-1800, -300, -20, 20, 300, 1800, 9000], 5):
        scene.wait_checkpoints(2)
        set_clock(clock, jump_s)
        scene.wait_committed(scene.committed() + 30)
        if rnd.random() < 0.4:
            worker.kill()
            worker.start(**environment)
    set_clock(clock, 0)
    scene.wait_checkpoints(4)
    traffic.stop()
    evidence = scene.verdict()
    times = [record.timestamp_ms for record in evidence.committed_view]
    assert max(times) - min(times) > 15_000
    assert "Traceback" not in worker.log(whole=True)

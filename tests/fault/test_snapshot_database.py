"""Postgres killed, away, silent, restored from an older copy, or with rows lost and falsified: rows 22, 23, 24 and 46.

Every verdict judges each checkpoint that is kept against the log (I6), except those that the test itself has damaged.
"""

from __future__ import annotations

import random
import time

import pytest
from confluent_kafka import IsolationLevel

from tests.fault.scene import ROUNDS, Scene, busy
from tests.harness.collect import wait_until
from tests.harness.workers import Worker

SEEDS = range(ROUNDS)
DRAIN_AND_STALL_S = 30.0
"""A connection that hangs is given up by itself after 60 s: a drain that waits for that takes longer."""
ON_END_S = 4.0
"""Shorter than any wait for a database that blocks (5 s and more), so that a worker that waits now and then is never up
to date for that long."""


def wait_up_to_date(scene: Scene, rate: float) -> None:
    """Until, for some seconds on end, what waits to be processed is never more than one second brings. A machine that
    stalls begins anew."""
    since_s = time.monotonic()

    def kept_up() -> bool:
        nonlocal since_s
        ends = scene.reader.ends(scene.commands, IsolationLevel.READ_COMMITTED)
        if sum(ends.values()) - scene.committed() > rate:
            since_s = time.monotonic()
        return time.monotonic() - since_s > ON_END_S

    wait_until(kept_up, 60, f"processing goes on at its rate\n{scene.logs()}")


def wait_failing(worker: Worker) -> None:
    worker.wait_log(r"no checkpoint can be written: .*Processing goes on")


@pytest.mark.parametrize("seed", SEEDS)
def test_postgres_is_killed_under_load_and_away_at_a_takeover(stored_scene: Scene, seed: int) -> None:
    """Rows 22 and 46: processing goes on at its rate, with a warning; a takeover reads the log alone; afterwards all that
    has changed meanwhile is in the checkpoints."""
    scene, rate = stored_scene, 60.0
    traffic = busy(scene, seed, rate)
    worker = scene.started()
    scene.wait_checkpoints(4)
    scene.database.server.kill()
    wait_failing(worker)
    wait_up_to_date(scene, rate)
    worker.kill()
    worker.start()
    worker.wait_log("recover from their logs alone")
    scene.wait_committed(scene.committed() + 30)
    scene.database.server.start()
    worker.wait_log("snapshots are written again")
    scene.wait_checkpoints(8)
    worker.kill()
    worker.start()
    worker.wait_log("the checkpoint at position")
    traffic.stop()
    scene.verdict()
    assert "Traceback" not in worker.log(whole=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_postgres_does_not_answer(stored_scene: Scene, seed: int) -> None:
    """Row 22: connections stay open, and nothing comes. Nobody waits for it but the checkpoints: not the commands, not a
    drain, and a takeover no longer than its deadline."""
    scene, rate = stored_scene, 60.0
    traffic = busy(scene, seed, rate)
    worker = scene.started()
    scene.wait_checkpoints(4)
    with scene.database.proxy.silent():
        wait_up_to_date(scene, rate)
        began_s = time.monotonic()
        assert worker.drain() == 0
        assert time.monotonic() - began_s < DRAIN_AND_STALL_S
        worker.start()
        worker.wait_log("the snapshot store has not answered")
        scene.wait_committed(scene.committed() + 30)
    scene.wait_checkpoints(8)
    traffic.stop()
    scene.verdict()
    assert "Traceback" not in worker.log(whole=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_connections_are_lost_at_statements(stored_scene: Scene, seed: int) -> None:
    """Rows 6 and 22: a COMMIT whose outcome is not known, and others that never arrived. The outcome is read, not guessed."""
    rnd = random.Random(seed)
    scene = stored_scene
    traffic = busy(scene, seed)
    worker = scene.started()
    scene.wait_checkpoints(4)
    texts = [
        b"COMMIT",
        b"COMMIT",
        b"COPY eventsrc.segment",
        b"INSERT INTO eventsrc.checkpoint",
        b"UPDATE eventsrc.head",
    ]
    rnd.shuffle(texts)
    for text in texts:
        scene.database.proxy.lose(text, "before").wait_hit()
        scene.wait_checkpoints(1)
        scene.database.proxy.lose(text, "after").wait_hit()
        scene.wait_checkpoints(1)
    traffic.stop()
    scene.verdict()
    assert "Traceback" not in worker.log()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_database_is_restored_from_an_older_copy(stored_scene: Scene, seed: int) -> None:
    """Row 23: under a running worker, which then holds checkpoints that do not exist, and at rest: a longer replay, the
    same state."""
    scene = stored_scene
    traffic = busy(scene, seed)
    worker = scene.started()
    scene.wait_checkpoints(6)
    copy = scene.database.copied()
    scene.wait_checkpoints(6)
    worker.kill()
    worker.start()
    scene.wait_checkpoints(6)
    scene.database.put_back(copy)
    wait_failing(worker)
    worker.wait_log("snapshots are written again")
    scene.wait_checkpoints(6)
    worker.kill()
    scene.database.put_back(copy)
    worker.start()
    worker.wait_log(r"the checkpoint at position \d+ and [1-9]\d* events after it")
    scene.wait_checkpoints(6)
    traffic.stop()
    scene.verdict()


DAMAGES = ["head rows", "newest segments", "a bit of each newest segment", "a value of each head row", "all segments"]


def damage(scene: Scene, what: str, rnd: random.Random) -> None:
    database = scene.database
    if what == "head rows":
        database.delete_head_checkpoints()
    elif what == "newest segments":
        database.delete_newest_segments()
    elif what == "a bit of each newest segment":
        database.flip_newest_segments(rnd)
    elif what == "a value of each head row":
        database.falsify_head_checkpoints(rnd)
    else:
        database.delete_all_segments()


def wait_told(worker: Worker, partitions: set[str], what: str) -> None:
    def told() -> bool:
        lines = [line for line in worker.log().splitlines() if "recovers from further back" in line]
        return all(any(partition in line for line in lines) for partition in partitions)

    wait_until(told, 60, f"{what}: {partitions} recover from further back\n{worker.log()}")


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_are_lost_and_falsified(stored_scene: Scene, seed: int) -> None:
    """Rows 24 and 46: recovery falls back to an older checkpoint, or to the log, and says so; the checkpoints that follow
    hold what lies between. Under a running worker, that one notices when it merges, or its successor does: neither ever
    passes a wrong state on."""
    rnd = random.Random(seed)
    scene = stored_scene
    traffic = busy(scene, seed)
    worker = scene.started()
    for number, what in enumerate(rnd.sample(DAMAGES, len(DAMAGES))):
        scene.wait_checkpoints(6)
        at_rest = number % 2 == 0
        if at_rest:
            worker.kill()
        damage(scene, what, rnd)
        if at_rest:
            damaged = {f"partition account/{number} " for number in scene.database.heads()}
            worker.start()
            wait_told(worker, damaged, what)
    scene.wait_checkpoints(6)
    worker.kill()
    scene.database.excuse_extensions()
    worker.start()
    scene.wait_checkpoints(6)
    traffic.stop()
    scene.verdict()

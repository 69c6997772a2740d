"""Workers that die or stop around their checkpoints, and recover from them: rows 5, 6, 7, 10, 46 and 47.

Every verdict judges each checkpoint that is kept against the log (I6).
"""

from __future__ import annotations

import random
import signal
import time

import pytest

from eventsrc.faultpoints import SNAPSHOT_POINTS
from eventsrc.runtime.restarts import EXIT_FENCED
from tests.fault.scene import ROUNDS, Scene, busy

SEEDS = range(ROUNDS)
LOCK_AND_IDLE_S = 10.0
"""A stopped writer is cut off by the database after 5 s; whoever waits for its lock gives up after 5 s."""
START_AND_STALL_S = 40.0
"""Until a process has started and recovered, on a machine that may stall meanwhile."""


def points_of(seed: int) -> list[str]:
    """Every statement in every round: before it, or (odd rounds) after it, which is before the next; and every outcome."""
    side = "before" if seed % 2 == 0 else "after"
    outcomes = ("snapshot-after-claim", "-commit-commit", "-collect-commit", "snapshot-mid-segments-copy")
    return [point for point in SNAPSHOT_POINTS if f"-{side}-" in point or point.endswith(outcomes)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("part", range(2))
def test_killed_at_every_statement_of_the_store(stored_scene: Scene, part: int, seed: int) -> None:
    """Row 6: the old position or the new one, never mixed. A life for each point, one after the other: what one leaves
    behind, the next starts from."""
    rnd = random.Random(f"{part}/{seed}")
    scene = stored_scene
    traffic = busy(scene, seed)
    worker = scene.started()
    scene.wait_checkpoints(4)
    worker.kill()
    points = points_of(seed)[part::2]
    rnd.shuffle(points)
    for point in points:
        once = "collect" in point or "claim" in point  # reached once for each partition in a life
        worker.start(f"{point}:{rnd.randrange(1, 3 if once else 5)}")
        assert worker.wait_ended() == -signal.SIGKILL, worker.log()
        assert f"fault point {point} reached" in worker.log()
    worker.start()
    scene.wait_checkpoints(4)
    traffic.stop()
    scene.verdict()
    assert worker.drain() == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_in_recovery_five_times(stored_scene: Scene, seed: int) -> None:
    """Rows 5 and 7: first between a commit and the memory of it, with states on their way to a checkpoint; then while
    a snapshot is asked for, loaded, or completed from the log. The sixth life converges."""
    rnd = random.Random(seed)
    scene = stored_scene
    traffic = busy(scene, seed)
    worker = scene.started()
    scene.wait_checkpoints(4)
    worker.kill()
    worker.start(f"after-commit:{rnd.randrange(10, 60)}")
    assert worker.wait_ended() == -signal.SIGKILL, worker.log()
    places = ["after-barrier", "snapshot-before-claim", "snapshot-after-claim", "before-reading", "during-recovery"]
    rnd.shuffle(places)
    for place in places:
        worker.start(f"{place}:{1 if place == 'during-recovery' else rnd.randrange(1, 4)}")
        assert worker.wait_ended() == -signal.SIGKILL, worker.log()
    worker.start()
    worker.wait_log("the checkpoint at position")
    scene.wait_checkpoints(4)
    traffic.stop()
    scene.verdict()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "point", ["snapshot-after-commit-lock", "snapshot-before-commit-commit", "snapshot-before-commit-begin"]
)
def test_stopped_while_it_writes_a_checkpoint(stored_scene: Scene, point: str, seed: int) -> None:
    """Rows 10 and 47: another takes over within the time-outs of the database, whatever lock the stopped one holds; when
    that one wakes, its checkpoint is void and it is fenced."""
    scene = stored_scene
    traffic = busy(scene, seed)
    zombie = scene.started("one", fault=f"{point}:{random.Random(seed).randrange(3, 9)}:stop")
    zombie.wait_stopped()
    terms = scene.database.sql("SELECT max(term) FROM eventsrc.head")[0][0]
    before = scene.committed()
    began_s = time.monotonic()
    heir = scene.started("one", state="elsewhere")
    scene.wait_committed(before + 60, LOCK_AND_IDLE_S + START_AND_STALL_S)
    assert time.monotonic() - began_s < LOCK_AND_IDLE_S + START_AND_STALL_S
    scene.wait_checkpoints(4)
    zombie.resume()
    assert zombie.wait_ended() == EXIT_FENCED, zombie.log()
    scene.wait_checkpoints(4)
    traffic.stop()
    scene.verdict()
    assert heir.running, heir.log()
    assert min(row[0] for row in scene.database.sql("SELECT term FROM eventsrc.head")) > terms


@pytest.mark.parametrize("seed", SEEDS)
def test_stopped_past_its_session_with_a_lock_held(stored_scene: Scene, seed: int) -> None:
    """Rows 8, 10 and 47: another instance has taken over when it wakes, inside both of its transactions."""
    scene = stored_scene
    traffic = busy(scene, seed, rate=40.0)
    zombie = scene.started("one", fault="snapshot-after-commit-insert:5:stop")
    zombie.wait_stopped()
    before = scene.committed()
    heir = scene.started("two")
    scene.wait_committed(before + 60)
    scene.wait_checkpoints(4)
    zombie.resume()
    scene.wait_committed(traffic.sent)
    traffic.stop()
    scene.verdict()
    assert heir.running, heir.log()

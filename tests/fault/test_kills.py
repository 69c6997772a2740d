"""SIGKILL at exact places of a transaction, at a held EndTxn, in recovery, and at random: rows 1-5 and 7."""

from __future__ import annotations

import random
import signal

import pytest

from tests.fault.scene import ROUNDS, Scene
from tests.harness.checker import check
from tests.harness.proxy import Api, Proxy

SEEDS = range(ROUNDS)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "point", ["before-produce", "mid-produce", "after-produce", "after-send-offsets", "after-commit", "after-barrier"]
)
def test_killed_at_a_point_of_its_transaction(scene: Scene, point: str, seed: int) -> None:
    """Rows 1, 2, 3, 5: whatever was begun is aborted or complete, and every command takes effect once."""
    rnd = random.Random(f"{point}/{seed}")
    scene.configure(batch_records=8)
    traffic = scene.traffic(seed)
    worker = scene.started(fault=f"{point}:{1 if point == 'after-barrier' else rnd.randrange(2, 9)}")
    assert worker.wait_ended() == -signal.SIGKILL, worker.log()
    assert f"fault point {point} reached" in worker.log()
    worker.start()
    traffic.stop()
    evidence = scene.verdict()
    assert len({entry.metadata for entry in evidence.commit_journal}) > 1
    assert worker.drain() == 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("where", ["request", "reply"])
def test_killed_while_its_commit_is_on_the_way(scene: Scene, proxy: Proxy, where: str, seed: int) -> None:
    """Row 4: the EndTxn of a dead worker arrives late (and is refused), or was carried out without an answer."""
    scene.configure(batch_records=8)
    worker = scene.started(proxied=True)
    traffic = scene.traffic(seed)
    scene.wait_committed(20)
    held = proxy.hold(Api.END_TXN, "request" if where == "request" else "reply")
    held.wait_hit()
    worker.kill()
    worker.start()
    before = scene.committed()
    scene.wait_committed(before + 1)
    held.release()
    traffic.stop()
    scene.verdict()


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_in_recovery_five_times(scene: Scene, seed: int) -> None:
    """Row 7: each attempt leaves barriers and nothing else; the sixth converges."""
    traffic = scene.traffic(seed, rate=30.0, resend_s=15.0)
    worker = scene.started()
    scene.wait_committed(30)
    worker.kill()
    for _ in range(5):
        worker.start("during-recovery:1")
        assert worker.wait_ended() == -signal.SIGKILL, worker.log()
    worker.start()
    traffic.stop()
    scene.verdict()


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_again_and_again_under_load(scene: Scene, seed: int) -> None:
    """I1-I5, I8, I10 and I11 over a loop of kill -9 at random moments, the same instance started again at once."""
    rnd = random.Random(seed)
    scene.configure(batch_records=20)
    traffic = scene.traffic(seed, rate=100.0, resend_s=6.0)
    worker = scene.started()
    for _ in range(5):
        before = scene.committed()
        scene.wait_committed(before + rnd.randrange(10, 120))  # some of its own, or the kill would meet no transaction
        worker.kill()
        worker.start()
    traffic.stop()
    evidence = scene.verdict()
    assert len({record.key for record in evidence.commands}) > 10
    evidence.at_rest = False
    assert check(evidence) == []

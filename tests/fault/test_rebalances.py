"""Workers that come and go under load: rows 11 and 40."""

from __future__ import annotations

import random
import signal
import threading

import pytest

from tests.fault.scene import ROUNDS, Scene
from tests.harness.workers import OPEN

SEEDS = range(ROUNDS)
GRACE_S = 30.0
"""What a container is given by default between SIGTERM and SIGKILL."""


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_join_and_leave_inside_transactions(scene: Scene, seed: int) -> None:
    """Row 11: joins, drains and kills every second or two; each rebalance falls into somebody's transactions."""
    rnd, pause = random.Random(seed), threading.Event()
    scene.configure(batch_records=10)
    traffic = scene.traffic(seed, rate=150.0, resend_s=15.0)
    workers = [scene.worker(name) for name in ("one", "two", "three")]
    workers[0].start()
    scene.wait_committed(1)
    for _ in range(8):
        worker = rnd.choice(workers[1:])
        if not worker.running:
            worker.start()
        elif rnd.random() < 0.5:
            worker.kill()
        else:
            code = worker.drain()  # a process that had not got as far as its handlers ends by the signal itself
            assert code == 0 or (code == -signal.SIGTERM and OPEN not in worker.log()), worker.log()
        pause.wait(rnd.uniform(0.4, 1.6))
    for worker in workers:
        if not worker.running:
            worker.start()
    traffic.stop()
    scene.verdict()
    assert all(worker.running for worker in workers), scene.logs()


@pytest.mark.parametrize("seed", SEEDS)
def test_rolling_restarts_drain_within_their_grace(scene: Scene, seed: int) -> None:
    """Row 40: SIGTERM under load ends with exit code 0, every answer of a committed command sent."""
    scene.configure(batch_records=20)
    traffic = scene.traffic(seed, rate=150.0, resend_s=15.0)
    workers = [scene.started("one"), scene.started("two")]
    scene.wait_committed(30)
    for _ in range(3):
        for worker in workers:
            worker.wait_log(OPEN)
            assert worker.drain(GRACE_S) == 0, worker.log()
            worker.start()
            before = scene.committed()
            scene.wait_committed(before + 20)
    traffic.stop()
    scene.verdict()

"""Workers that were stopped, replaced, and come back to life: rows 8, 9 and 21."""

from __future__ import annotations

import pytest

from eventsrc.runtime.restarts import EXIT_FENCED
from tests.fault.scene import ROUNDS, Scene
from tests.harness.collect import wait_until

SEEDS = range(ROUNDS)
TAKEOVER_S = 60.0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", ["before-produce", "after-produce", "after-send-offsets"])
def test_a_worker_stopped_inside_a_transaction_is_replaced_at_once_by_its_own_instance_id(
    scene: Scene, point: str, seed: int
) -> None:
    """Row 9: another machine takes the instance id over while the first one is stopped. When it wakes, it is fenced and
    ends within seconds; the heir goes on undisturbed."""
    scene.configure(batch_records=8)
    traffic = scene.traffic(seed)
    zombie = scene.started("one", fault=f"{point}:4:stop")
    zombie.wait_stopped()
    heir = scene.started("one", state="elsewhere")
    before = scene.committed()
    scene.wait_committed(before + 30)
    zombie.resume()
    wait_until(lambda: not (zombie.running and heir.running), 30, f"one of the two ends\n{scene.logs()}")
    assert heir.running, scene.logs()
    assert zombie.wait_ended() == EXIT_FENCED, zombie.log()
    before = scene.committed()
    scene.wait_committed(before + 30)
    traffic.stop()
    scene.verdict()
    assert heir.running, heir.log()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", ["after-produce", "after-send-offsets"])
def test_a_worker_stopped_past_its_session_is_fenced_when_it_continues(scene: Scene, point: str, seed: int) -> None:
    """Row 8: the group gives its partitions to another worker after the session; it wakes in its old transaction."""
    scene.configure(batch_records=8)
    traffic = scene.traffic(seed, rate=60.0, resend_s=10.0)
    zombie = scene.started("one", fault=f"{point}:5:stop")
    zombie.wait_stopped()
    heir = scene.started("two")
    before = scene.committed()
    scene.wait_committed(before + 60, TAKEOVER_S)
    zombie.resume()
    sent = traffic.sent
    scene.wait_committed(sent, TAKEOVER_S)
    traffic.stop()
    scene.verdict()
    assert heir.running


@pytest.mark.parametrize("seed", SEEDS)
def test_two_takeovers_over_one_open_transaction(scene: Scene, seed: int) -> None:
    """Row 21: the first owner stops with its offsets accepted, the second with its barrier's offsets accepted; the
    third decides both before it reads, and both are refused when they wake."""
    scene.configure(batch_records=8)
    traffic = scene.traffic(seed, rate=40.0, resend_s=30.0)
    first = scene.started("one", fault="after-send-offsets:5:stop")
    first.wait_stopped()
    second = scene.started("two", fault="after-send-offsets:1:stop")
    second.wait_stopped(TAKEOVER_S)
    before = scene.committed()
    scene.started("three")
    scene.wait_committed(before + 60, 60.0)
    second.resume()
    first.resume()
    scene.wait_committed(traffic.sent, TAKEOVER_S)
    traffic.stop()
    scene.verdict()

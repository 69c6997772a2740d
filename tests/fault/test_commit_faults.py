"""Commits that are late, unanswered, too slow, or blocked by a stranger: rows 14, 15, 20, 44 and 45, on the worker."""

from __future__ import annotations

import random
import re

import pytest

from tests.fault.scene import ROUNDS, Scene
from tests.harness.load import Order
from tests.harness.members import transactional
from tests.harness.proxy import Api, Proxy

SEEDS = range(ROUNDS)
OVERLONG_S = 12.0
"""For handlers that outlive a poll interval of 6.5 s. librdkafka looks twice a second whether it is over, and has to have
left the group before the handler returns: on a busy machine that takes seconds."""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_late_end_transaction_makes_the_worker_take_a_new_producer(scene: Scene, proxy: Proxy, seed: int) -> None:
    """Row 14: the connection is cut while EndTxn is on its way; the copy arrives later, inside another transaction."""
    scene.configure(batch_records=8)
    worker = scene.started(proxied=True)
    traffic = scene.traffic(seed)
    scene.wait_committed(20)
    for _ in range(3):
        producers = len(proxy.seen(Api.INIT_PRODUCER_ID))
        held = proxy.hold(Api.END_TXN)
        held.wait_hit()
        held.cut_caught()
        before = scene.committed()
        scene.wait_committed(before + 15)
        held.release()
        assert len(proxy.seen(Api.INIT_PRODUCER_ID)) > producers, worker.log()
    traffic.stop()
    evidence = scene.verdict()
    assert worker.starts == 1
    assert worker.running
    assert len(evidence.committed_view) > 60


@pytest.mark.parametrize("seed", SEEDS)
def test_a_commit_without_an_answer_is_never_guessed(scene: Scene, proxy: Proxy, seed: int) -> None:
    """Row 15: the reply to EndTxn is dropped; the transaction had taken effect."""
    scene.configure(batch_records=8)
    worker = scene.worker(proxied=True)
    worker.start(EVENTSRC_KAFKA_SOCKET_TIMEOUT_MS="2000")
    traffic = scene.traffic(seed)
    scene.wait_committed(20)
    for _ in range(2):
        dropped = proxy.drop(Api.END_TXN, "reply")
        dropped.wait_hit()
        before = scene.committed()
        scene.wait_committed(before + 15)
    traffic.stop()
    scene.verdict()
    assert worker.running


def test_a_foreign_open_transaction_is_waited_for_and_named(scene: Scene) -> None:
    """Row 20: a stranger's open transaction in an events partition; recovery says so, the other
    partitions go on, and when it has ended a restart processes everything."""
    scene.configure(recovery_stall_deadline=2)
    stranger = transactional(scene.cluster.direct, f"{scene.name}-stranger", transaction_timeout_ms=600_000)
    stranger.begin_transaction()
    stranger.produce(scene.events, key=b"stranger", value=b"stranger", partition=1)
    stranger.flush(10)
    client = scene.client()
    scene.send_all(client, [Order(f"account-{number}", "Deposit", {"amount": 5}) for number in range(40)])
    worker = scene.started()
    worker.wait_log(r"partition account/1 is halted: .*open transaction")
    elsewhere = [i for i, order in client.outstanding().items() if client.partition_of(order.id) != 1]
    assert client.wait_answered(60, elsewhere)
    here = [i for i, order in client.outstanding().items() if client.partition_of(order.id) == 1]
    assert here
    assert not client.wait_answered(0.3, here)
    stranger.abort_transaction(10)
    assert worker.drain() == 0
    worker.start()
    assert client.wait_answered(60), scene.logs()
    scene.verdict()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_transaction_that_outlives_its_timeout_is_no_takeover(scene: Scene, proxy: Proxy, seed: int) -> None:
    """Row 44: the broker has aborted it, and answers as if another had taken over. The worker goes on."""
    scene.configure(batch_records=8, transaction_timeout=2, transaction_interval=0.5)
    worker = scene.started(proxied=True)
    traffic = scene.traffic(seed, rate=60.0, resend_s=20.0)
    scene.wait_committed(20)
    for _ in range(2):
        delayed = proxy.delay(Api.TXN_OFFSET_COMMIT, 4.5)
        delayed.wait_hit()
        before = scene.committed()
        scene.wait_committed(before + 15)
    traffic.stop()
    scene.verdict()
    assert worker.running
    assert worker.starts == 1


def test_slow_handlers_do_not_outlive_the_transaction(scene: Scene) -> None:
    """Row 44: handlers take longer together than the timeout; no transaction is lost to the broker. One of them alone
    takes so little of it that a stall of seconds does not matter."""
    scene.configure(transaction_timeout=8, transaction_interval=0.5)
    client = scene.client()
    orders = [Order(f"account-{n % 3}", "SlowDeposit", {"amount": 1, "seconds": 0.4}) for n in range(26)]
    scene.send_all(client, orders)
    worker = scene.started()
    assert client.wait_answered(60), worker.log()
    evidence = scene.verdict()
    assert len(evidence.committed_view) == len(evidence.uncommitted_view)
    assert worker.starts == 1


def test_a_handler_slower_than_the_poll_interval_costs_an_abort_and_a_new_join(scene: Scene) -> None:
    """Row 12: the client leaves the group while the handler runs and joins it anew, so the proof of membership of its
    batch is refused as another process's would be. No takeover by a stranger: the same process goes on."""
    scene.configure(max_poll_interval=6.5, session_timeout=6, transaction_timeout=3)
    client = scene.client()
    scene.send_all(client, [Order("account-1", "Deposit", {"amount": 5}), Order("account-2", "Deposit", {"amount": 5})])
    worker = scene.started()
    assert client.wait_answered(60), worker.log()
    scene.send_all(client, [Order("account-1", "SlowOnce", {"amount": 1, "seconds": OVERLONG_S})], seed=1)
    assert client.wait_answered(60), worker.log()
    scene.verdict()
    worker.wait_log("MAXPOLL")
    assert "a transaction was aborted and will be repeated" in worker.log()
    assert worker.running
    assert worker.starts == 1


def test_a_handler_that_is_always_slower_than_the_poll_interval_is_set_aside(scene: Scene) -> None:
    """Row 12: without an end it would be aborted and repeated for ever. What is behind it in its partition goes on."""
    scene.configure(max_poll_interval=6.5, session_timeout=6, transaction_timeout=3, handler_attempts=2)
    client = scene.client()
    orders = [Order("account-1", "Stuck", {"seconds": OVERLONG_S}), Order("account-1", "Deposit", {"amount": 5})]
    stuck, _ = scene.send_all(client, orders)
    worker = scene.started()
    assert client.wait_answered(60), worker.log()
    told = client.answer(stuck)
    assert told is not None
    assert (told.kind, told.reason) == ("failed", "handler-failed")
    evidence = scene.verdict()
    (letter,) = evidence.dead_letters
    said = (dict(letter.headers)["eventsrc.message"] or b"").decode()
    assert re.search(r"longer than max_poll_interval \(6\.5 s\) at each of 2 tries \(\d+ s at the last\)", said), said
    assert worker.starts == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_keys_rebuilt_right_after_a_commit_miss_no_event(scene: Scene, seed: int) -> None:
    """Row 45: a failing handler makes its key be rebuilt from the log, where the marker of the last own commit may not
    be readable yet. Few keys, small batches, every fourth command fails."""

    rnd = random.Random(seed)

    def order() -> Order:
        id = f"account-{rnd.randrange(3)}"
        if rnd.random() < 0.25:
            return Order(id, "Poison", {})
        return Order(id, "Withdraw" if rnd.random() < 0.4 else "Deposit", {"amount": rnd.randrange(1, 50)})

    scene.configure(batch_records=5)
    worker = scene.started()
    client = scene.client()
    orders = [order() for _ in range(600)]  # not at a rate, which a slow machine would fall behind without an end
    scene.send_all(client, orders, seed)
    assert client.wait_answered(150), worker.log()
    evidence = scene.verdict()
    assert len(evidence.dead_letters) == sum(order.name == "Poison" for order in orders) > 50
    assert not re.search("Traceback", worker.log())

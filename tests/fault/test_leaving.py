"""Leaving: in the middle of a join, in the middle of a recovery, and with a Kafka that does not answer."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from eventsrc.adapters.kafka.config import client_config
from eventsrc.adapters.kafka.membership import GroupMembership, membership_config
from eventsrc.engine.partition import PartitionKey
from tests.fault.scene import Scene
from tests.harness.brokers import ProxiedBroker, create_topic, unique
from tests.harness.collect import wait_until
from tests.harness.load import Order
from tests.harness.members import transactional
from tests.harness.proxy import Api, Proxy
from tests.harness.workers import OPEN, Worker

AT_ONCE_S = 20.0
"""Of a whole process on a machine that may stall; the waits that it must not do are longer, or have no end."""


class Telling:
    """Keeps what it is told of the group."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_assigned(self, partitions: tuple[PartitionKey, ...]) -> None:
        self.told.append("assigned")

    def on_revoked(self, partitions: tuple[PartitionKey, ...]) -> None:
        self.told.append("revoked")

    def on_lost(self, partitions: tuple[PartitionKey, ...]) -> None:
        self.told.append("lost")


class TestAnAssignmentThatComesAfterTheLastPoll:
    """A worker that had joined a moment before did not end on SIGTERM: the client's `close` served its assignment, and
    the question for the proof of membership in that callback was never answered."""

    @pytest.fixture
    def commands(self, cluster: ProxiedBroker) -> str:
        return create_topic(cluster.direct, unique("leaving"), 4)

    def test_the_clients_own_close_serves_it(self, cluster: ProxiedBroker, commands: str, tmp_path: Path) -> None:
        """In a process of its own: what its callback may be waiting for holds the interpreter's lock for ever."""
        group = unique("leaving")
        script = f"""
            import sys
            from confluent_kafka import Consumer
            consumer = Consumer({{
                "bootstrap.servers": "{cluster.direct}", "group.id": "{group}", "group.instance.id": "one",
                "partition.assignment.strategy": "cooperative-sticky", "debug": "cgrp",
            }})
            consumer.subscribe(["{commands}"], on_assign=lambda consumer, partitions: print("assigned", flush=True))
            sys.stdin.readline()
            print("closing", flush=True)
            consumer.close()
        """
        command = [sys.executable, "-c", textwrap.dedent(script)]
        log = tmp_path / "log"
        with (
            log.open("wb") as errors,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            # the group has given it partitions, and its client has heard of them: it waits for the next poll
            wait_until(lambda: "-> wait-assign-call" in log.read_text(), 40, "the client is given its partitions")
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            said = [process.stdout.readline().strip() for _ in range(2)]
            process.kill()
        assert said == ["closing", "assigned"]

    def test_a_member_of_ours_takes_nothing_over_and_is_gone(self, cluster: ProxiedBroker, commands: str) -> None:
        listener, group = Telling(), unique("leaving")
        config = membership_config(client_config(cluster.direct, {}), group, "one", 6.0, 300.0)
        membership = GroupMembership(config, {"account": commands}, listener, lambda key, reason: None)
        wait_given(cluster, group)
        began = time.monotonic()
        membership.close()
        assert time.monotonic() - began < AT_ONCE_S
        assert listener.told == []


def wait_given(cluster: ProxiedBroker, group: str) -> None:
    """Until the group has given its only member partitions. The member need not know: nothing has polled."""
    admin = AdminClient({"bootstrap.servers": cluster.direct, "log_level": 0})

    def given() -> bool:
        members = admin.describe_consumer_groups([group])[group].result().members
        return any(member.assignment.topic_partitions for member in members)

    wait_until(given, 40, "the group has given its partitions")


def drained_within(worker: Worker) -> float:
    """SIGTERM; returns how long the drain took."""
    began = time.monotonic()
    assert worker.drain(90) == 0, worker.log()
    return time.monotonic() - began


def test_a_worker_whose_join_waits_for_a_dead_member_leaves_at_once(scene: Scene, proxy: Proxy) -> None:
    scene.configure(session_timeout=60, max_poll_interval=70)
    first = scene.started("one")
    first.wait_log(OPEN)
    first.kill()  # the group waits for it, and the new member for the group
    asked = len(proxy.seen(Api.JOIN_GROUP))
    second = scene.started("two", proxied=True)
    wait_until(lambda: len(proxy.seen(Api.JOIN_GROUP)) > asked, 30, f"it asks to join\n{second.log()}")
    assert drained_within(second) < AT_ONCE_S
    first.start()
    first.wait_log(OPEN, 90)
    assert OPEN not in second.log()


def test_a_worker_that_is_only_recovering_leaves_at_once(scene: Scene) -> None:
    """Its recovery is held back by a stranger's open transaction, as in row 20."""
    stranger = transactional(scene.cluster.direct, f"{scene.name}-stranger", transaction_timeout_ms=600_000)
    stranger.begin_transaction()
    for number in range(4):
        stranger.produce(scene.events, key=b"stranger", value=b"stranger", partition=number)
    stranger.flush(10)
    worker = scene.started("one")
    wait_until(lambda: len(scene.reader.committed(scene.name, [scene.commands])) == 4, 30, "its barriers are committed")
    assert drained_within(worker) < AT_ONCE_S
    assert OPEN not in worker.log()
    stranger.abort_transaction(10)


def test_a_transaction_that_kafka_does_not_decide_is_not_waited_for_longer_than_it_can_last(
    scene: Scene, proxy: Proxy
) -> None:
    """Its successor finds out what became of it."""
    scene.configure(transaction_timeout=3, transaction_interval=0.5)
    client = scene.client()
    scene.send_all(client, [Order("account-1", "Deposit", {"amount": 5})])
    worker = scene.started("one", proxied=True)
    assert client.wait_answered(60), worker.log()
    held = proxy.hold(Api.END_TXN)
    scene.send_all(client, [Order("account-1", "Deposit", {"amount": 7})], seed=1)
    held.wait_hit()
    assert drained_within(worker) < 3.0 + AT_ONCE_S
    worker.start()
    scene.wait_committed(2)
    held.release()
    scene.verdict()

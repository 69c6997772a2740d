"""A TxnOffsetCommit that is late, through the proxy: the same loss of order as of a late EndTxn (row 14), in a pair."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from eventsrc.adapters.kafka.end_transaction_log import EndTransactionWatch
from tests.harness.brokers import ProxiedBroker, create_topic, unique
from tests.harness.members import Owner, seed, transactional
from tests.harness.proxy import Api, Proxy, Rule

FIRST, SECOND, THIRD = 3, 7, 9
"""Positions that the transactions commit."""


@pytest.fixture
def owner(cluster: ProxiedBroker) -> Iterator[Owner]:
    """Of a partition with some commands. Its own producer is not used: each test makes one behind the proxy."""
    commands = create_topic(cluster.direct, unique("commands"))
    seed(cluster.direct, commands, 10)
    made = Owner(cluster.direct, unique("offsets"), commands, create_topic(cluster.direct, unique("events")))
    yield made
    made.depose()


def transaction(owner: Owner, producer: Producer, position: int) -> None:
    """Begun, and with an event and an offset in it that the broker has acknowledged."""
    owner.producer = producer
    producer.begin_transaction()
    owner.write(f"event {position}")
    owner.send_offset(position)


def commit_first_with_its_offsets_held(owner: Owner, producer: Producer, proxy: Proxy) -> Rule:
    """The first TxnOffsetCommit is held on its way and its connection cut; librdkafka sends it again without a word."""
    held = proxy.hold(Api.TXN_OFFSET_COMMIT)

    def cut() -> None:
        held.wait_hit()
        held.cut_caught()

    cutter = threading.Thread(target=cut)
    cutter.start()
    transaction(owner, producer, FIRST)
    producer.commit_transaction(40)
    cutter.join()
    return held


def deliver(proxy: Proxy, held: Rule) -> None:
    """The held copy goes on its way; the broker has answered it when this returns."""
    answered = proxy.delay(Api.TXN_OFFSET_COMMIT, 0.0, "reply")
    held.release()
    answered.wait_hit()


class TestALateTxnOffsetCommit:
    def test_without_a_new_producer_a_later_transaction_takes_the_committed_offset_back(
        self, cluster: ProxiedBroker, proxy: Proxy, owner: Owner
    ) -> None:
        producer = transactional(cluster.proxied, unique("late"))
        held = commit_first_with_its_offsets_held(owner, producer, proxy)
        transaction(owner, producer, SECOND)
        producer.commit_transaction(30)
        assert owner.committed() == SECOND
        transaction(owner, producer, THIRD)
        deliver(proxy, held)
        producer.commit_transaction(30)  # says OK
        assert owner.committed() == FIRST

    def test_with_the_sign_in_its_log_and_a_new_producer_the_late_copy_is_refused(
        self, cluster: ProxiedBroker, proxy: Proxy, owner: Owner
    ) -> None:
        identity, watch = unique("late"), EndTransactionWatch("one")
        producer = transactional(cluster.proxied, identity, watch)
        transaction(owner, producer, FIRST - 1)
        producer.commit_transaction(30)
        producer.poll(0)
        assert not watch.seen  # an undisturbed transaction gives no false alarm
        held = commit_first_with_its_offsets_held(owner, producer, proxy)
        producer.poll(0)
        assert watch.seen  # both calls said OK; only the log tells
        transaction(owner, successor := transactional(cluster.proxied, identity), SECOND)
        deliver(proxy, held)
        successor.commit_transaction(30)
        assert owner.committed() == SECOND

    def test_a_request_timeout_gives_the_sign_too(self, cluster: ProxiedBroker, proxy: Proxy, owner: Owner) -> None:
        watch = EndTransactionWatch("one")
        producer = transactional(cluster.proxied, unique("late"), watch, socket_timeout_ms=1000)
        held = proxy.hold(Api.TXN_OFFSET_COMMIT)
        transaction(owner, producer, FIRST)
        producer.commit_transaction(40)
        producer.poll(0)
        assert held.hits == 1
        assert watch.seen
        assert owner.committed() == FIRST

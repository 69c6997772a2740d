"""EndTxn that is late, lost or unanswered, through the proxy: rows 14, 15 and 44 of reliability.md, in pairs."""

from __future__ import annotations

import threading
import time

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from tests.harness.brokers import ProxiedBroker, create_topic, unique
from tests.harness.collect import Reader, wait_until
from tests.harness.members import LogLines, code_of, transactional, visible
from tests.harness.proxy import Api, Proxy, Rule


@pytest.fixture
def events(cluster: ProxiedBroker) -> str:
    return create_topic(cluster.direct, unique("endtxn"))


def write(producer: Producer, topic: str, *keys: str) -> None:
    for key in keys:
        producer.produce(topic, key=key.encode(), value=b"", partition=0)
    producer.flush(30)


def commit_with_its_end_held(producer: Producer, proxy: Proxy, topic: str) -> Rule:
    """Commits `first`, whose EndTxn is held on the way while librdkafka silently sends it again."""
    producer.begin_transaction()
    write(producer, topic, "first")
    held = proxy.hold(Api.END_TXN)

    def cut() -> None:
        held.wait_hit()
        held.cut_caught()

    cutter = threading.Thread(target=cut)
    cutter.start()
    producer.commit_transaction(40)
    cutter.join()
    return held


def deliver(proxy: Proxy, held: Rule) -> None:
    """The held copy goes on its way; the broker has answered it when this returns."""
    answered = proxy.delay(Api.END_TXN, 0.0, "reply")
    held.release()
    answered.wait_hit()


class TestALateEndTxn:
    """Row 14: the second copy arrives inside the next transaction, and commits a half of it."""

    def test_without_a_new_producer_half_of_the_next_transaction_is_committed(
        self, cluster: ProxiedBroker, proxy: Proxy, reader: Reader, events: str
    ) -> None:
        producer = transactional(cluster.proxied, unique("late"))
        held = commit_with_its_end_held(producer, proxy, events)
        producer.begin_transaction()
        write(producer, events, "half 1")
        deliver(proxy, held)
        reader.wait_stable(events)
        assert visible(reader, events) == ["first", "half 1"]  # nobody has committed it
        write(producer, events, "half 2")
        with pytest.raises(KafkaException):
            producer.commit_transaction(30)
        assert visible(reader, events) == ["first", "half 1"]

    def test_with_the_sign_in_its_log_and_a_new_producer_the_late_copy_is_refused(
        self, cluster: ProxiedBroker, proxy: Proxy, reader: Reader, events: str
    ) -> None:
        lines, identity = LogLines(), unique("late")
        producer = transactional(cluster.proxied, identity, lines)
        producer.begin_transaction()
        write(producer, events, "before")
        producer.commit_transaction(30)
        producer.poll(0)
        assert lines.signs() == []  # an undisturbed commit gives no false alarm
        held = commit_with_its_end_held(producer, proxy, events)
        producer.poll(0)
        assert lines.signs() != []  # the commit said OK; only the log tells
        successor = transactional(cluster.proxied, identity)
        successor.begin_transaction()
        write(successor, events, "half 1")
        deliver(proxy, held)
        successor.abort_transaction(30)
        reader.wait_stable(events)
        assert visible(reader, events) == ["before", "first"]

    def test_a_request_timeout_gives_the_sign_too(self, cluster: ProxiedBroker, proxy: Proxy, events: str) -> None:
        lines = LogLines()
        producer = transactional(cluster.proxied, unique("late"), lines, socket_timeout_ms=1000)
        producer.begin_transaction()
        write(producer, events, "first")
        held = proxy.hold(Api.END_TXN)
        producer.commit_transaction(40)
        producer.poll(0)
        assert held.hits == 1
        assert lines.signs() != []


class TestAnUnansweredCommit:
    """Row 15: no reply to EndTxn says nothing about the outcome."""

    @pytest.mark.parametrize("lost", ["reply", "request"])
    def test_the_same_silence_stands_for_either_outcome(
        self, cluster: ProxiedBroker, proxy: Proxy, reader: Reader, events: str, lost: str
    ) -> None:
        took_effect = lost == "reply"
        identity = unique("silent")
        producer = transactional(cluster.proxied, identity)
        producer.begin_transaction()
        write(producer, events, "first")
        fault = proxy.drop(Api.END_TXN, "reply") if lost == "reply" else proxy.hold(Api.END_TXN, "request")
        with pytest.raises(KafkaException) as unknown:
            producer.commit_transaction(0.5)
        fault.wait_hit()  # a broker that is slow may not have answered yet
        assert code_of(unknown.value) == KafkaError._TIMED_OUT
        # Without the guard, either guess is wrong in one of the two cases: processing again doubles it, going on loses
        # it. With it: a new producer of the same id waits the outcome out, then the log is asked.
        transactional(cluster.direct, identity)
        reader.wait_stable(events)
        assert (visible(reader, events) == ["first"]) is took_effect
        proxy.clear()
        wait_until(lambda: visible(reader, events) == (["first"] if took_effect else []), 30, "the outcome stays")


class TestATransactionThatOutlivesItsTimeout:
    """Row 44: a slow handler looks like a takeover; only elapsed time tells them apart."""

    def failure(self, producer: Producer, topic: str) -> int:
        producer.produce(topic, key=b"late", value=b"", partition=0)
        with pytest.raises(KafkaException) as failed:
            producer.commit_transaction(30)
        return code_of(failed.value)

    def test_it_fails_with_the_same_code_as_a_takeover(
        self, cluster: ProxiedBroker, reader: Reader, events: str
    ) -> None:
        slow = transactional(cluster.direct, unique("slow"), transaction_timeout_ms=1000)
        slow.begin_transaction()
        began = time.monotonic()
        write(slow, events, "slow")
        reader.wait_stable(events)  # the broker has given it up
        outlived = time.monotonic() - began
        fenced_id = unique("fenced")
        fenced = transactional(cluster.direct, fenced_id)
        fenced.begin_transaction()
        write(fenced, events, "fenced")
        transactional(cluster.direct, fenced_id)
        codes = {self.failure(slow, events), self.failure(fenced, events)}
        assert len(codes) == 1
        assert outlived >= 1.0
        assert visible(reader, events) == []

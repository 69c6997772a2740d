"""The transactional producer beside a client that answers as it is told: what is asked of Kafka, and when no more."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from eventsrc.adapters.kafka import producer_start
from eventsrc.adapters.kafka.end_transaction_log import EndTransactionWatch
from eventsrc.adapters.kafka.producer import TopicNames, TransactionalProducer
from eventsrc.adapters.kafka.producer_start import initialised_producer
from eventsrc.engine.batch import Batch, BatchKind, DeadLetter, Section
from eventsrc.engine.notes import Owner
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import AccessDenied, OutcomeInDoubt
from eventsrc.model.position import Position

KEY = PartitionKey("account", 3)
PROOF = b"CGMDv2:" + struct.pack("<i", 7) + b"bank\0member\0one\0"


class Delivered:
    """A message, as far as a delivery report is read."""

    def __init__(self, offset: int | None) -> None:
        self._offset = offset

    def offset(self) -> int | None:
        return self._offset


class Client:
    """librdkafka's producer, as far as it is asked. `on` runs inside the named call."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.on: dict[str, Callable[[], None]] = {}
        self.produced: list[tuple[str, int]] = []
        self.deliveries: list[Callable[[None, Delivered], None]] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any, **named: Any) -> int:
            self.asked.append(name)
            if name in self.on:
                self.on[name]()
            if name == "produce":
                self.produced.append((arguments[0], arguments[3]))
                self.deliveries += [named["on_delivery"]] if named.get("on_delivery") else []
            return 0

        return call


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def producer(client: Client) -> TransactionalProducer:
    names = TopicNames({"account": "commands"}, {"account": "events"}, "dead", 2)
    return TransactionalProducer(client, EndTransactionWatch("one"), names, Owner("one", "bank-one"), 10.0)  # type: ignore[arg-type]  # it stands for a Producer


def batch(*dead_letters: DeadLetter) -> Batch:
    section = Section(KEY, Position(0), Position(1), dead_letters=list(dead_letters))
    return Batch(BatchKind.COMMANDS, PROOF, {KEY: section}, commands=1)


@pytest.mark.parametrize("given_up_in", ["begin_transaction", "send_offsets_to_transaction"])
def test_no_commit_is_begun_for_a_transaction_that_was_given_up(
    client: Client, producer: TransactionalProducer, given_up_in: str
) -> None:
    """The loop is taking its partitions over anew: a commit now would land behind the offset that was just read."""
    client.on[given_up_in] = producer.abandon
    sent = batch()
    producer.send(sent)
    with pytest.raises(OutcomeInDoubt):
        producer.finish(sent)
    assert "commit_transaction" not in client.asked


@pytest.mark.parametrize("silent", ["send_offsets_to_transaction", "commit_transaction", "abort_transaction"])
def test_a_call_that_is_never_answered_is_given_up_when_the_broker_has_given_the_transaction_up(
    client: Client, producer: TransactionalProducer, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    """librdkafka went on for ever over an abort after its broker was killed: only a new producer gets on."""
    passed_s = itertools.count(step=3)
    monkeypatch.setattr("eventsrc.adapters.kafka.producer.time.monotonic", lambda: float(next(passed_s)))

    def keep_silent() -> None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "retry call to resume", retriable=True))

    client.on[silent] = keep_silent
    sent = batch()
    producer.send(sent)
    with pytest.raises(OutcomeInDoubt, match="no answer for 10 s"):
        producer.abort() if silent == "abort_transaction" else producer.finish(sent)
    assert client.asked.count(silent) > 1


def test_a_transaction_commits_after_its_offsets(client: Client, producer: TransactionalProducer) -> None:
    sent = batch()
    producer.send(sent)
    assert producer.finish(sent) == {}
    assert client.asked == ["begin_transaction", "send_offsets_to_transaction", "commit_transaction"]


@pytest.mark.parametrize("offset", [None, 41])
def test_committed_events_whose_place_is_not_known_are_read_from_the_log(
    client: Client, producer: TransactionalProducer, offset: int | None
) -> None:
    """A delivery may be reported without its offset. A checkpoint that went on from there would miss these events."""
    sent = batch()
    sent.sections[KEY].records.append((b"alice@1#7", b"event", 1))
    producer.send(sent)
    client.on["commit_transaction"] = lambda: client.deliveries.pop()(None, Delivered(offset))
    if offset is None:
        with pytest.raises(OutcomeInDoubt, match="at which offsets the events of account/3"):
            producer.finish(sent)
    else:
        assert producer.finish(sent) == {KEY: offset}


def test_dead_letters_wait_for_room_and_go_to_a_partition_that_there_is(
    client: Client, producer: TransactionalProducer
) -> None:
    def full_once() -> None:
        del client.on["produce"]
        raise BufferError

    client.on["produce"] = full_once
    producer.send(batch(DeadLetter(3, b"key", b"value", ())))
    assert client.produced == [("dead", 1)]
    assert client.asked == ["begin_transaction", "produce", "poll", "produce"]


def test_a_transactional_id_that_is_not_allowed_ends_the_worker_with_a_reason(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked again and again, it would never start and never say why."""

    def refuse() -> None:
        raise KafkaException(KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED))

    client.on["init_transactions"] = refuse
    monkeypatch.setattr(producer_start, "Producer", lambda config, logger: client)
    with pytest.raises(AccessDenied) as denied:
        initialised_producer({"transactional.id": "bank-one"}, lambda: False)
    assert denied.value.kind == "transactional-id"
    assert client.asked == ["list_topics", "init_transactions"]

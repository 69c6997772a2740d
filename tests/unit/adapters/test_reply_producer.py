"""Sending answers: none of them may end the worker, whatever a handler or a caller put into it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from confluent_kafka import KafkaError

from eventsrc.adapters.kafka import replies
from eventsrc.adapters.kafka.replies import ReplyProducer
from eventsrc.codec.control import Reply, read_reply
from eventsrc.engine.batch import Answer
from eventsrc.errors import AccessDenied

LIMIT = 10_000


class Recording:
    """Takes what librdkafka's own producer takes, and sends nothing."""

    sent: list[tuple[int, Reply]]
    report: Any = None

    def __init__(self, config: dict[str, Any], logger: logging.Logger) -> None:
        from confluent_kafka import Producer

        # Not connected: it only says what it refuses.
        self._real = Producer({**config, "bootstrap.servers": "", "log_level": 0}, logger=logger)
        self.sent = []

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, on_delivery: Any) -> None:
        self._real.produce(topic, value, key, partition)
        self.report = on_delivery
        self.sent.append((partition, read_reply(value)))

    def poll(self, timeout: float) -> int:
        return 0


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> ReplyProducer:
    monkeypatch.setattr(replies, "Producer", Recording)
    return ReplyProducer({}, "bank.replies", LIMIT)


def sent(producer: ReplyProducer) -> list[tuple[int, Reply]]:
    found: list[tuple[int, Reply]] = producer._producer.sent  # type: ignore[attr-defined]  # it is a Recording
    return found


def answer(number: int, **changes: Any) -> Answer:
    return Answer(number, b"%016d" % number, "ok", 1, (), None, {})._replace(**changes)


@pytest.mark.parametrize(
    ("reason", "told"), [(404, "404"), (ValueError("no funds"), "no funds"), ("\ud800", "\\ud800")]
)
def test_a_reason_that_is_no_text_is_told_as_text(producer: ReplyProducer, reason: Any, told: str) -> None:
    producer.send([answer(1, status="rejected", reason=reason)])
    assert [(partition, reply.reason) for partition, reply in sent(producer)] == [(1, told)]


def test_an_answer_with_too_many_events_sends_its_caller_to_the_history(producer: ReplyProducer) -> None:
    producer.send([answer(1, events=(b"x" * 6000, b"y" * 6000)), answer(2, events=(b"x",))])
    assert [(reply.status, reply.events, reply.sequence) for _, reply in sent(producer)] == [
        ("duplicate", [], 1),
        ("ok", [b"x"], 1),
    ]


@pytest.mark.parametrize("status", ["rejected", "failed"])
def test_a_reason_or_a_detail_too_long_for_a_record_is_cut(producer: ReplyProducer, status: str) -> None:
    details = {"message": "y" * LIMIT, "dead_letter": "offset 5", "tries": 3}
    producer.send([answer(1, status=status, reason="z" * LIMIT, details=details)])
    ((_, reply),) = sent(producer)
    assert (reply.status, reply.reason) == (status, "z" * 1000 + "...")
    assert reply.details == {"message": "y" * 1000 + "...", "dead_letter": "offset 5", "tries": 3}


def test_answers_that_cannot_be_sent_are_dropped_with_one_warning(
    producer: ReplyProducer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="eventsrc.kafka")  # the command line, tested elsewhere, silences it

    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("cannot be printed")

    producer.send(
        [
            answer(1, status="rejected", reason="why", details={"what": Unprintable()}),
            answer(2, status="rejected", reason="why", details={f"{n}": "z" * 1000 for n in range(16)}),
            answer(3, partition=-1),
            answer(4),
        ]
    )
    assert [partition for partition, _ in sent(producer)] == [4]
    assert [record.getMessage()[:26] for record in caplog.records] == ["3 answers were not sent, t"]


def test_an_answer_that_is_refused_for_want_of_a_right_is_told_at_the_next_call(producer: ReplyProducer) -> None:
    producer.send([answer(1)])
    report = producer._producer.report  # type: ignore[attr-defined]  # it is a Recording
    report(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), None)
    producer.send(())
    report(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), None)
    with pytest.raises(AccessDenied, match="answering callers") as denied:
        producer.send(())
    assert denied.value.kind == "topic"

"""Committed offsets, as an outsider asks for them: a coordinator that moves is asked again, within the time to connect."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from eventsrc.adapters.kafka.connecting import CONNECT_TIMEOUT_S
from eventsrc.adapters.kafka.group_offsets import _committed

PLACES = [TopicPartition("bank.account.commands", 0)]
MOVES = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


class Answering:
    """A consumer that answers as told, the last answer for ever: an offset, an error, or an error of each partition."""

    def __init__(self, *answers: int | KafkaException | KafkaError) -> None:
        self._answers = list(answers)
        self.asked = 0

    def committed(self, places: Sequence[TopicPartition], timeout: float) -> list[Any]:
        assert 0 < timeout <= CONNECT_TIMEOUT_S
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, KafkaException):
            raise answer
        offset, error = (answer, None) if isinstance(answer, int) else (-1001, answer)
        return [SimpleNamespace(topic=each.topic, offset=offset, error=error) for each in places]


def committed(consumer: Answering) -> list[int]:
    return [each.offset for each in _committed(cast(Consumer, consumer), PLACES)]


@pytest.mark.parametrize("code", MOVES)
def test_a_coordinator_that_moves_is_asked_again(code: int) -> None:
    consumer = Answering(KafkaException(KafkaError(code)), KafkaError(code), 7)
    assert committed(consumer) == [7]
    assert consumer.asked == 3


@pytest.mark.parametrize("code", MOVES)
def test_not_for_ever(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventsrc.adapters.kafka.group_offsets.CONNECT_TIMEOUT_S", 0.35)
    consumer = Answering(KafkaException(KafkaError(code)))
    with pytest.raises(KafkaException) as raised:
        committed(consumer)
    assert raised.value.args[0].code() == code
    assert consumer.asked > 1


@pytest.mark.parametrize("code", [KafkaError._TRANSPORT, KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError._TIMED_OUT])
def test_another_refusal_is_told_at_once(code: int) -> None:
    for refusal in (KafkaException(KafkaError(code)), KafkaError(code)):
        consumer = Answering(refusal, 7)
        with pytest.raises(KafkaException):
            committed(consumer)
        assert consumer.asked == 1

"""`ports.Replies`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from eventsrc.codec.control import Reply, ReplyStatus, read_reply
from eventsrc.engine.batch import Answer
from eventsrc.model.names import events_topic, replies_topic
from eventsrc.ports import Replies
from tests.conformance.world import FIRST, REPLY_BYTES, TIMEOUT_S, World, batch, joined, owner
from tests.harness.collect import wait_until


@pytest.fixture
def replies(world: World) -> Replies:
    return world.replies()


def answer(
    number: int,
    *,
    partition: int = 0,
    status: ReplyStatus = "ok",
    events: tuple[bytes, ...] = (),
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> Answer:
    return Answer(partition, b"%016d" % number, status, number, events, reason, details or {})


def arrived(world: World, count: int) -> list[tuple[int, bytes | None, Reply]]:
    """Partition, key and content of every answer, as soon as there are so many."""
    topic = replies_topic(world.name)
    wait_until(lambda: len(world.committed_records(topic)) >= count, TIMEOUT_S, f"{count} answers")
    return [(each.partition, each.key, read_reply(each.value or b"")) for each in world.committed_records(topic)]


def numbers(found: Sequence[tuple[int, bytes | None, Reply]]) -> list[int]:
    return [reply.sequence for _, _, reply in found]


def test_each_answer_reaches_its_partition_under_its_command_id(world: World, replies: Replies) -> None:
    replies.send([answer(1), answer(2, partition=1), answer(3)])
    replies.flush(TIMEOUT_S)
    found = arrived(world, 3)
    assert [(partition, reply.sequence) for partition, _, reply in found] == [(0, 1), (0, 3), (1, 2)]
    assert all(key == reply.command_id == b"%016d" % reply.sequence for _, key, reply in found)


def test_an_answer_says_what_the_engine_said(world: World, replies: Replies) -> None:
    rejected = answer(1, status="rejected", reason="no funds", details={"balance": 3, "currency": None, "at": (1, 2)})
    replies.send([rejected, answer(2, events=(b"first", b"second"))])
    replies.flush(TIMEOUT_S)
    (_, _, first), (_, _, second) = arrived(world, 2)
    details: dict[str, Any] = {"balance": 3, "currency": None, "at": "(1, 2)"}
    assert first == Reply(b"%016d" % 1, "rejected", 1, [], "no funds", details)
    assert second == Reply(b"%016d" % 2, "ok", 2, [b"first", b"second"], None, {})


def test_they_are_outside_every_transaction(world: World, replies: Replies) -> None:
    """An answer does not wait for a transaction that its worker has open."""
    transactions = world.transactions(owner())
    transactions.send(batch(joined(world, "one").port.metadata(), {FIRST: [b"open"]}))
    topic = events_topic(world.name, FIRST.aggregate)
    wait_until(lambda: world.has_open_transaction(topic), TIMEOUT_S, "the transaction is open")
    replies.send([answer(1)])
    assert numbers(arrived(world, 1)) == [1]
    transactions.abort()
    assert numbers(arrived(world, 1)) == [1]


def test_after_a_flush_all_are_delivered(world: World, replies: Replies) -> None:
    replies.send([answer(number) for number in range(200)])
    replies.flush(TIMEOUT_S)
    found = [read_reply(each.value or b"") for each in world.committed_records(replies_topic(world.name))]
    assert [reply.sequence for reply in found] == list(range(200))


def test_what_cannot_be_sent_is_dropped_and_the_others_go(world: World, replies: Replies) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("cannot be printed")

    replies.send(
        [
            answer(1, partition=-1),
            answer(2, details={"what": Unprintable()}),
            answer(4),
        ]
    )
    replies.flush(TIMEOUT_S)
    assert numbers(arrived(world, 1)) == [4]


def test_a_refusal_too_large_for_a_record_goes_with_its_words_cut(world: World, replies: Replies) -> None:
    details = {"short": 5, "long": "y" * 2 * REPLY_BYTES}
    replies.send([answer(1, status="rejected", reason="x" * 2 * REPLY_BYTES, details=details)])
    replies.flush(TIMEOUT_S)
    ((_, _, reply),) = arrived(world, 1)
    assert (reply.status, reply.reason) == ("rejected", "x" * 1000 + "...")
    assert reply.details == {"short": 5, "long": "y" * 1000 + "..."}


def test_events_too_large_for_a_record_are_to_be_read_back(world: World, replies: Replies) -> None:
    replies.send([answer(1, events=(b"x" * REPLY_BYTES, b"y" * REPLY_BYTES))])
    replies.flush(TIMEOUT_S)
    ((_, _, reply),) = arrived(world, 1)
    assert (reply.status, reply.sequence, reply.events) == ("duplicate", 1, [])

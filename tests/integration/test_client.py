"""The client against a responder that speaks the wire contract: every status, every way not to be answered."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import pytest

from eventsrc import (
    AsyncClient,
    Client,
    CommandFailed,
    EventsrcError,
    IdempotencyConflict,
    InvalidCommand,
    InvalidId,
    OutcomeUnknown,
    Pipeline,
    Rejected,
    TopicsInvalid,
    Unreachable,
    apply,
    handle,
)
from eventsrc.adapters.kafka.topics import create_topics, verify_topics
from eventsrc.runtime.settings import Settings
from tests.harness.brokers import alter_topic
from tests.integration.responder import Answered, Decide, Responder


class Bank(NamedTuple):
    pipeline: Pipeline
    Account: Any
    Deposit: Any
    Deposited: Any


def declare_bank(name: str, partitions: int = 4) -> Bank:
    pipeline = Pipeline(name, partitions=partitions)

    @pipeline.command
    class Deposit:
        amount: int

    @pipeline.event
    class Deposited:
        amount: int

    @pipeline.aggregate
    class Account:
        balance: int = 0

        @handle
        def deposit(self, command: Deposit) -> Deposited:
            return Deposited(command.amount)

        @apply
        def deposited(self, event: Deposited) -> None:
            self.balance += event.amount

    return Bank(pipeline, Account, Deposit, Deposited)


@pytest.fixture
def bank(kafka: str, pipeline_name: str) -> Bank:
    bank = declare_bank(pipeline_name)
    create_topics(bank.pipeline, kafka)
    return bank


@pytest.fixture
def client(bank: Bank, kafka: str) -> Iterator[Client]:
    client = Client(bank.pipeline, kafka, Settings())
    yield client
    client.close(0.1)


def account_of(client: Client, bank: Bank, aggregate_id: str, at: datetime | None = None) -> Any:
    account = client.get(bank.Account, aggregate_id, at=at)
    assert account is not None
    return account


def deposits(bank: Bank) -> Decide:
    return lambda _, command, __: Answered(events=(bank.Deposited(command.amount),))


def always(answered: Answered) -> Decide:
    return lambda *_: answered


def test_a_sent_command_returns_its_events_and_is_seen_by_get_and_history(
    bank: Bank, client: Client, kafka: str
) -> None:
    with Responder(bank.pipeline, kafka, deposits(bank)):
        for number in range(1, 21):
            outcome = client.send(bank.Account, "alice", bank.Deposit(5))
            account = account_of(client, bank, "alice")
            assert (outcome.events, outcome.sequence, outcome.duplicate) == ((bank.Deposited(5),), number, False)
            assert (account.balance, account.sequence, account.id) == (5 * number, number, "alice")
        history = client.history(bank.Account, "alice")
    assert [recorded.sequence for recorded in history] == list(range(1, 21))
    assert [recorded.event for recorded in history] == [bank.Deposited(5)] * 20
    assert history[-1].meta.command_id == outcome.command_id.bytes
    offsets = [recorded.offset or 0 for recorded in history]
    assert offsets == sorted(set(offsets))
    assert client.get(bank.Account, "bob") is None
    assert client.history(bank.Account, "bob") == []


def test_a_past_moment_shows_the_state_of_then(bank: Bank, client: Client, kafka: str) -> None:
    with Responder(bank.pipeline, kafka, deposits(bank)):
        for _ in range(3):
            client.send(bank.Account, "alice", bank.Deposit(1))
            time.sleep(0.005)  # events in different milliseconds
    second = client.history(bank.Account, "alice")[1]
    assert account_of(client, bank, "alice", at=second.time).balance == 2


def test_another_client_sees_what_is_committed(bank: Bank, client: Client, kafka: str) -> None:
    with Responder(bank.pipeline, kafka, deposits(bank)):
        for _ in range(5):
            client.send(bank.Account, "alice", bank.Deposit(1))
    client.get(bank.Account, "alice")
    with Client(bank.pipeline, kafka, Settings()) as other:
        assert account_of(other, bank, "alice").balance == 5


def test_a_rejection_carries_reason_and_details(bank: Bank, client: Client, kafka: str) -> None:
    decide = always(Answered("rejected", reason="insufficient funds", details={"balance": 3}))
    with Responder(bank.pipeline, kafka, decide), pytest.raises(Rejected) as caught:
        client.send(bank.Account, "alice", bank.Deposit(5))
    assert (caught.value.reason, caught.value.details) == ("insufficient funds", {"balance": 3})


def test_a_dead_letter_fails_the_command_with_its_place(bank: Bank, client: Client, kafka: str) -> None:
    details = {"topic": "t", "partition": 1, "offset": 7, "message": "ValueError: boom"}
    decide = always(Answered("failed", reason="handler-failed", details=details))
    with Responder(bank.pipeline, kafka, decide), pytest.raises(CommandFailed) as caught:
        client.send(bank.Account, "alice", bank.Deposit(5))
    assert (caught.value.reason, caught.value.dead_letter) == ("handler-failed", "t/1 offset 7")
    assert "boom" in str(caught.value)


def test_a_conflict_of_keys_is_told_apart(bank: Bank, client: Client, kafka: str) -> None:
    with (
        Responder(bank.pipeline, kafka, always(Answered("conflict"))),
        pytest.raises(IdempotencyConflict, match="alice"),
    ):
        client.send(bank.Account, "alice", bank.Deposit(5), idempotency_key="k")


def test_a_lost_answer_is_recovered_by_sending_again(bank: Bank, client: Client, kafka: str) -> None:
    two_events = Answered(events=(bank.Deposited(1), bank.Deposited(2)), answer=False)
    with Responder(bank.pipeline, kafka, always(two_events)):
        with pytest.raises(OutcomeUnknown, match="same idempotency key"):
            client.send(bank.Account, "alice", bank.Deposit(5), idempotency_key="k", timeout=0.4)
        again = client.send(bank.Account, "alice", bank.Deposit(5), idempotency_key="k")
    assert again.duplicate
    assert again.events == (bank.Deposited(1), bank.Deposited(2))
    assert again.sequence == 2


def test_many_duplicates_at_once_each_get_their_own_events(bank: Bank, client: Client, kafka: str) -> None:
    with Responder(bank.pipeline, kafka, deposits(bank)):
        for duplicate in (False, True):
            futures = [
                client.submit(bank.Account, f"a{n % 7}", bank.Deposit(n), idempotency_key=str(n)) for n in range(60)
            ]
            outcomes = [future.result() for future in futures]
            assert [outcome.events for outcome in outcomes] == [(bank.Deposited(n),) for n in range(60)]
            assert {outcome.duplicate for outcome in outcomes} == {duplicate}


def test_one_key_sent_twice_at_once_ends_both(bank: Bank, client: Client, kafka: str) -> None:
    with Responder(bank.pipeline, kafka, deposits(bank)):
        futures = [client.submit(bank.Account, "alice", bank.Deposit(5), idempotency_key="k") for _ in range(2)]
        outcomes = [future.result() for future in futures]
    assert [outcome.duplicate for outcome in outcomes] == [False, True]
    assert len({outcome.command_id for outcome in outcomes}) == 1


def test_submitted_commands_to_one_id_take_effect_in_order(bank: Bank, client: Client, kafka: str) -> None:
    with Responder(bank.pipeline, kafka, deposits(bank)):
        futures = [client.submit(bank.Account, "alice", bank.Deposit(n)) for n in range(200)]
        assert [future.result().sequence for future in futures] == list(range(1, 201))
    assert [recorded.event.amount for recorded in client.history(bank.Account, "alice")] == list(range(200))


def test_an_answer_that_comes_too_late_is_ignored(bank: Bank, client: Client, kafka: str) -> None:
    slow = iter([Answered(events=(bank.Deposited(1),), delay_s=0.3)])
    decide: Decide = lambda *_: next(slow, Answered(events=(bank.Deposited(2),)))  # noqa: E731 - shorter than a def
    with Responder(bank.pipeline, kafka, decide):
        with pytest.raises(OutcomeUnknown):
            client.send(bank.Account, "alice", bank.Deposit(1), timeout=0.05)
        assert client.send(bank.Account, "alice", bank.Deposit(2)).events == (bank.Deposited(2),)


def test_nobody_answers_within_the_timeout(bank: Bank, client: Client) -> None:
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown, match=r"within 0\.3 s"):
        client.send(bank.Account, "alice", bank.Deposit(5), timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 10  # which is how long it waits when it is not told


def test_closing_ends_what_waits(bank: Bank, client: Client) -> None:
    future = client.submit(bank.Account, "alice", bank.Deposit(5))
    client.close(0.1)
    with pytest.raises(OutcomeUnknown, match="closed"):
        future.result(0)
    with pytest.raises(EventsrcError, match="closed"):
        client.submit(bank.Account, "alice", bank.Deposit(5))


def test_leaving_the_block_waits_for_answers_under_way(bank: Bank, kafka: str) -> None:
    with Responder(bank.pipeline, kafka, deposits(bank)):
        with Client(bank.pipeline, kafka, Settings()) as client:
            future = client.submit(bank.Account, "alice", bank.Deposit(5))
        assert future.result(0).sequence == 1


def test_a_future_cannot_be_cancelled(bank: Bank, client: Client, kafka: str) -> None:
    with Responder(bank.pipeline, kafka, deposits(bank)):
        future = client.submit(bank.Account, "alice", bank.Deposit(5))
        assert not future.cancel()
        assert future.result().sequence == 1


def test_send_in_a_callback_is_refused_instead_of_hanging(bank: Bank, client: Client, kafka: str) -> None:
    raised: list[Exception] = []

    def send_again(_: Any) -> None:
        try:
            client.send(bank.Account, "alice", bank.Deposit(6))
        except EventsrcError as error:
            raised.append(error)

    added = threading.Event()

    def decide(*_: Any) -> Answered:
        assert added.wait(30)
        return Answered(events=(bank.Deposited(1),))

    with Responder(bank.pipeline, kafka, decide):
        future = client.submit(bank.Account, "alice", bank.Deposit(5), timeout=30)
        future.add_done_callback(send_again)
        added.set()
        future.result()
        client.send(bank.Account, "bob", bank.Deposit(1))
    assert "callback" in str(raised[0])


@pytest.mark.parametrize("wrong", ["", "a\0b", "x" * 256, "\ud800"])
def test_a_bad_id_is_refused_without_kafka(pipeline_name: str, wrong: str) -> None:
    bank = declare_bank(pipeline_name)
    with Client(bank.pipeline, "127.0.0.1:1", Settings()) as client, pytest.raises(InvalidId):
        client.submit(bank.Account, wrong, bank.Deposit(5))


def test_what_cannot_be_encoded_is_refused_without_kafka(pipeline_name: str) -> None:
    bank = declare_bank(pipeline_name)
    with Client(bank.pipeline, "127.0.0.1:1", Settings()) as client:
        with pytest.raises(InvalidCommand, match="amount"):
            client.submit(bank.Account, "alice", bank.Deposit(1 << 64))
        with pytest.raises(InvalidCommand, match="handles no str; it handles Deposit"):
            client.submit(bank.Account, "alice", "deposit")


def test_a_broker_that_is_away_is_unreachable(pipeline_name: str) -> None:
    bank = declare_bank(pipeline_name)
    with (
        Client(bank.pipeline, "127.0.0.1:1", Settings()) as client,
        pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"),
    ):
        client.submit(bank.Account, "alice", bank.Deposit(1))


def test_missing_topics_are_named_with_the_mend(kafka: str, pipeline_name: str) -> None:
    bank = declare_bank(pipeline_name)
    with Client(bank.pipeline, kafka, Settings()) as client:
        with pytest.raises(TopicsInvalid) as caught:
            client.send(bank.Account, "alice", bank.Deposit(1))
        with pytest.raises(TopicsInvalid):
            client.get(bank.Account, "alice")
    assert "eventsrc topics create" in caught.value.problems[0]


def test_another_partition_count_is_refused_before_anything_is_sent(bank: Bank, kafka: str) -> None:
    other = declare_bank(bank.pipeline.name, partitions=8)
    with Client(other.pipeline, kafka, Settings()) as client:
        with pytest.raises(TopicsInvalid, match="has 4 partitions, the pipeline declares 8"):
            client.send(other.Account, "alice", other.Deposit(1))
        with pytest.raises(TopicsInvalid, match="has 4 partitions"):
            client.get(other.Account, "alice")


def test_a_refused_delivery_is_known_not_to_have_happened(bank: Bank, client: Client, kafka: str) -> None:
    alter_topic(kafka, f"{bank.pipeline.name}.account.commands", {"max.message.bytes": "60"})
    with pytest.raises(Unreachable, match="was not sent"):
        client.send(bank.Account, "alice", bank.Deposit(1))


def test_the_async_client_has_the_same_contract(bank: Bank, kafka: str) -> None:
    async def use() -> None:
        async with AsyncClient(bank.pipeline, kafka, Settings()) as client:
            outcomes = await asyncio.gather(*(client.send(bank.Account, "alice", bank.Deposit(n)) for n in range(30)))
            assert sorted(outcome.sequence for outcome in outcomes) == list(range(1, 31))
            account: Any = await client.get(bank.Account, "alice")
            assert account.balance == sum(range(30))
            assert len([recorded async for recorded in client.history(bank.Account, "alice")]) == 30
            with pytest.raises(OutcomeUnknown):
                await client.send(bank.Account, "slow", bank.Deposit(1), timeout=0.2)

    def decide(aggregate_id: str, command: Any, _: Any) -> Answered:
        return Answered(events=(bank.Deposited(command.amount),), answer=aggregate_id != "slow")

    with Responder(bank.pipeline, kafka, decide):
        asyncio.run(use())


def test_topics_are_created_once_and_verified(bank: Bank, kafka: str) -> None:
    again = create_topics(bank.pipeline, kafka)
    assert again.created == ()
    assert set(again.existing) == set(verify_topics(bank.pipeline, kafka))
    assert len({topic.topic_id for topic in verify_topics(bank.pipeline, kafka).values()}) == 4


def test_verification_lists_every_problem(bank: Bank, kafka: str) -> None:
    name = bank.pipeline.name
    alter_topic(kafka, f"{name}.account.events", {"cleanup.policy": "delete", "min.compaction.lag.ms": "0"})
    alter_topic(kafka, f"{name}.account.commands", {"message.timestamp.type": "CreateTime", "retention.ms": "1000"})
    alter_topic(kafka, f"{name}.dead-letter", {"max.message.bytes": "1048588"})
    other = declare_bank(name, partitions=8)
    with pytest.raises(TopicsInvalid) as caught:
        verify_topics(other.pipeline, kafka)
    text = "\n".join(caught.value.problems)
    for word in (
        "cleanup.policy",
        "min.compaction.lag.ms",
        "message.timestamp.type",
        "retention.ms",
        "max.message.bytes",
    ):
        assert word in text
    assert text.count("has 4 partitions") == 2


@contextmanager
def fork_free(client: Client) -> Iterator[None]:
    """As in a forked child: the process has another id than the one that made the client."""
    own = client._process
    client._process = own + 1
    try:
        yield
    finally:
        client._process = own


def test_after_a_fork_the_client_says_so(bank: Bank, client: Client, kafka: str) -> None:
    with Responder(bank.pipeline, kafka, deposits(bank)):
        client.send(bank.Account, "alice", bank.Deposit(1))
    with fork_free(client), pytest.raises(EventsrcError, match="fork"):
        client.send(bank.Account, "alice", bank.Deposit(1))


def test_the_reply_names_the_command_it_is_for(bank: Bank, client: Client, kafka: str) -> None:
    """The id that the responder was given is the one that the caller is told."""
    seen: list[bytes] = []

    def decide(_: str, command: Any, meta: Any) -> Answered:
        seen.append(meta.id)
        return Answered(events=(bank.Deposited(command.amount),))

    with Responder(bank.pipeline, kafka, decide):
        outcome = client.send(bank.Account, "alice", bank.Deposit(1))
    assert [uuid.UUID(bytes=each) for each in seen] == [outcome.command_id]

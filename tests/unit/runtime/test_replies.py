"""Waiting commands end exactly once; an answer becomes an outcome or the error that the contract names."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from eventsrc import CommandFailed, IdempotencyConflict, OutcomeUnknown, Pipeline, Rejected, apply, handle
from eventsrc.codec.control import Reply
from eventsrc.errors import DecodingError, SchemaIncompatible, UnknownSchema
from eventsrc.model.aggregate import AggregateType
from eventsrc.runtime.replies import WaitingCommand, WaitingCommands, end_unknown, outcome_of

ID = bytes(range(16))


@pytest.fixture(scope="module")
def account() -> AggregateType:
    pipeline = Pipeline("bank")

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

    return pipeline.aggregate_type(Account)


@pytest.fixture
def waiting(account: AggregateType) -> WaitingCommand:
    return command(account)


def command(
    account: AggregateType,
    command_id: bytes = ID,
    deadline_s: float = 10,
    timeout_s: float = 10,
    repeatable: Any = None,
) -> WaitingCommand:
    return WaitingCommand(command_id, account, b"alice", deadline_s, timeout_s, 0, repeatable)


def reply(status: Any, **fields: Any) -> Reply:
    given = {"command_id": ID, "sequence": 3, "events": [], "reason": None, "details": {}, **fields}
    return Reply(status=status, **given)


def decode(_: AggregateType, value: bytes) -> str:
    return value.decode()


def test_ok_carries_decoded_events_in_order(waiting: WaitingCommand) -> None:
    outcome = outcome_of(reply("ok", events=[b"one", b"two"]), waiting, decode)
    assert outcome == (uuid.UUID(bytes=ID), ("one", "two"), 3, False)


def test_a_duplicate_says_so(waiting: WaitingCommand) -> None:
    assert outcome_of(reply("duplicate"), waiting, decode).duplicate


def test_rejected_is_raised_as_the_handler_raised_it(waiting: WaitingCommand) -> None:
    with pytest.raises(Rejected) as caught:
        outcome_of(reply("rejected", reason="no", details={"balance": 3, "reason": "x"}), waiting, decode)
    assert (caught.value.reason, caught.value.details) == ("no", {"balance": 3, "reason": "x"})


def test_failed_names_reason_and_dead_letter(waiting: WaitingCommand) -> None:
    details = {"message": "boom", "dead_letter": "bank.dead-letter/2"}
    with pytest.raises(CommandFailed, match="boom") as caught:
        outcome_of(reply("failed", reason="constraint", details=details), waiting, decode)
    assert (caught.value.reason, caught.value.dead_letter) == ("constraint", "bank.dead-letter/2")


def test_conflict_and_unheard_of_statuses_have_their_errors(waiting: WaitingCommand) -> None:
    with pytest.raises(IdempotencyConflict, match='account "alice"'):
        outcome_of(reply("conflict"), waiting, decode)
    with pytest.raises(OutcomeUnknown, match="postponed"):
        outcome_of(reply("postponed"), waiting, decode)


@pytest.mark.parametrize(
    "error", [UnknownSchema(b"12345678"), DecodingError("no class of Account reads Opened any more")]
)
def test_events_of_a_newer_worker_do_not_hide_that_the_command_took_effect(
    error: Exception, waiting: WaitingCommand
) -> None:
    def newer(_: AggregateType, value: bytes) -> str:
        raise error

    with pytest.raises(SchemaIncompatible, match=r"took effect \(sequence 3\).*Do not send it again"):
        outcome_of(reply("ok", events=[b"one"]), waiting, newer)


def test_a_command_is_taken_once(account: AggregateType) -> None:
    commands = WaitingCommands()
    first, second = command(account), command(account)
    commands.add(first)
    commands.add(second)
    assert commands.take(ID) is first
    assert commands.take(ID) is second
    assert commands.take(ID) is None
    assert commands.take_expired(1e9) == []
    assert len(commands) == 0


def test_only_what_still_waits_expires_whatever_its_timeout(account: AggregateType) -> None:
    commands = WaitingCommands()
    soon = command(account, b"a" * 16, deadline_s=1, timeout_s=1)
    answered = command(account, b"b" * 16, deadline_s=1, timeout_s=1)
    later = command(account, b"c" * 16, deadline_s=5, timeout_s=5)
    for each in (soon, answered, later):
        commands.add(each)
    commands.take(b"b" * 16)
    assert commands.take_expired(0.5) == []
    assert commands.take_expired(2) == [soon]
    assert commands.take_all() == [later]


def test_a_discarded_command_neither_expires_nor_is_answered(account: AggregateType) -> None:
    commands = WaitingCommands()
    first, second = command(account, deadline_s=1), command(account, deadline_s=1)
    commands.add(first)
    commands.add(second)
    assert commands.discard(first)
    assert not commands.discard(first)
    assert commands.take(ID) is second
    assert commands.take_expired(2) == []


def test_ended_commands_are_not_kept(account: AggregateType) -> None:
    commands = WaitingCommands()
    for number in range(1000):
        each = command(account, number.to_bytes(16, "big"), deadline_s=float(number))
        commands.add(each)
        commands.take(each.command_id)
    commands.take_expired(-1)
    assert not commands._by_timeout


def test_unknown_tells_what_to_do(waiting: WaitingCommand) -> None:
    end_unknown([waiting], "no answer came")
    with pytest.raises(OutcomeUnknown, match="send it again with the same idempotency key"):
        waiting.future.result(0)


def test_the_future_refuses_to_be_cancelled(waiting: WaitingCommand) -> None:
    assert not waiting.future.cancel()


# ---- answers to sends that were given up


def sent_again(account: AggregateType, *payloads: Any, commands: WaitingCommands | None = None) -> tuple[Any, ...]:
    """All under one key; the first has expired."""
    commands = commands or WaitingCommands()
    sends = [
        command(account, deadline_s=1 if not place else 90, repeatable=each) for place, each in enumerate(payloads)
    ]
    commands.add(sends[0])
    assert commands.take_expired(1) == sends[:1]
    for each in sends[1:]:
        commands.add(each)
    return commands, *sends[1:]


def test_a_refusal_of_a_send_that_was_given_up_is_none_of_the_next(account: AggregateType) -> None:
    commands, again = sent_again(account, "five", "five")
    assert commands.take_answered(ID, took_effect=False) is None
    assert commands.take_answered(ID, took_effect=True) is again


def test_what_took_effect_is_told_to_whoever_waits_for_it(account: AggregateType) -> None:
    commands, again, last = sent_again(account, "five", "five", "seven")
    assert commands.take_answered(ID, took_effect=True) is again  # of the first send, or of this one: it is the same
    assert commands.take_answered(ID, took_effect=True) is None
    assert commands.take_answered(ID, took_effect=False) is last  # a conflict


def test_another_payload_did_not_take_effect_by_that(account: AggregateType) -> None:
    commands, other = sent_again(account, "five", "seven")
    assert commands.take_answered(ID, took_effect=True) is None
    assert commands.take_answered(ID, took_effect=False) is other


def test_an_older_send_that_waits_longer_comes_first(account: AggregateType) -> None:
    commands = WaitingCommands()
    patient, hasty = command(account, repeatable="x"), command(account, deadline_s=1, timeout_s=1, repeatable="x")
    commands.add(patient)
    commands.add(hasty)
    assert commands.take_expired(2) == [hasty]
    assert commands.take_answered(ID, took_effect=False) is patient
    assert commands.take_answered(ID, took_effect=False) is None


def test_an_answer_that_was_lost_is_not_waited_for(account: AggregateType) -> None:
    """Those of a partition come in order: one to a later send has come."""
    commands, again = sent_again(account, "five", "five")
    other = command(account, b"o" * 16)
    commands.add(other)
    assert commands.take_answered(b"o" * 16, took_effect=True) is other
    assert commands.take_answered(ID, took_effect=False) is again


def test_what_was_given_up_is_forgotten(account: AggregateType) -> None:
    commands, again = sent_again(account, "five", "five")
    late = command(account, b"o" * 16, deadline_s=601, timeout_s=2, repeatable="x")
    commands.add(late)
    assert {*commands.take_expired(601)} == {again, late}
    third = command(account, deadline_s=2000, timeout_s=3, repeatable="five")
    commands.add(third)
    assert commands.take_answered(ID, took_effect=False) is None  # the second's
    assert commands.take_answered(ID, took_effect=False) is third


def test_without_a_key_nothing_is_kept(account: AggregateType) -> None:
    commands, other = sent_again(account, None, None)
    assert commands.take_answered(ID, took_effect=False) is other

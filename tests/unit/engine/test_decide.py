"""Deciding commands: what each comes to, and that a command's failure concerns that command alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eventsrc import Rejected
from eventsrc.engine.counts import Counts
from eventsrc.engine.decide import Limits
from eventsrc.engine.memory import ENTRY_BYTES, remember
from eventsrc.errors import InvalidSchema
from eventsrc.model.position import Position
from tests.unit.engine.deciding import KEY, NOW_US, TERM, Desk, header
from tests.unit.engine.shop import (
    ACCOUNT,
    BASKET,
    Audit,
    Custom,
    Deposit,
    Deposited,
    DepositParts,
    Placed,
    Poison,
    Put,
    Record,
    Withdraw,
    behaviour,
    catalog,
    command_id,
    command_value,
    event_value,
    key_on,
)

UNKNOWN = b"\xc3\x01" + b"\x07" * 8 + b"body"


@pytest.fixture(autouse=True)
def _own_behaviour() -> Iterator[None]:
    yield
    behaviour.clear()


def handler(function: Callable[..., Any], name: str = "handler") -> Custom:
    behaviour[name] = function
    return Custom(name)


# ---- what a command comes to


def test_one_event_is_written_under_sequence_and_term_and_applied() -> None:
    desk = Desk()
    assert desk.decide(Deposit(5), Deposit(7)) == 2
    assert desk.event_keys == [b"%b@1#%d" % (KEY, TERM), b"%b@2#%d" % (KEY, TERM)]
    assert desk.events == [Deposited(5), Deposited(7)]
    assert (desk.live().balance, desk.live().sequence, desk.live().id) == (12, 2, KEY.decode())
    assert desk.statuses == [("ok", 1), ("ok", 2)]
    assert desk.section.position == 2
    assert desk.partition.counts == Counts(applied=2)


def test_several_events_stand_together_with_index_count_and_rising_times() -> None:
    desk = Desk()
    desk.decide(DepositParts(3, 3))
    metas = [catalog.event_reader(ACCOUNT, each[1][:10])(each[1])[0] for each in desk.section.records]
    assert [(meta[4], meta[5], meta.source_offset) for meta in metas] == [(0, 3, 0), (1, 3, 0), (2, 3, 0)]
    assert [meta.time for meta in metas] == [NOW_US, NOW_US + 1, NOW_US + 2]
    assert [each[2] for each in desk.section.records] == [NOW_US // 1000] * 3
    assert {meta.command_id for meta in metas} == {command_id("c0")}
    assert desk.live().balance == 9
    assert desk.statuses == [("ok", 3)]
    assert desk.answers[0].events == tuple(each[1] for each in desk.section.records)


@pytest.mark.parametrize("command", [Audit(), DepositParts(3, 0)])
def test_no_event_is_an_answer_of_its_own_and_makes_no_aggregate(command: Any) -> None:
    desk = Desk()
    desk.decide(command)
    assert desk.statuses == [("ok", 0)]
    assert desk.partition.live == {}
    assert desk.section.records == []
    assert desk.section.position == 1
    assert desk.partition.counts == Counts(empty=1)


def test_a_rejection_carries_reason_and_details_and_leaves_no_trace() -> None:
    desk = Desk()
    desk.decide(Deposit(5), Withdraw(6))
    assert (desk.answers[1].reason, desk.answers[1].details) == ("insufficient funds", {"balance": 5})
    assert desk.statuses == [("ok", 1), ("rejected", 1)]
    assert desk.live().balance == 5
    assert desk.partition.counts == Counts(applied=1, rejected=1)


def test_a_rejection_of_the_applications_own_class_needs_no_words() -> None:
    class Closed(Rejected):
        def __init__(self) -> None:
            pass

    def close(account: Any, command: Any, context: Any) -> None:
        raise Closed

    desk = Desk()
    desk.decide(handler(close))
    assert [(answer.status, answer.reason, dict(answer.details)) for answer in desk.answers] == [
        ("rejected", "no reason was given", {})
    ]
    assert str(Closed()) == "no reason was given"


def test_a_repeated_command_is_answered_with_its_first_sequence() -> None:
    desk = Desk()
    desk.decide(Deposit(5), Deposit(6), Deposit(5), names=["once", "other", "once"])
    assert desk.statuses == [("ok", 1), ("ok", 2), ("duplicate", 1)]
    assert desk.live().balance == 11
    assert desk.partition.counts == Counts(applied=2, duplicate=1)


def test_the_same_id_with_another_payload_or_of_another_kind_is_a_conflict() -> None:
    desk = Desk()
    desk.decide(Deposit(5), Deposit(6), Withdraw(5), names=["once"] * 3)
    assert desk.statuses == [("ok", 1), ("conflict", 1), ("conflict", 1)]
    assert desk.live().balance == 5


def test_a_repeated_command_that_made_no_event_is_decided_again() -> None:
    desk = Desk()
    desk.decide(Withdraw(5), Deposit(9), Withdraw(5), names=["again", "between", "again"])
    assert desk.statuses == [("rejected", 0), ("ok", 1), ("ok", 2)]


def test_nobody_is_answered_who_did_not_ask() -> None:
    desk = Desk()
    sent = [(Deposit(1), "a"), (Deposit(1), "a"), (Withdraw(9), "b"), (Audit(), "c"), (Poison(), "d")]
    values = [command_value(command, name, reply=None) for command, name in sent]
    desk.decide(*values)
    assert desk.answers == []
    assert desk.partition.counts == Counts(applied=1, duplicate=1, rejected=1, empty=1, dead=1)


# ---- failing handlers


def test_a_failing_handler_is_tried_again_in_place_then_set_aside_while_the_rest_goes_on() -> None:
    desk, seen = Desk(limits=Limits(handler_attempts=3)), []

    def fail(account: Any, command: Any, context: Any) -> float:
        seen.append(context.now)
        return 1 // 0

    failing = handler(fail)
    desk.decide(Deposit(1), failing, Deposit(2))
    assert len(seen) == 3
    assert desk.reasons == ["handler-failed"]
    assert "ZeroDivisionError" in header(desk.dead[0], "eventsrc.message")
    assert "after 3 attempts" in header(desk.dead[0], "eventsrc.message")
    assert "1 // 0" in header(desk.dead[0], "eventsrc.traceback")
    assert desk.statuses == [("ok", 1), ("failed", 1), ("ok", 2)]
    assert desk.answers[1].reason == "handler-failed"
    assert desk.live().balance == 3


def test_a_handler_that_recovers_is_applied_once() -> None:
    desk, tries = Desk(), []

    def unsteady(account: Any, command: Any, context: Any) -> list[Deposited]:
        tries.append(1)
        if len(tries) < 3:
            raise OSError
        return [Deposited(4)]

    desk.decide(handler(unsteady))
    assert desk.statuses == [("ok", 1)]
    assert desk.dead == []
    assert desk.live().balance == 4


def test_every_attempt_sees_the_same_time_randomness_and_ids() -> None:
    desk, seen = Desk(), []

    def curious(account: Any, command: Any, context: Any) -> None:
        seen.append((context.now, context.random.random(), context.uuid(), context.uuid(), context.command_id))
        raise OSError

    desk.decide(handler(curious))
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_attempts_do_not_share_a_command_that_one_of_them_changed() -> None:
    desk, seen = Desk(BASKET), []

    def put(basket: Any, command: Put) -> Placed:
        seen.append(list(command.tags))
        command.tags.append("changed")
        raise OSError

    handlers = dict(BASKET.handlers)
    handlers[Put] = dataclasses.replace(BASKET.handlers[Put], function=put)
    desk = Desk(dataclasses.replace(BASKET, handlers=handlers))
    desk.decide(Put("pen", ["blue"]))
    assert seen == [["blue"]] * 3


@pytest.mark.parametrize("aggregate", [ACCOUNT, BASKET], ids=["flat", "nested"])
def test_a_handler_that_changes_the_state_and_raises_leaves_no_trace(aggregate: Any) -> None:
    desk = Desk(aggregate)
    first: Any = Deposit(5) if aggregate is ACCOUNT else Put("pen", ["blue"])
    desk.decide(first)
    before = catalog.state_writer(aggregate)(desk.live()), desk.live().sequence, desk.live()._eventsrc_memory

    def vandal(instance: Any, command: Any, context: Any) -> None:
        if aggregate is ACCOUNT:
            instance.balance = -1
        else:
            instance.items.clear()
            instance.tags["pen"].append("broken")
        raise (Rejected("no") if command.name == "rejects" else OSError())

    behaviour["rejects"] = vandal
    desk.decide(handler(vandal), Custom("rejects"))
    assert [status for status, _ in desk.statuses] == ["ok", "failed", "rejected"]
    assert before == (catalog.state_writer(aggregate)(desk.live()), desk.live().sequence, desk.live()._eventsrc_memory)


def test_a_generator_that_fails_midway_writes_nothing() -> None:
    def midway(account: Any, command: Any, context: Any) -> Iterator[Deposited]:
        yield Deposited(1)
        raise OSError

    desk = Desk()
    desk.decide(handler(midway), Deposit(2))
    assert desk.events == [Deposited(2)]
    assert desk.live().balance == 2


def test_a_generator_that_rejects_midway_writes_nothing() -> None:
    def midway(account: Any, command: Any, context: Any) -> Iterator[Deposited]:
        yield Deposited(1)
        raise Rejected("not the rest")

    desk = Desk()
    desk.decide(handler(midway))
    assert desk.statuses == [("rejected", 0)]
    assert desk.section.records == []
    assert desk.partition.live == {}


@pytest.mark.parametrize("failure", [OSError("of apply"), Rejected("too late to reject")], ids=["error", "rejected"])
def test_an_apply_method_that_fails_midway_takes_all_of_the_commands_events_back(failure: Exception) -> None:
    """A rejection too: apply cannot decide. Its events must not be written while the state forgets them."""

    def apply(account: Any, event: Any, recorded: Any) -> None:
        if recorded.meta[4] == 1:
            raise failure

    behaviour["apply"] = apply
    desk = Desk()
    desk.decide(DepositParts(1, 2), Deposit(5))
    assert desk.reasons == ["handler-failed"]
    assert desk.events == [Deposited(5)]
    assert desk.event_keys == [b"%b@1#%d" % (KEY, TERM)]
    assert (desk.live().balance, desk.live().sequence) == (5, 1)


@pytest.mark.parametrize("returned", [["no event"], [Placed("pen", [])], 5, [Deposited(1 << 63)], [Deposited("five")]])  # type: ignore[arg-type]  # what a mistaken handler returns
def test_a_handler_that_returns_what_cannot_be_written_has_failed(returned: Any) -> None:
    desk = Desk()
    desk.decide(handler(lambda account, command, context: returned), Deposit(1))
    assert desk.reasons == ["handler-failed"]
    assert desk.events == [Deposited(1)]


def test_an_event_that_is_too_large_is_the_handlers_failure() -> None:
    desk = Desk(BASKET, limits=Limits(max_event_bytes=200))
    desk.decide(Put("x" * 300, []), Put("pen", []))
    assert desk.reasons == ["handler-failed"]
    assert "at most 200 fit" in header(desk.dead[0], "eventsrc.message")
    assert desk.events == [Placed("pen", [])]


def test_an_error_that_cannot_even_be_printed_concerns_its_command_alone() -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise OSError

    def unprintable(account: Any, command: Any, context: Any) -> None:
        raise UnprintableError

    desk = Desk()
    desk.decide(handler(unprintable), Deposit(1))
    assert desk.reasons == ["handler-failed"]
    assert "UnprintableError" in header(desk.dead[0], "eventsrc.message")
    assert desk.events == [Deposited(1)]


def test_a_command_that_leaves_a_state_that_cannot_be_kept_fails_alone() -> None:
    """An @apply method put a number into a list of text: nothing of it stays, and the aggregate goes on."""
    desk = Desk(BASKET)
    desk.decide(Put("pen", []))
    behaviour["apply"] = lambda basket, event, recorded: basket.items.append(5)
    desk.decide(Put("cup", []))
    behaviour.clear()
    desk.decide(Put("cap", []))
    assert [status for status, _ in desk.statuses] == ["ok", "failed", "ok"]
    assert "left in Basket what cannot be kept: Basket.items" in header(desk.dead[0], "eventsrc.message")
    assert (desk.live().items, desk.live().sequence) == (["pen", "cap"], 2)


@pytest.mark.parametrize("balance", [2**63, -(2**63) - 1, True, 1.0])
def test_a_number_that_outgrows_its_field_fails_its_command(balance: Any) -> None:
    desk = Desk()
    desk.decide(Deposit(1))
    behaviour["apply"] = lambda account, event, recorded: setattr(account, "balance", balance)
    desk.decide(Deposit(2))
    assert desk.reasons == ["handler-failed"]
    assert "left in Account what cannot be kept: Account.balance" in header(desk.dead[0], "eventsrc.message")
    assert (desk.live().balance, desk.live().sequence) == (1, 1)


@pytest.mark.parametrize("balance", [2**63 - 1, -(2**63)])
def test_a_field_holds_all_64_bits(balance: int) -> None:
    behaviour["apply"] = lambda account, event, recorded: setattr(account, "balance", balance)
    desk = Desk()
    desk.decide(Deposit(2))
    assert (desk.reasons, desk.live().balance) == ([], balance)


# ---- what is remembered


@pytest.mark.parametrize("start_us", [1_700_000_000_000_000, (1 << 52) - 15 * 60_000_000], ids=["now", "in 2112"])
def test_what_is_remembered_is_what_a_fold_of_the_events_remembers(start_us: int) -> None:
    """The hot loop does by itself what `remember` does. Times come round in 2112."""
    desk, memory = Desk(), b""
    for number in range(30):
        desk.now_us = start_us + number * 60_000_000
        desk.decide(Deposit(1))
        _, value, _ = desk.section.records[-1]
        meta, _ = catalog.event_reader(ACCOUNT, value[:10])(value)
        memory = remember(memory, ACCOUNT.deduplicate, meta.command_id, meta.time, meta.count, meta.payload_hash)
        assert desk.live()._eventsrc_memory == memory
    assert len(memory) < 13 * ENTRY_BYTES


# ---- purity


def impure(account: Any, command: Any, context: Any) -> list[Deposited]:
    account.balance += 100
    return [Deposited(1)]


def impure_generator(account: Any, command: Any, context: Any) -> Iterator[Deposited]:
    account.balance += 100
    yield Deposited(1)


@pytest.mark.parametrize("function", [impure, impure_generator])
def test_a_sampled_handler_that_changes_the_state_is_found(function: Callable[..., Any]) -> None:
    desk = Desk()
    desk.decide(handler(function), Deposit(1))
    assert desk.reasons == ["handler-failed"]
    assert "only an @apply method changes state" in header(desk.dead[0], "eventsrc.message")
    assert desk.live().balance == 1


def test_one_handler_call_in_so_many_is_sampled() -> None:
    desk = Desk(limits=Limits(purity_sample=3))
    desk.decide(Deposit(1))
    assert desk.surroundings.purity_countdown == 3
    desk.decide(handler(impure), Deposit(1))
    assert desk.dead == []
    desk.decide(handler(impure))
    assert desk.reasons == ["handler-failed"]


# ---- aggregate and event share nothing


def test_an_event_is_applied_from_its_decoded_copy() -> None:
    tags = ["blue"]
    desk = Desk(BASKET)
    desk.decide(handler(lambda basket, command, context: [Placed("pen", tags)]))
    tags.append("later")
    desk.live().tags["pen"].append("kept by the state")
    assert desk.events == [Placed("pen", ["blue"])]
    assert desk.live().tags == {"pen": ["blue", "kept by the state"]}


# ---- what never comes to a handler


def test_reasons_to_refuse_come_in_the_contracts_order() -> None:
    """Each record has the fault of its line and, as far as they can be had together, of all lines below it."""
    elsewhere, garbage = key_on(1), b"x" * 1000
    trailing = command_value(Deposit(-1), "c") + b"\0"
    of_another = command_value(Put("pen", []), "c", of=BASKET)
    event = event_value(Deposited(1), "c")
    limits = Limits(max_command_bytes=500)
    lines: list[tuple[str, bytes | None, bytes | None]] = [
        ("null-key", None, None),
        ("null-key", None, garbage),
        ("bad-id", b"", None),
        ("bad-id", b"\0nul", None),
        ("bad-id", b"\xff", garbage),
        ("bad-id", b"i" * 256, None),
        ("wrong-partition", elsewhere, None),
        ("wrong-partition", elsewhere, garbage),
        ("null-value", KEY, None),
        ("oversize", KEY, garbage),
        ("undecodable", KEY, b"no command"),
        ("undecodable", KEY, b""),
        ("undecodable", KEY, trailing),
        ("unknown-schema", KEY, UNKNOWN),
        ("not-a-command", KEY, event),
        ("not-a-command", KEY, of_another),
        ("constraint", KEY, command_value(Deposit(-1), "c")),
        ("handler-failed", KEY, command_value(Poison(), "c")),
    ]
    desk = Desk(limits=limits)
    desk.surroundings.given_up.add(UNKNOWN[2:10])
    desk.run([Record(offset, key, value) for offset, (_, key, value) in enumerate(lines)])
    assert desk.reasons == [reason for reason, _, _ in lines]
    assert desk.section.position == len(lines)
    assert desk.partition.counts == Counts(dead=len(lines))
    assert [(letter.key, letter.value) for letter in desk.dead] == [(key, value) for _, key, value in lines]


def test_the_caller_is_told_where_it_is_known_who_asked() -> None:
    desk = Desk()
    desk.decide(command_value(Deposit(-1), "c"))
    (answer,) = desk.answers
    assert (answer.status, answer.reason, answer.command_id) == ("failed", "constraint", command_id("c"))
    assert answer.details["dead_letter"] == "dead letter of shop.account.commands/0 offset 0"


def test_a_command_isolated_for_ending_the_process_is_set_aside_without_its_handler() -> None:
    called: list[int] = []
    desk = Desk()
    desk.surroundings.isolated["account", 0, 0] = "it ended the process"
    desk.decide(handler(lambda account, command, context: called.append(1)), Deposit(1))
    assert called == []
    assert desk.reasons == ["handler-failed"]
    assert desk.live().balance == 1


def test_an_isolated_command_is_not_even_decoded_and_its_caller_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 35: it may be the decoder that ended the process, and nothing is cached in the life after."""
    desk = Desk()

    def deadly(value: bytes) -> Any:
        raise AssertionError("decoded once more")

    monkeypatch.setattr(desk.partition.compiled, "command", deadly)
    desk.surroundings.isolated["account", 0, 0] = "it ended the process"
    desk.decide(Deposit(1))
    assert desk.reasons == ["handler-failed"]
    (answer,) = desk.answers
    assert (answer.partition, answer.command_id, answer.status) == (0, command_id("c0"), "failed")


def test_at_an_unknown_schema_the_partition_waits_before_that_command() -> None:
    desk = Desk()
    assert desk.decide(Deposit(1), UNKNOWN, Deposit(2)) == 1
    assert desk.partition.waiting_for == (1, UNKNOWN[2:10])
    assert (desk.partition.position, desk.section.position) == (1, 1)


def test_at_a_schema_file_that_is_damaged_the_partition_waits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(value: bytes) -> Any:
        raise InvalidSchema("half a file")

    desk = Desk()
    monkeypatch.setattr(desk.partition.compiled, "command", damaged)
    assert desk.decide(UNKNOWN) == 0
    assert desk.partition.waiting_for == (0, UNKNOWN[2:10])
    desk.surroundings.given_up.add(UNKNOWN[2:10])
    assert desk.decide(UNKNOWN) == 1
    assert desk.reasons == ["unknown-schema"]


def test_a_batch_of_nothing_but_an_unknown_schema_carries_nothing() -> None:
    desk = Desk()
    assert desk.decide(UNKNOWN) == 0
    assert desk.batch.sections == {}


# ---- when a batch is full


def test_a_batch_takes_no_more_than_its_limits() -> None:
    by_records = Desk(limits=Limits(records=2))
    assert by_records.decide(Deposit(1), Audit(), Deposit(3)) == 2
    assert by_records.partition.position == 2
    by_bytes = Desk(limits=Limits(output_bytes=1))
    assert by_bytes.decide(Deposit(1), Deposit(2)) == 1


def test_a_batch_ends_when_its_time_is_over() -> None:
    desk = Desk()

    def slow(account: Any, command: Any, context: Any) -> None:
        desk.clock_s = 1.5

    assert desk.decide(Deposit(1), handler(slow), Deposit(2)) == 2


def test_a_handler_that_fails_slower_than_a_batch_lasts_is_still_set_aside() -> None:
    """Were its attempts cut off by the batch's end, each batch would begin with the first attempt again, for ever."""
    desk, tries = Desk(), []

    def slow(account: Any, command: Any, context: Any) -> None:
        tries.append(1)
        desk.clock_s += 1.5
        raise OSError

    assert desk.decide(handler(slow), Deposit(2)) == 1
    assert desk.reasons == ["handler-failed"]
    assert len(tries) == 3


@pytest.mark.parametrize("room", [1_000, 1_800, 100_000])
def test_a_command_that_fails_in_a_batch_that_a_retry_has_filled_is_set_aside_or_left_for_the_next(room: int) -> None:
    """Its attempts belong to it, however full the batch is by then: it is never passed over. What a successful retry made counts
    for the commands after it."""
    desk, tries = Desk(limits=Limits(output_bytes=room)), {"large": 0, "broken": 0}
    desk.batch.commands, desk.batch.output_bytes = 1, 900  # of another partition

    def large_at_the_second_try(account: Any, command: Any, context: Any) -> list[Deposited]:
        tries["large"] += 1
        if tries["large"] == 1:
            raise OSError
        return [Deposited(1) for _ in range(20)]

    def broken(account: Any, command: Any, context: Any) -> None:
        tries["broken"] += 1
        raise OSError

    taken = desk.decide(handler(large_at_the_second_try, "large"), handler(broken, "broken"), Deposit(2))
    full = room < 100_000
    assert taken == (1 if full else 3)
    assert desk.partition.position == taken
    assert tries == {"large": 2, "broken": 0 if full else 3}
    assert desk.partition.counts == Counts(applied=1 if full else 2, dead=0 if full else 1)


def test_a_batch_takes_one_command_however_late_it_is() -> None:
    desk = Desk(clock_s=99.0)
    assert desk.decide(Deposit(1), Deposit(2)) == 1


def test_what_was_fetched_before_a_rewind_is_skipped_and_gaps_are_none() -> None:
    desk = Desk()
    desk.partition.position = Position(5)
    values = command_value(Deposit(1), "a"), command_value(Deposit(1), "b")
    records = [Record(3, KEY, values[0]), Record(4, KEY, values[0]), Record(9, KEY, values[1])]
    assert desk.run(records) == 3
    assert desk.partition.counts == Counts(applied=1)
    assert desk.section.position == 10
    assert desk.section.start == 5


# ---- the way back


@pytest.mark.parametrize("aggregate", [ACCOUNT, BASKET], ids=["flat", "nested"])
def test_batches_taken_back_newest_first_leave_what_was_before(aggregate: Any) -> None:
    commands: list[Any] = (
        [Deposit(1), Deposit(2), Deposit(3)]
        if aggregate is ACCOUNT
        else [Put("a", ["1"]), Put("b", ["2"]), Put("c", ["3"])]
    )
    other, write = key_on(0, prefix="other"), catalog.state_writer(aggregate)
    desk = Desk(aggregate)
    desk.decide(commands[0])
    desk.next_batch()
    before, memory, counts = write(desk.live()), desk.live()._eventsrc_memory, desk.partition.counts.copy()
    desk.decide(commands[1], Poison() if aggregate is ACCOUNT else commands[1])
    desk.decide(commands[1], key=other)
    current = desk.next_batch()
    desk.decide(commands[2])
    desk.decide(commands[2], key=other)
    ahead = desk.next_batch()
    assert desk.live().sequence == 3
    for batch in (ahead, current):
        desk.partition.take_back(batch.sections[desk.partition.key])
    assert (write(desk.live()), desk.live()._eventsrc_memory) == (before, memory)
    assert set(desk.partition.live) == {KEY}
    assert (desk.partition.position, desk.partition.counts) == (1, counts)
    assert len(memory) == ENTRY_BYTES


@pytest.mark.parametrize("ending", [SystemExit(0), KeyboardInterrupt(), GeneratorExit()])
def test_a_handler_that_would_end_the_process_fails_its_command_alone(ending: BaseException) -> None:
    def leave(account: Any, command: Any, context: Any) -> None:
        raise ending

    desk = Desk()
    desk.decide(handler(leave), Deposit(1))
    assert desk.reasons == ["handler-failed"]
    assert desk.events == [Deposited(1)]


def test_a_handler_that_returns_no_event_is_told_what_it_may_return() -> None:
    desk = Desk()
    desk.decide(handler(lambda account, command, context: 17))
    assert "a handler returned int" in header(desk.dead[0], "eventsrc.message")
    assert "or an iterable of such events" in header(desk.dead[0], "eventsrc.message")


def test_what_was_encoded_when_its_command_came_is_taken_back_to_what_it_was() -> None:
    desk = Desk()
    desk.decide(Deposit(5))
    desk.next_batch()
    before = desk.partition.states.encoded(KEY)
    assert desk.partition.states.cool(1, ()) == 1
    desk.decide(Deposit(7))
    assert desk.live().sequence == 2
    desk.partition.take_back(desk.section)
    assert desk.partition.states.encoded(KEY) == before

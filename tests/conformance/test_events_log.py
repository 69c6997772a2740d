"""`ports.EventsLog`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eventsrc.model.names import events_topic
from eventsrc.model.position import Position
from eventsrc.ports import EventsLog, Transactions
from tests.conformance.world import (
    FIRST,
    SECOND,
    TIMEOUT_S,
    WALL_MS,
    Listener,
    Member,
    World,
    batch,
    joined,
    offsets,
    owner,
    read,
    values,
)
from tests.harness.collect import wait_until

START = Position(0)


@pytest.fixture
def member(world: World) -> Member:
    return joined(world, "one")


@pytest.fixture
def transactions(world: World) -> Transactions:
    return world.transactions(owner())


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def log(world: World, listener: Listener) -> EventsLog:
    return world.events_log(listener)


@pytest.fixture
def write(member: Member, transactions: Transactions) -> Callable[..., None]:
    """Commits a transaction with these values for the first partition, and those of `second`."""

    def commit(*first: bytes, second: tuple[bytes, ...] = ()) -> None:
        sent = batch(member.port.metadata(), {FIRST: first, SECOND: second})
        transactions.send(sent)
        transactions.finish(sent)

    return commit


def test_records_come_in_offset_order_as_they_were_written(log: EventsLog, write: Callable[..., None]) -> None:
    write(b"a", b"b")
    write(b"c")
    log.start(FIRST, START)
    found = read(lambda: log.poll(2, 0.05), 3, FIRST)
    assert values(found) == [b"a", b"b", b"c"]
    assert offsets(found) == sorted(offsets(found))
    first = found[0]
    assert (first.partition(), first.key(), first.timestamp()[1]) == (0, b"key-a", WALL_MS)
    assert first.topic() is not None
    assert not first.headers()


def test_partitions_are_read_beside_each_other(log: EventsLog, write: Callable[..., None]) -> None:
    write(b"a", second=(b"b", b"c"))
    found: dict[object, list[bytes]] = {FIRST: [], SECOND: []}

    def all_read() -> bool:
        for key, records in log.poll(100, 0.05).items():
            found[key] += values(records)
        return sum(map(len, found.values())) == 3

    log.start(FIRST, START)
    log.start(SECOND, START)
    wait_until(all_read, TIMEOUT_S, "three records")
    assert found == {FIRST: [b"a"], SECOND: [b"b", b"c"]}


def test_reading_begins_at_the_position(log: EventsLog, write: Callable[..., None]) -> None:
    write(b"a", b"b", b"c")
    log.start(FIRST, Position(1))
    assert values(read(lambda: log.poll(100, 0.05), 2, FIRST)) == [b"b", b"c"]


def test_starting_again_begins_again(log: EventsLog, write: Callable[..., None]) -> None:
    write(b"a", b"b", second=(b"c",))
    log.start(FIRST, START)
    assert values(read(lambda: log.poll(100, 0.05), 2, FIRST)) == [b"a", b"b"]
    log.start(SECOND, START)
    log.start(FIRST, START)
    assert values(read(lambda: log.poll(1, 0.05), 2, FIRST)) == [b"a", b"b"]


def test_no_more_than_the_limit_comes_at_once(log: EventsLog, write: Callable[..., None]) -> None:
    write(*(b"%d" % number for number in range(20)), second=tuple(b"x%d" % number for number in range(20)))
    log.start(FIRST, START)
    log.start(SECOND, START)
    sizes: list[int] = []

    def all_read() -> bool:
        sizes.append(sum(map(len, log.poll(7, 0.05).values())))
        return sum(sizes) == 40

    wait_until(all_read, TIMEOUT_S, "forty records")
    assert max(sizes) <= 7


def test_what_was_stopped_brings_nothing_and_others_go_on(log: EventsLog, write: Callable[..., None]) -> None:
    write(b"a", b"b", second=(b"c", b"d"))
    log.start(FIRST, START)
    log.start(SECOND, START)
    read(lambda: log.poll(1, 0.05), 1, FIRST)
    log.stop(FIRST)
    log.start(SECOND, START)
    polled = []

    def second_read() -> bool:
        polled.append(log.poll(100, 0.05))
        return sum(len(each.get(SECOND, ())) for each in polled) == 2

    wait_until(second_read, TIMEOUT_S, "the second partition is read")
    polled.append(log.poll(100, 0.05))
    assert all(FIRST not in each for each in polled)


def test_it_is_active_while_something_is_read(log: EventsLog) -> None:
    assert not log.active
    assert log.poll(100, 0.0) == {}
    log.start(FIRST, START)
    log.start(SECOND, START)
    assert log.active
    log.stop(FIRST)
    assert log.active
    log.stop(SECOND)
    assert not log.active
    assert log.poll(100, 0.0) == {}


def test_closed_it_is_not_active(log: EventsLog) -> None:
    log.start(FIRST, START)
    log.close()
    assert not log.active


def test_nothing_at_or_above_an_open_transaction_comes_before_it_is_decided(
    world: World, log: EventsLog, member: Member, write: Callable[..., None]
) -> None:
    write(b"before")
    earlier = world.transactions(owner())
    undecided = batch(member.port.metadata(), {FIRST: [b"open"]})
    earlier.send(undecided)
    topic = events_topic(world.name, FIRST.aggregate)
    wait_until(lambda: world.has_open_transaction(topic), TIMEOUT_S, "the transaction is open")
    write(b"above")
    log.start(FIRST, START)
    found = read(lambda: log.poll(100, 0.05), 1, FIRST)
    for _ in range(5):
        found += log.poll(100, 0.02).get(FIRST, [])
    assert values(found) == [b"before"]
    earlier.finish(undecided)
    assert values(read(lambda: log.poll(100, 0.05), 2, FIRST)) == [b"open", b"above"]


def test_aborted_records_never_come(
    world: World, log: EventsLog, member: Member, transactions: Transactions, write: Callable[..., None]
) -> None:
    transactions.send(batch(member.port.metadata(), {FIRST: [b"aborted"]}))
    wait_until(
        lambda: world.has_open_transaction(events_topic(world.name, FIRST.aggregate)), TIMEOUT_S, "it is produced"
    )
    transactions.abort()
    write(b"after")
    log.start(FIRST, START)
    assert values(read(lambda: log.poll(100, 0.05), 1, FIRST)) == [b"after"]


def test_a_position_that_the_log_does_not_hold_is_reported(
    log: EventsLog, listener: Listener, write: Callable[..., None]
) -> None:
    write(b"a")
    log.start(FIRST, Position(1000))

    def reported() -> bool:
        assert log.poll(100, 0.05) == {}
        return bool(listener.errors)

    wait_until(reported, TIMEOUT_S, "the position is reported")
    assert listener.errors.keys() == {FIRST}

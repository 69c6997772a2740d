"""`ports.Membership` and `ports.RebalanceListener`."""

from __future__ import annotations

import pytest

from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import Fenced
from eventsrc.model.position import Position
from tests.conformance.world import (
    FIRST,
    SECOND,
    TIMEOUT_S,
    Listener,
    Member,
    World,
    joined,
    offsets,
    values,
)
from tests.harness.collect import wait_until

START = Position(0)
MANY = tuple(b"%d" % number for number in range(40))


@pytest.fixture
def member(world: World) -> Member:
    return joined(world, "one")


def drained(member: Member, polls: int = 5) -> list[PartitionKey]:
    """The partitions that a few polls bring something of."""
    return [key for _ in range(polls) for key in member.port.poll(100, 0.02)]


# ---- poll and open


def test_an_assigned_partition_brings_nothing_before_it_is_opened(world: World, member: Member) -> None:
    world.send_commands(FIRST, b"a")
    world.send_commands(SECOND, b"b")
    assert drained(member) == []
    member.port.open(SECOND, START)
    assert values(member.read(1, SECOND)) == [b"b"]
    assert drained(member) == []


def test_records_come_in_offset_order_from_the_position_on(world: World, member: Member) -> None:
    world.send_commands(FIRST, *MANY)
    member.port.open(FIRST, Position(10))
    found = member.read(30, limit=7)
    assert offsets(found) == list(range(10, 40))
    assert values(found) == list(MANY[10:])
    record = found[0]
    assert (record.partition(), record.key(), record.topic()) == (0, b"key", f"{world.name}.account.commands")
    assert record.timestamp()[1] > 0
    assert not record.headers()


def test_records_that_are_sent_later_come_too(world: World, member: Member) -> None:
    member.port.open(FIRST, START)
    assert drained(member, 2) == []
    world.send_commands(FIRST, b"a")
    assert values(member.read(1)) == [b"a"]
    world.send_commands(FIRST, b"b")
    assert values(member.read(1)) == [b"b"]


def test_no_more_than_the_limit_comes_at_once(world: World, member: Member) -> None:
    world.send_commands(FIRST, *MANY)
    world.send_commands(SECOND, *MANY)
    for key in (FIRST, SECOND):
        member.port.open(key, START)
    sizes: list[int] = []

    def all_read() -> bool:
        sizes.append(sum(map(len, member.port.poll(7, 0.05).values())))
        return sum(sizes) == 2 * len(MANY)

    wait_until(all_read, TIMEOUT_S, "everything is read")
    assert max(sizes) <= 7


def test_a_single_record_does_not_wait_for_more(world: World, member: Member) -> None:
    world.send_commands(FIRST, b"a")
    member.port.open(FIRST, START)
    assert values(member.port.poll(1000, TIMEOUT_S)[FIRST]) == [b"a"]


def test_opening_an_open_partition_reads_from_there_again(world: World, member: Member) -> None:
    world.send_commands(FIRST, *MANY)
    member.port.open(FIRST, START)
    member.read(15, limit=5)
    member.port.open(FIRST, Position(3))
    assert offsets(member.read(37)) == list(range(3, 40))
    member.port.open(FIRST, Position(38))
    assert offsets(member.read(2)) == [38, 39]


def test_a_partition_that_is_not_ours_is_not_opened(world: World, member: Member) -> None:
    other = joined(world, "two", member)
    (foreign,) = other.listener.assigned
    world.send_commands(foreign, b"a")
    member.port.open(foreign, START)
    assert drained(member) == []
    member.port.pause(foreign)
    assert member.listener.errors == {}


def test_a_position_that_the_topic_does_not_hold_is_reported(world: World, member: Member) -> None:
    world.send_commands(FIRST, b"a")
    member.port.open(FIRST, Position(1000))
    member.poll_until(lambda: member.listener.errors, "the position is reported")
    assert member.listener.errors.keys() == {FIRST}


def test_the_ends_of_open_partitions_are_known_without_asking(world: World, member: Member) -> None:
    world.send_commands(FIRST, *MANY)
    assert member.port.ends() == {}
    member.port.open(FIRST, START)
    member.read(5, limit=5)
    assert member.port.ends() == {FIRST: len(MANY)}
    world.send_commands(FIRST, b"one more")
    member.read(len(MANY) - 4, FIRST)
    wait_until(lambda: member.port.ends() == {FIRST: len(MANY) + 1}, TIMEOUT_S, "the new end is known")


# ---- pause and serve


def test_a_paused_partition_brings_nothing_until_it_is_opened_again(world: World, member: Member) -> None:
    world.send_commands(FIRST, *MANY)
    world.send_commands(SECOND, *MANY)
    member.port.open(FIRST, START)
    member.read(5, limit=5)
    member.port.pause(FIRST)
    member.port.open(SECOND, START)
    found: list[int] = []

    def second_read() -> bool:
        polled = member.port.poll(10, 0.05)
        assert FIRST not in polled
        found.extend(offsets(polled.get(SECOND, ())))
        return len(found) == len(MANY)

    wait_until(second_read, TIMEOUT_S, "the other partition is read")
    assert drained(member) == []
    member.port.open(FIRST, Position(5))
    assert offsets(member.read(35)) == list(range(5, 40))


def test_serving_takes_no_record(world: World, member: Member) -> None:
    world.send_commands(FIRST, *MANY)
    member.port.open(FIRST, START)
    found = member.read(5, limit=5)
    for _ in range(50):
        member.port.serve()
    world.send_commands(FIRST, b"last")
    for _ in range(50):
        member.port.serve()
    found += member.read(len(MANY) + 1 - len(found))
    assert offsets(found) == list(range(41))


def test_serving_tells_of_rebalances(world: World, member: Member) -> None:
    listener = Listener()
    second = Member(world.membership("two", listener), listener)

    def shared() -> bool:
        member.port.serve()
        second.port.serve()
        return len(listener.assigned) == 1

    wait_until(shared, TIMEOUT_S, "the second member has its share")
    assert len(member.listener.assigned) == 1


# ---- rebalances


def test_a_partition_is_assigned_to_nobody_before_it_is_revoked_from_its_owner(world: World, member: Member) -> None:
    seen_by_owner: list[set[PartitionKey]] = []
    listener = Listener()
    second = Member(world.membership("two", listener), listener)
    member.listener.when_revoked = lambda gone: seen_by_owner.append(set(listener.assigned))
    member.poll_until(lambda: listener.assigned, "the second member has its share", second)
    assert seen_by_owner == [set()]
    assert [what for what, _ in member.listener.told] == ["assigned", "revoked"]
    assert member.listener.assigned | listener.assigned == {FIRST, SECOND}
    assert member.listener.assigned.isdisjoint(listener.assigned)


def test_a_poll_brings_nothing_of_what_was_revoked_in_it_and_the_rest_goes_on(world: World, member: Member) -> None:
    for key in (FIRST, SECOND):
        world.send_commands(key, *MANY)
        member.port.open(key, START)
    listener = Listener()
    second = Member(world.membership("two", listener), listener)
    found: dict[PartitionKey, list[int]] = {FIRST: [], SECOND: []}

    def shared_and_read() -> bool:
        for key, records in member.port.poll(1, 0.01).items():
            assert key in member.listener.assigned
            found[key] += offsets(records)
        second.port.poll(1, 0.01)
        return bool(listener.assigned) and len(found[_kept(member)]) == len(MANY)

    wait_until(shared_and_read, TIMEOUT_S, "the kept partition is read")
    assert found[_kept(member)] == list(range(len(MANY)))


def _kept(member: Member) -> PartitionKey:
    return min(member.listener.assigned)


def test_what_a_callback_opens_anew_voids_what_the_same_poll_took_of_it(world: World, member: Member) -> None:
    """As when a batch is taken back because another partition leaves."""
    for key in (FIRST, SECOND):
        world.send_commands(key, *MANY)
        member.port.open(key, START)
    found: list[int] = []
    anew: list[PartitionKey] = []

    def open_anew(gone: tuple[PartitionKey, ...]) -> None:
        anew.extend({FIRST, SECOND} - set(gone))
        member.port.open(anew[0], START)

    member.listener.when_revoked = open_anew
    listener = Listener()
    second = Member(world.membership("two", listener), listener)

    def read_again() -> bool:
        told_before = bool(anew)
        polled = member.port.poll(3, 0.01)
        if anew and told_before:
            found.extend(offsets(polled.get(anew[0], ())))
        elif anew:
            assert anew[0] not in polled or offsets(polled[anew[0]])[0] == 0
            found.extend(offsets(polled.get(anew[0], ())))
        second.port.poll(1, 0.01)
        return len(found) >= len(MANY)

    wait_until(read_again, TIMEOUT_S, "it is read from its start again")
    assert found == list(range(len(MANY)))


def test_a_member_whose_session_has_ended_is_told_that_it_lost_everything_and_joins_anew(world: World) -> None:
    member = joined(world, "one", session_s=1.0)
    earlier = member.port.metadata()
    world.lapse("one")
    member.poll_until(lambda: len(member.listener.told) > 1, "it is told")
    assert member.listener.told[1] == ("lost", (FIRST, SECOND))
    member.poll_until(lambda: member.listener.assigned, "it has its partitions again")
    assert member.port.metadata() != earlier


# ---- metadata


def test_metadata_stays_while_the_generation_does_and_changes_with_it(world: World, member: Member) -> None:
    alone = member.port.metadata()
    drained(member)
    assert member.port.metadata() == alone
    second = joined(world, "two", member)
    assert member.port.metadata() != alone
    assert member.port.metadata() != second.port.metadata()


# ---- instance ids


def test_another_process_with_the_same_instance_id_ends_this_one(world: World, member: Member) -> None:
    world.send_commands(FIRST, b"a")
    successor = joined(world, "one")

    def poll_on() -> None:
        member.poll_until(lambda: False, "it is fenced", successor)

    with pytest.raises(Fenced):
        poll_on()
    assert successor.listener.assigned == {FIRST, SECOND}
    successor.port.open(FIRST, START)
    assert values(successor.read(1)) == [b"a"]


def test_a_member_that_left_has_its_partitions_back_and_nobody_else_had_them(world: World, member: Member) -> None:
    second = joined(world, "two", member)
    kept = set(member.listener.assigned)
    told = list(member.listener.told)
    world.leave(member.port)
    assert member.listener.told == told
    for _ in range(5):
        second.port.poll(1, 0.02)
    assert second.listener.assigned.isdisjoint(kept)
    listener = Listener()
    again = Member(world.membership("one", listener), listener)
    again.poll_until(lambda: listener.assigned, "it has its share again", second)
    assert listener.assigned == kept

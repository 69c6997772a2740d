"""The simulated Kafka has the semantics that the real one has: what the tests of the engine rest on."""

from __future__ import annotations

import random

import pytest

from eventsrc.engine.partition import PartitionKey
from tests.property.simulation.cluster import Cluster, CommittedOffset, FencedProducerError, NotReadyError
from tests.property.simulation.group import ExpelledError, Group, Proof, StaleMemberError

KEY, OTHER = PartitionKey("account", 0), PartitionKey("account", 1)


@pytest.fixture
def cluster() -> Cluster:
    """One member, `w0`, of generation 1, has both partitions."""
    made = Cluster(random.Random(1), (KEY, OTHER))
    member = made.group.enter("w0")
    made.group.poll("w0", member, ())
    return made


def _proof(cluster: Cluster) -> Proof:
    return Proof(cluster.group.members["w0"], cluster.group.generation)


def _values(cluster: Cluster, key: PartitionKey = KEY) -> list[bytes | None]:
    return [record.of_value for record in cluster.logs[key].committed()]


def _mark_all(cluster: Cluster) -> None:
    while cluster.undecided:
        cluster.write_marker()


def test_a_reader_sees_a_commit_when_its_marker_is_written_not_before(cluster: Cluster) -> None:
    epoch = cluster.init("a")
    cluster.produce("a", epoch, KEY, b"k", b"v", 0)
    assert _values(cluster) == []
    cluster.end("a", epoch, commit=True)
    assert _values(cluster) == []
    _mark_all(cluster)
    assert _values(cluster) == [b"v"]


def test_an_open_transaction_holds_back_what_others_committed_after_its_first_record(cluster: Cluster) -> None:
    first, second = cluster.init("a"), cluster.init("b")
    cluster.produce("a", first, KEY, b"k", b"open", 0)
    cluster.produce("b", second, KEY, b"k", b"committed", 0)
    cluster.end("b", second, commit=True)
    _mark_all(cluster)
    assert _values(cluster) == []
    cluster.end("a", first, commit=False)
    _mark_all(cluster)
    assert _values(cluster) == [b"committed"]


def test_a_new_producer_aborts_its_predecessor_waits_for_the_markers_and_fences_it(cluster: Cluster) -> None:
    old = cluster.init("a")
    cluster.produce("a", old, KEY, b"k", b"v", 0)
    with pytest.raises(NotReadyError):
        cluster.init("a")
    with pytest.raises(FencedProducerError):
        cluster.end("a", old, commit=True)
    _mark_all(cluster)
    new = cluster.init("a")
    with pytest.raises(FencedProducerError):
        cluster.produce("a", old, KEY, b"k", b"v", 0)
    cluster.produce("a", new, KEY, b"k", b"w", 0)
    cluster.end("a", new, commit=True)
    _mark_all(cluster)
    assert _values(cluster) == [b"w"]


def test_the_next_transaction_of_a_producer_waits_until_the_one_before_is_complete(cluster: Cluster) -> None:
    epoch = cluster.init("a")
    cluster.produce("a", epoch, KEY, b"k", b"v", 0)
    cluster.end("a", epoch, commit=True)
    with pytest.raises(NotReadyError):
        cluster.produce("a", epoch, KEY, b"k", b"w", 0)
    _mark_all(cluster)
    assert cluster.produce("a", epoch, KEY, b"k", b"w", 0) == 2  # the marker took offset 1


def test_a_late_end_of_the_transaction_before_ends_the_next_one(cluster: Cluster) -> None:
    """As the broker does where the client repeats EndTxn: nothing tells the two apart."""
    epoch = cluster.init("a")
    cluster.produce("a", epoch, KEY, b"k", b"v", 0)
    cluster.end("a", epoch, commit=True)
    _mark_all(cluster)
    cluster.produce("a", epoch, KEY, b"k", b"half", 0)
    cluster.end("a", epoch, commit=True)
    _mark_all(cluster)
    assert _values(cluster) == [b"v", b"half"]


def test_offsets_are_pending_until_the_groups_own_marker_is_written(cluster: Cluster) -> None:
    epoch = cluster.init("a")
    cluster.send_offsets("a", epoch, [(KEY, CommittedOffset(5, ""))], _proof(cluster))
    assert (cluster.is_pending(KEY), cluster.is_pending(OTHER)) == (True, False)
    cluster.end("a", epoch, commit=True)
    assert cluster.is_pending(KEY)
    assert KEY not in cluster.offsets
    _mark_all(cluster)
    assert not cluster.is_pending(KEY)
    assert cluster.offsets[KEY].position == 5


def test_offsets_of_another_generation_or_member_are_refused(cluster: Cluster) -> None:
    epoch, proof = cluster.init("a"), _proof(cluster)
    for stale in (Proof(proof.member, proof.generation - 1), Proof(proof.member + 1, proof.generation), Proof(-1, -1)):
        with pytest.raises(StaleMemberError):
            cluster.send_offsets("a", epoch, [(KEY, CommittedOffset(5, ""))], stale)


def test_the_group_does_not_check_who_owns_a_partition(cluster: Cluster) -> None:
    """Only membership and generation: so the metadata must be that of the poll."""
    other = cluster.group.enter("w1")
    for _ in range(6):
        for slot, member in (("w0", cluster.group.members["w0"]), ("w1", other)):
            cluster.group.poll(slot, member, ())
    cluster.send_offsets(
        "a", cluster.init("a"), [(KEY, CommittedOffset(5, "")), (OTHER, CommittedOffset(5, ""))], _proof(cluster)
    )
    assert cluster.is_pending(KEY)


def test_a_partition_is_given_on_only_when_it_was_revoked() -> None:
    group = Group(random.Random(3), (KEY, OTHER))
    first = group.enter("w0")
    assert group.poll("w0", first, ()) == (1, frozenset((KEY, OTHER)))
    second = group.enter("w1")
    assert group.poll("w1", second, ()) is None
    told = group.poll("w0", first, (KEY, OTHER))
    assert told is not None
    generation, kept = told
    assert (generation, len(kept)) == (2, 1)
    assert group.poll("w1", second, ()) == (2, frozenset())
    shares = {"w0": kept, "w1": frozenset[PartitionKey]()}
    for slot, member in [("w0", first), ("w1", second)] * 6:
        told = group.poll(slot, member, shares[slot])
        shares[slot] = shares[slot] if told is None else told[1]
        assert not shares["w0"] & shares["w1"]
    assert shares["w0"] | shares["w1"] == {KEY, OTHER}


def test_a_restarted_member_takes_its_place_and_the_old_life_is_none_any_more() -> None:
    group = Group(random.Random(3), (KEY, OTHER))
    old = group.enter("w0")
    group.poll("w0", old, ())
    new = group.enter("w0")
    with pytest.raises(ExpelledError):
        group.poll("w0", old, (KEY, OTHER))
    with pytest.raises(StaleMemberError):
        group.check(Proof(old, 1))
    assert group.poll("w0", new, ()) == (1, frozenset((KEY, OTHER)))


def test_an_expelled_member_does_not_know_it_before_it_asks() -> None:
    group = Group(random.Random(3), (KEY, OTHER))
    member = group.enter("w0")
    group.poll("w0", member, ())
    group.expel("w0")
    with pytest.raises(StaleMemberError):
        group.check(Proof(member, 1))
    with pytest.raises(ExpelledError):
        group.poll("w0", member, (KEY, OTHER))

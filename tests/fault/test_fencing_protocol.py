"""What fences a deposed owner and what does not, shown with plain clients on a real broker, in pairs.

Rows 9, 13, 20, 21, 43 and 45 of reliability.md: first what happens without the guard, then with it. The worker's own
tests rest on these facts; where a broker upgrade changes one of them, this file says which.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition

from eventsrc.localstack.distribution import KafkaDistribution
from tests.harness.brokers import ProxiedBroker, create_topic, proxied_broker, unique
from tests.harness.collect import Reader, wait_until
from tests.harness.members import Owner, code_of, seed, transactional, visible
from tests.harness.proxy import Api

REFUSED = {KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID}


@dataclass(frozen=True)
class Ground:
    """A group, its commands topic with 20 records, its events topic."""

    servers: str
    group: str
    commands: str
    events: str

    def owner(self) -> Owner:
        return Owner(self.servers, self.group, self.commands, self.events)

    def naive_owner(self) -> Owner:
        return Owner(self.servers, self.group, self.commands, self.events, isolation="read_uncommitted")


@pytest.fixture
def ground(cluster: ProxiedBroker) -> Ground:
    group = unique("fence")
    commands = create_topic(cluster.direct, f"{group}.commands")
    events = create_topic(cluster.direct, f"{group}.events")
    seed(cluster.direct, commands, 20)
    return Ground(cluster.direct, group, commands, events)


def deposed_with_pending_offsets(ground: Ground) -> Owner:
    """Committed position 1; then an open transaction with one event, and position 6 accepted but undecided."""
    old = ground.owner()
    old.transaction(["old barrier"], 1)
    old.producer.begin_transaction()
    old.write("old 1")
    old.send_offset(6)
    old.depose()
    return old


class TestStableFetch:
    """Rows 9 and 21: section 6, step 2 of the design."""

    def test_without_it_a_deposed_owner_writes_above_the_new_barrier_and_the_group_is_rewound(
        self, ground: Ground, reader: Reader
    ) -> None:
        old = deposed_with_pending_offsets(ground)
        new = ground.naive_owner()
        assert new.committed() == 1  # what is pending is not shown
        new.transaction(["new barrier"], 1)
        old.write("old 2")
        old.producer.commit_transaction(30)
        reader.wait_stable(ground.events)
        assert visible(reader, ground.events) == ["old barrier", "old 1", "new barrier", "old 2"]
        assert new.committed() == 1  # commands 1 to 5 have events, and would be processed again

    def test_with_it_the_new_owner_waits_and_the_deposed_one_is_refused_afterwards(
        self, ground: Ground, reader: Reader
    ) -> None:
        old = deposed_with_pending_offsets(ground)
        new = ground.owner()
        assert new.committed(1.0) is None  # the fence: no answer while anything is undecided
        old.producer.commit_transaction(30)
        wait_until(lambda: new.committed(1.0) == 6, 30, "the stable position")
        new.transaction(["new barrier"], 6)
        with pytest.raises(KafkaException) as refused:
            old.transaction(["old 2"], 9)
        assert code_of(refused.value) in REFUSED
        old.producer.abort_transaction(30)
        reader.wait_stable(ground.events)
        assert visible(reader, ground.events) == ["old barrier", "old 1", "new barrier"]
        assert new.committed() == 6

    def test_a_zombie_before_the_new_barrier_is_refused_by_its_generation(self, ground: Ground, reader: Reader) -> None:
        old = ground.owner()
        old.transaction(["old barrier"], 1)
        old.producer.begin_transaction()
        old.write("old 1")  # offsets not sent yet: nothing pending, the new owner is not held back
        old.depose()
        new = ground.owner()
        assert new.committed() == 1
        with pytest.raises(KafkaException) as refused:
            old.send_offset(6)
        assert code_of(refused.value) in REFUSED
        new.transaction(["new barrier"], 1)
        old.producer.abort_transaction(30)
        reader.wait_stable(ground.events)
        assert visible(reader, ground.events) == ["old barrier", "new barrier"]


class TestTwoTakeovers:
    """Row 21: two takeovers over one open transaction."""

    def test_without_the_stable_fetch_both_deposed_owners_write_above_the_last_barrier(
        self, ground: Ground, reader: Reader
    ) -> None:
        old = deposed_with_pending_offsets(ground)
        middle = ground.naive_owner()
        middle.producer.begin_transaction()
        middle.write("middle barrier")
        middle.send_offset(1)
        middle.depose()
        new = ground.naive_owner()
        new.transaction(["new barrier"], 1)
        for deposed, key in ((middle, "middle 1"), (old, "old 2")):
            deposed.write(key)
            deposed.producer.commit_transaction(30)
        reader.wait_stable(ground.events)
        assert visible(reader, ground.events)[-3:] == ["new barrier", "middle 1", "old 2"]

    def test_with_it_every_earlier_owner_is_decided_before_the_barrier(self, ground: Ground, reader: Reader) -> None:
        old = deposed_with_pending_offsets(ground)
        middle = ground.naive_owner()
        middle.producer.begin_transaction()
        middle.write("middle barrier")
        middle.send_offset(1)
        middle.depose()
        new = ground.owner()
        assert new.committed(0.5) is None
        transactional(ground.servers, old.transactional_id)  # fence one of the two
        assert new.committed(0.5) is None  # the other is still undecided
        transactional(ground.servers, middle.transactional_id)
        wait_until(lambda: new.committed(1.0) == 1, 30, "the stable position")
        new.transaction(["new barrier"], 1)
        for deposed in (old, middle):
            with pytest.raises(KafkaException) as fenced:
                deposed.producer.commit_transaction(30)
            assert fenced.value.args[0].fatal()
        reader.wait_stable(ground.events)
        assert visible(reader, ground.events) == ["old barrier", "new barrier"]


class TestWhatTheBrokerDoesNotFence:
    """Rows 13 and 43: accepted by the broker, so they must be refused before it sees them."""

    def test_metadata_without_a_generation_is_accepted_beside_a_living_owner(
        self, ground: Ground, reader: Reader
    ) -> None:
        owner = ground.owner()
        owner.transaction(["barrier"], 1)
        stranger = Consumer({"bootstrap.servers": ground.servers, "group.id": ground.group, "log_level": 0})
        nobody = stranger.consumer_group_metadata()  # generation -1, no member id
        intruder = transactional(ground.servers, unique("intruder"))
        intruder.begin_transaction()
        intruder.produce(ground.events, key=b"intruder", value=b"", partition=0)
        intruder.send_offsets_to_transaction([TopicPartition(ground.commands, 0, 9)], nobody, 30)
        intruder.commit_transaction(30)
        stranger.close()
        reader.wait_stable(ground.events)
        assert visible(reader, ground.events) == ["barrier", "intruder"]
        assert owner.committed() == 9  # the living owner's position was moved under its feet

    @pytest.mark.parametrize("offsets", [[-1001], [-1], []], ids=["never-committed", "end", "empty"])
    def test_no_valid_offset_is_no_fence(self, ground: Ground, reader: Reader, offsets: list[int]) -> None:
        old = ground.owner()
        old.transaction(["old barrier"], 1)
        old.depose()
        new = ground.owner()
        new.transaction(["new barrier"], 1)
        old.producer.begin_transaction()
        old.write("zombie")
        places = [TopicPartition(ground.commands, 0, offset) for offset in offsets]
        old.producer.send_offsets_to_transaction(places, old.metadata, 30)
        old.producer.commit_transaction(30)
        reader.wait_stable(ground.events)
        assert visible(reader, ground.events) == ["old barrier", "new barrier", "zombie"]
        assert new.committed() == 1

    def test_a_valid_offset_is_the_fence(self, ground: Ground, reader: Reader) -> None:
        old = ground.owner()
        old.transaction(["old barrier"], 1)
        old.depose()
        new = ground.owner()
        new.transaction(["new barrier"], 1)
        with pytest.raises(KafkaException) as refused:
            old.transaction(["zombie"], 1)
        assert code_of(refused.value) in REFUSED
        old.producer.abort_transaction(30)
        reader.wait_stable(ground.events)
        assert visible(reader, ground.events) == ["old barrier", "new barrier"]


class TestMetadataOfALivingMember:
    """The broker checks membership and generation, not ownership."""

    def move_one_partition(self, servers: str, group: str, commands: str) -> tuple[Consumer, Consumer, int, object]:
        settings: dict[str, str | int | float | bool] = {
            "bootstrap.servers": servers,
            "group.id": group,
            "partition.assignment.strategy": "cooperative-sticky",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "heartbeat.interval.ms": 300,
            "session.timeout.ms": 6000,
            "log_level": 0,
        }
        first, second = Consumer(settings), Consumer(settings)
        first.subscribe([commands])
        wait_until(lambda: first.poll(0.02) or len(first.assignment()) == 2, 40, "both partitions")
        captured = first.consumer_group_metadata()
        second.subscribe([commands])

        def moved() -> bool:
            first.poll(0.02)
            second.poll(0.02)
            return len(first.assignment()) == 1 and len(second.assignment()) == 1

        wait_until(moved, 40, "one partition each")
        return first, second, second.assignment()[0].partition, captured

    def test_taken_at_commit_time_it_commits_for_a_partition_that_moved_away_taken_at_poll_time_it_is_refused(
        self, cluster: ProxiedBroker
    ) -> None:
        group = unique("moved")
        commands = create_topic(cluster.direct, f"{group}.commands", 2)
        first, second, moved, captured = self.move_one_partition(cluster.direct, group, commands)
        producer = transactional(cluster.direct, group)
        place = TopicPartition(commands, moved, 1)
        producer.begin_transaction()
        producer.send_offsets_to_transaction([place], first.consumer_group_metadata(), 30)  # accepted: the wrong owner
        producer.abort_transaction(30)
        producer.begin_transaction()
        with pytest.raises(KafkaException) as refused:
            producer.send_offsets_to_transaction([place], captured, 30)
        assert code_of(refused.value) in REFUSED
        producer.abort_transaction(30)
        first.close()
        second.close()


class TestAForeignOpenTransaction:
    """Row 20."""

    def test_it_hides_committed_records_and_can_be_named_and_ended(self, ground: Ground, reader: Reader) -> None:
        owner = ground.owner()
        foreign_id = unique("foreign")
        foreign = transactional(ground.servers, foreign_id, transaction_timeout_ms=600_000)
        foreign.begin_transaction()
        foreign.produce(ground.events, key=b"foreign", value=foreign_id.encode(), partition=0)
        foreign.flush(30)
        owner.transaction(["own barrier"], 1)
        # Without the guard: "read to the end" ends before the barrier that was just committed.
        assert visible(reader, ground.events) == []
        # With it: the reader sees that it has not reached its own record, and which record is in the way.
        stable = reader.ends(ground.events, IsolationLevel.READ_COMMITTED)[0]
        assert stable == 0 < reader.ends(ground.events, IsolationLevel.READ_UNCOMMITTED)[0]
        transactional(ground.servers, foreign_id)
        reader.wait_stable(ground.events)
        assert visible(reader, ground.events) == ["own barrier"]


class TestMarkersAfterACommit:
    """Row 45. The broker writes its markers to itself through the proxy here, so that they can be made to come late."""

    @pytest.fixture
    def cluster(self, kafka_distribution: KafkaDistribution, tmp_path: Path) -> Iterator[ProxiedBroker]:
        through_proxy = {"inter.broker.listener.name": "PROXIED"}
        with proxied_broker(tmp_path / "kafka", kafka_distribution, through_proxy) as broker:
            yield broker

    @pytest.fixture
    def reader(self, cluster: ProxiedBroker) -> Iterator[Reader]:
        with closing(Reader(cluster.direct)) as reader:
            yield reader

    def test_commit_returns_before_its_records_can_be_read(
        self, cluster: ProxiedBroker, ground: Ground, reader: Reader
    ) -> None:
        producer = transactional(ground.servers, unique("marker"))
        producer.begin_transaction()
        producer.produce(ground.events, key=b"early", value=b"early", partition=0)
        producer.commit_transaction(30)
        wait_until(lambda: visible(reader, ground.events) == ["early"], 30, "the first commit's marker")
        markers = cluster.proxy.hold(Api.WRITE_TXN_MARKERS)
        producer.begin_transaction()
        producer.produce(ground.events, key=b"late", value=b"late", partition=0)
        producer.commit_transaction(30)
        markers.wait_hit()
        # Without the guard a rebuild "to the end" misses what has committed.
        assert visible(reader, ground.events) == ["early"]
        markers.release()
        # With it (read past the offset of the own last committed event) nothing is missing.
        last = 2  # "early", its marker, "late"
        wait_until(lambda: reader.ends(ground.events, IsolationLevel.READ_COMMITTED)[0] > last, 30, "the last marker")
        assert visible(reader, ground.events) == ["early", "late"]

"""Where a partition is read from after a takeover: a look-up that is answered late, a rewind without a seek.

In pairs: what a plain client skips without the guard, what it reads with it; then the whole worker under the same fault.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import pytest
from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from tests.fault.scene import ROUNDS, Scene
from tests.harness.brokers import ProxiedBroker, create_topic, unique
from tests.harness.collect import wait_until
from tests.harness.members import PROMPT, seed
from tests.harness.proxy import Api, Proxy
from tests.harness.workers import OPEN

SEEDS = range(ROUNDS)
WAITING = 5
TRIALS = 5


@pytest.fixture
def commands(cluster: ProxiedBroker) -> str:
    """With some records that wait to be read, as at a takeover."""
    topic = create_topic(cluster.direct, unique("seek"))
    seed(cluster.direct, topic, WAITING)
    return topic


@contextlib.contextmanager
def plain_consumer(bootstrap_servers: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": unique("seek"),
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 50,
            "log_level": 0,
            **PROMPT,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def read_through(consumer: Consumer, last: int) -> list[int]:
    """The offsets that arrive, until that one has."""
    read: list[int] = []

    def arrived() -> bool:
        message = consumer.poll(0.05)
        if message is not None and message.error() is None:
            read.append(message.offset() or 0)
        return last in read

    wait_until(arrived, 40, f"offset {last} is read")
    return read


class TestALookUpThatIsAnsweredLate:
    """A partition that is assigned at a logical offset asks the broker where that is. The question is repeated when its
    connection breaks, and an answer that comes after a seek takes the partition there all the same."""

    def read_after_opening(self, cluster: ProxiedBroker, proxy: Proxy, topic: str, assigned_at: int) -> list[int]:
        """Assign, pause, then seek to the first record and resume while the answer is lost and its connection breaks."""
        last = cluster_end(cluster, topic)
        with plain_consumer(cluster.proxied) as consumer:
            consumer.list_topics(topic, timeout=30)
            asked = len(proxy.seen(Api.LIST_OFFSETS))
            lost = proxy.drop(Api.LIST_OFFSETS, "reply")
            consumer.incremental_assign([TopicPartition(topic, 0, assigned_at)])
            consumer.pause([TopicPartition(topic, 0)])
            if assigned_at == OFFSET_END:
                lost.wait_hit()
            consumer.seek(TopicPartition(topic, 0, 0))
            consumer.resume([TopicPartition(topic, 0)])
            proxy.cut()
            if assigned_at == OFFSET_END:
                wait_until(lambda: len(proxy.seen(Api.LIST_OFFSETS)) > asked + 1, 40, "the look-up is repeated")
            seed(cluster.direct, topic, 1)
            return read_through(consumer, last)

    def test_it_undoes_the_seek_of_a_partition_assigned_at_the_end(
        self, cluster: ProxiedBroker, proxy: Proxy, commands: str
    ) -> None:
        for _ in range(TRIALS):  # the first one, so far; but a race is no promise
            end = cluster_end(cluster, commands)
            read = self.read_after_opening(cluster, proxy, commands, OFFSET_END)
            if read != list(range(end + 1)):
                break
            proxy.clear()
        assert read == [end]  # everything that waited is skipped, without an error

    def test_a_partition_assigned_at_an_absolute_offset_is_never_looked_up(
        self, cluster: ProxiedBroker, proxy: Proxy, commands: str
    ) -> None:
        asked = len(proxy.seen(Api.LIST_OFFSETS))
        for _ in range(3):
            end = cluster_end(cluster, commands)
            read = self.read_after_opening(cluster, proxy, commands, 0)
            assert list(dict.fromkeys(read)) == list(range(end + 1))
            proxy.clear()
        assert len(proxy.seen(Api.LIST_OFFSETS)) == asked

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_worker_that_takes_over_meanwhile_skips_nothing(self, scene: Scene, proxy: Proxy, seed: int) -> None:
        """Answers are lost or late, and connections break, from its start until it processes. The checker accounts for
        every command offset."""
        rnd = random.Random(seed)
        scene.configure(batch_records=8)
        traffic = scene.traffic(seed, rate=150.0, resend_s=20.0)
        worker = scene.worker(proxied=True)
        for _ in range(2):
            proxy.clear()
            late = proxy.delay(Api.LIST_OFFSETS, rnd.uniform(0.05, 0.3), "reply", times=12)
            worker.start()
            late.wait_hit(rnd.randrange(1, 5))
            lost = proxy.drop(Api.LIST_OFFSETS, "reply")
            proxy.cut()
            before = traffic.sent
            wait_until(lambda: OPEN in worker.log(), 60, f"a partition opens\n{worker.log()}")
            scene.wait_committed(before)
            assert late.hits + lost.hits > 1
            worker.kill()
        worker.start()
        traffic.stop()
        scene.verdict()


class TestARewindWithoutASeek:
    """What a poll has taken is the application's: a batch that is dropped, or a record that serving the group brought,
    comes again only where the partition is sought."""

    def test_pausing_and_resuming_goes_on_behind_what_was_taken(self, cluster: ProxiedBroker, commands: str) -> None:
        with plain_consumer(cluster.direct) as consumer:
            consumer.incremental_assign([TopicPartition(commands, 0, 0)])
            taken = [message.offset() for message in consumer.consume(3, 30)]
            assert taken == [0, 1, 2]
            consumer.pause([TopicPartition(commands, 0)])
            consumer.resume([TopicPartition(commands, 0)])
            assert read_through(consumer, WAITING - 1) == [3, 4]

    def test_seeking_brings_it_again(self, cluster: ProxiedBroker, commands: str) -> None:
        with plain_consumer(cluster.direct) as consumer:
            consumer.incremental_assign([TopicPartition(commands, 0, 0)])
            consumer.consume(3, 30)
            consumer.seek(TopicPartition(commands, 0, 0))
            assert read_through(consumer, WAITING - 1) == [0, 1, 2, 3, 4]


def cluster_end(cluster: ProxiedBroker, topic: str) -> int:
    with plain_consumer(cluster.direct) as consumer:
        return int(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1])

"""The training run of the class archive: a broker that does once what a client asks of it. Must not know lifetimes."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from eventsrc.errors import EventsrcError
from eventsrc.localstack.distribution import KafkaDistribution
from eventsrc.localstack.kafka import KafkaBroker

_TIMEOUT_S = 30
_ARCHIVE_GRACE_S = 120.0


def train(distribution: KafkaDistribution, archive: Path) -> None:
    """Has a broker write the class archive as it ends. A failure leaves no archive, which only costs time later."""
    with tempfile.TemporaryDirectory(prefix="eventsrc-training-") as directory:
        flags = distribution.training_flags(archive)
        broker = KafkaBroker(Path(directory), distribution, jvm_flags=flags)
        with contextlib.suppress(EventsrcError):
            broker.start()
            try:
                _exercise(broker.bootstrap_servers)
            finally:
                broker.stop(_ARCHIVE_GRACE_S)


def _exercise(bootstrap_servers: str) -> None:
    """A topic, a transaction, a group: what loads the classes that the first client would wait for."""
    from confluent_kafka import Consumer, KafkaException, Producer
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    common: dict[str, str | int | float | bool] = {"bootstrap.servers": bootstrap_servers, "log_level": 0}
    admin = AdminClient(common)  # kept: a client that is dropped fails its futures
    with contextlib.suppress(KafkaException):
        admin.create_topics([NewTopic("training", 1, 1)])["training"].result(_TIMEOUT_S)
        producer = Producer({**common, "transactional.id": "training"})
        producer.init_transactions(_TIMEOUT_S)
        producer.begin_transaction()
        producer.produce("training", b"")
        producer.commit_transaction(_TIMEOUT_S)
        consumer = Consumer({**common, "group.id": "training", "auto.offset.reset": "earliest"})
        consumer.subscribe(["training"])
        consumer.poll(5)
        consumer.close()

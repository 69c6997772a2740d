"""The session's services answer, and each test's database is its own."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from eventsrc.localstack.kafka import KafkaBroker


def test_a_record_goes_through_the_session_broker(kafka: str, topic: str) -> None:
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(topic, b"value", key=b"key")
    assert producer.flush(20) == 0
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": topic, "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([topic])
        message = consumer.poll(20)
        assert message is not None
        assert (message.key(), message.value()) == (b"key", b"value")
    finally:
        consumer.close()


def test_the_database_is_empty_and_of_its_own_name(database_url: str, postgres_server: str) -> None:
    with psycopg.connect(database_url) as connection, psycopg.connect(postgres_server) as other:
        assert connection.info.dbname != other.info.dbname
        connection.execute("CREATE TABLE t (x int)")
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert tables == [("t",)]


def test_a_broker_of_its_own_keeps_records_over_a_kill(own_broker: Callable[..., KafkaBroker]) -> None:
    broker = own_broker().start()
    address = broker.bootstrap_servers
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic("t", 1, 1)])["t"].result(30)
    broker.kill()
    assert not broker.is_running()
    broker.start()
    assert broker.bootstrap_servers == address
    assert "t" in admin.list_topics(timeout=30).topics

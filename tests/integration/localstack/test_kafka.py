"""Brokers as fault tests use them: paused, restarted in place, behind a proxy, several as one cluster."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from eventsrc.localstack.distribution import KafkaDistribution
from eventsrc.localstack.kafka import KafkaBroker
from eventsrc.localstack.processes import free_port, port_is_free
from tests.harness.kafka_cluster import KafkaCluster

_TIMEOUT_S = 30


def _admin(servers: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": servers})


def _produce(servers: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": servers})
    errors: list[object] = []
    producer.produce(topic, value, on_delivery=lambda error, message: errors.append(error))
    assert producer.flush(_TIMEOUT_S) == 0
    assert errors == [None]


def _read(servers: str, topic: str, count: int) -> list[bytes | str | None]:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "reader", "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([topic])
        messages: list[Message] = []
        while len(messages) < count:
            batch = consumer.consume(count - len(messages), _TIMEOUT_S)
            assert batch, "no record came"
            messages += batch
        return [message.value() for message in messages]
    finally:
        consumer.close()


def test_a_paused_broker_keeps_its_port_and_answers_after_it_resumes(own_broker: Callable[..., KafkaBroker]) -> None:
    broker = own_broker().start()
    admin = _admin(broker.bootstrap_servers)
    broker.pause()
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=0.3)
    assert not port_is_free(broker.port)
    broker.resume()
    assert admin.list_topics(timeout=_TIMEOUT_S).brokers


def test_a_restart_keeps_ports_records_and_cluster(own_broker: Callable[..., KafkaBroker]) -> None:
    broker = own_broker(properties={"num.partitions": "3"}).start()
    servers = broker.bootstrap_servers
    admin = _admin(servers)
    admin.create_topics([NewTopic("t", 1, 1)])["t"].result(_TIMEOUT_S)
    cluster = admin.list_topics(timeout=_TIMEOUT_S).cluster_id
    _produce(servers, "t", b"kept")
    assert broker.restart().bootstrap_servers == servers
    assert _admin(servers).list_topics(timeout=_TIMEOUT_S).cluster_id == cluster
    assert _read(servers, "t", 1) == [b"kept"]
    assert "num.partitions=3" in (broker.directory / "server.properties").read_text()


def test_a_client_of_the_second_listener_stays_behind_the_proxy(own_broker: Callable[..., KafkaBroker]) -> None:
    proxy_port = free_port()
    broker = own_broker(proxy_port=proxy_port).start()
    admin = _admin(broker.bootstrap_servers)
    admin.create_topics([NewTopic("t", 1, 1)])["t"].result(_TIMEOUT_S)
    with _Forwarder(proxy_port, broker.proxied_port) as proxy:
        proxied = f"127.0.0.1:{proxy_port}"
        _produce(proxied, "t", b"through the proxy")
        assert [node.port for node in _admin(proxied).list_topics(timeout=_TIMEOUT_S).brokers.values()] == [proxy_port]
        assert proxy.connections > 0
    assert _read(broker.bootstrap_servers, "t", 1) == [b"through the proxy"]


def test_a_broker_without_a_proxy_has_no_second_listener(own_broker: Callable[..., KafkaBroker]) -> None:
    broker = own_broker().start()
    with pytest.raises(ValueError, match="without proxy_port"):
        _ = broker.proxied_port


def test_two_of_three_brokers_go_on(kafka_distribution: KafkaDistribution, tmp_path: Path) -> None:
    with KafkaCluster(tmp_path, kafka_distribution) as cluster:
        servers = cluster.bootstrap_servers
        admin = _admin(servers)
        admin.create_topics([NewTopic("t", 3, 3)])["t"].result(_TIMEOUT_S)
        producer = Producer({"bootstrap.servers": servers, "transactional.id": "x"})
        producer.init_transactions(_TIMEOUT_S)
        cluster.brokers[0].kill()
        producer.begin_transaction()
        producer.produce("t", b"with two")
        producer.commit_transaction(_TIMEOUT_S)
        assert _read(servers, "t", 1) == [b"with two"]
        cluster.brokers[0].start()
        assert all(broker.is_running() for broker in cluster.brokers)


class _Forwarder:
    """Forwards every connection of one port to another, until it is closed."""

    def __init__(self, port: int, target: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._target = target
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self.connections = 0

    def __enter__(self) -> _Forwarder:
        self._threads[0].start()
        return self

    def __exit__(self, *exception: object) -> None:
        for open_socket in (self._listener, *self._sockets):
            try:
                open_socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            open_socket.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                thread = threading.Thread(target=_copy, args=(source, sink))
                self._threads.append(thread)
                thread.start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    except OSError:
        pass
    try:
        sink.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass

"""The server properties of a local broker: small, prompt, and with every guarantee on. Must not know processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eventsrc.localstack.processes import LOOPBACK

LOG4J2_PROPERTIES = """\
status=error
appender.c.type=Console
appender.c.name=C
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d %p %c{1} %m%n
rootLogger.level=WARN
rootLogger.appenderRef.c.ref=C
"""


@dataclass(frozen=True, slots=True)
class Listeners:
    port: int
    controller_port: int
    proxied_port: int | None = None
    """Where the second listener listens, if there is one."""
    proxy_port: int | None = None
    """Where the clients of the second listener are told to connect."""
    further: Mapping[str, int] = field(default_factory=dict)
    """Ports by the names of listeners whose protocols the properties give."""


_COMMON = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
    "auto.create.topics.enable": "false",
    # Internal topics: few partitions start faster.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    # Groups form at once, and short sessions are allowed: tests and a developer wait for them.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "100",
    "group.consumer.min.session.timeout.ms": "100",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # A cleaner that is seen at work, with little memory.
    "log.cleaner.backoff.ms": "500",
    "log.cleaner.dedupe.buffer.size": "8388608",
    "log.initial.task.delay.ms": "500",
    "log.retention.check.interval.ms": "5000",
    # After a SIGKILL the controller waits for the old session to end. Not shorter: with 1.5 s a loaded machine's broker was
    # fenced in mid-transaction, and markers of a decided commit were never written.
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


def server_properties(
    logs: Path, node: int, listeners: Listeners, controllers: Mapping[int, int], extra: Mapping[str, str]
) -> dict[str, str]:
    """All properties of one node. `controllers` names every node of the cluster with its controller port;
    `extra` wins over what stands here."""
    advertised = {"PLAINTEXT": listeners.port, **listeners.further}
    listening = {**advertised, "CONTROLLER": listeners.controller_port}
    if listeners.proxied_port is not None and listeners.proxy_port is not None:
        listening["PROXIED"] = listeners.proxied_port
        advertised["PROXIED"] = listeners.proxy_port
    replicas = str(len(controllers))
    in_sync = str(max(1, len(controllers) - 1))
    internal_topics = {
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
    }
    return {
        "node.id": str(node),
        "listeners": _addresses(listening),
        "advertised.listeners": _addresses(advertised),
        "controller.quorum.voters": ",".join(f"{voter}@{LOOPBACK}:{port}" for voter, port in controllers.items()),
        "log.dirs": str(logs),
        **_COMMON,
        **internal_topics,
        **extra,
    }


def _addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in ports.items())

"""Several Kafka brokers as one cluster, each killed, paused and restarted by itself. For fault tests.

Must not know what a test does with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from eventsrc.localstack.distribution import KafkaDistribution
from eventsrc.localstack.kafka import START_TIMEOUT_S, KafkaBroker, kafka_uuid
from eventsrc.localstack.processes import free_port


class KafkaCluster:
    """`brokers[i].kill()`, `.pause()`, `.start()`; nodes are numbered from 1, each is broker and controller.

    Internal topics are replicated on every broker, with one fewer than all as the minimum in sync. About 320 MB each.
    """

    def __init__(
        self,
        directory: Path,
        distribution: KafkaDistribution,
        *,
        nodes: int = 3,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        controllers: dict[int, int] = {}
        while len(controllers) < nodes:
            port = free_port()
            if port not in controllers.values():
                controllers[len(controllers) + 1] = port
        cluster_id = kafka_uuid()
        self.brokers = [
            KafkaBroker(
                directory / f"node-{node}",
                distribution,
                properties=properties,
                node=node,
                controllers=controllers,
                cluster_id=cluster_id,
            )
            for node in controllers
        ]

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    def start(self, timeout_s: float = 2 * START_TIMEOUT_S) -> Self:
        """Starts every broker that does not run, all at once. Raises `StackUnavailable`, with none left running."""
        try:
            starting = [broker for broker in self.brokers if not broker.is_running()]
            for broker in starting:
                broker.launch()
            for broker in starting:
                broker.wait_ready(timeout_s)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """A controller that has lost its majority cannot hand over in order: those are not waited for long."""
        for broker in self.brokers:
            broker.terminate()
        for broker in self.brokers:
            broker.stop(grace_s=5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

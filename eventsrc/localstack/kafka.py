"""One Kafka broker as a child process: formatted without a JVM, started, paused, killed, restarted in place.

Used by the local stack and, directly, by fault tests. Owns a data directory, its ports and its process. Must not know
who else runs, or for how long.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from eventsrc.localstack.distribution import CHECKPOINT, KafkaDistribution
from eventsrc.localstack.kafka_properties import LOG4J2_PROPERTIES, Listeners, server_properties
from eventsrc.localstack.problems import StackUnavailable, server_failed
from eventsrc.localstack.processes import (
    LOOPBACK,
    accepts_connections,
    end,
    free_port,
    keep_log_short,
    port_is_free,
    spawn,
)

_START_ATTEMPTS = 5
START_TIMEOUT_S = 60.0
STOP_GRACE_S = 20.0


class KafkaBroker:
    """A broker and controller in one process, on loopback.

    Ports are chosen at the first start and kept by every later one. `port_hint` is taken if it is free.
    With `proxy_port`, a second listener (`proxied_port`) tells its clients to come through that port: put a proxy
    there that forwards to `proxied_port`.
    Start it from the main thread: it ends (SIGTERM, Linux) with the thread that started it.
    """

    def __init__(
        self,
        directory: Path,
        distribution: KafkaDistribution,
        *,
        properties: Mapping[str, str] | None = None,
        port_hint: int | None = None,
        proxy_port: int | None = None,
        further_listeners: Mapping[str, int] | None = None,
        node: int = 1,
        controllers: Mapping[int, int] | None = None,
        cluster_id: str | None = None,
        jvm_flags: tuple[str, ...] | None = None,
    ) -> None:
        """`further_listeners`: ports by listener name; `properties` give each its protocol. `controllers` (node to
        controller port) and `cluster_id` are for a broker that is one of several; `jvm_flags` replace those that load
        the class archive."""
        self.directory = directory.absolute()
        self.log = self.directory / "kafka.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._distribution = distribution
        self._properties = dict(properties or {})
        self._port_hint = port_hint
        self._proxy_port = proxy_port
        self._further_listeners = dict(further_listeners or {})
        self._node = node
        self._controllers = dict(controllers) if controllers else None
        self._cluster_id = cluster_id
        self._jvm_flags = distribution.start_flags() if jvm_flags is None else jvm_flags
        self._listeners: Listeners | None = None
        self._log_mark = 0
        self._was_ready = False

    @property
    def port(self) -> int:
        return self._chosen_listeners().port

    @property
    def proxied_port(self) -> int:
        """The port that a proxy for this broker forwards to."""
        port = self._chosen_listeners().proxied_port
        if port is None:
            raise ValueError("the broker was made without proxy_port")
        return port

    @property
    def bootstrap_servers(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def start(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Starts the broker and waits until it takes connections. Raises `StackUnavailable`."""
        self.launch()
        return self.wait_ready(timeout_s)

    def launch(self) -> None:
        """Starts the process, without waiting."""
        if self.is_running():
            raise RuntimeError(f"the broker in {self.directory} runs already")
        self.directory.mkdir(parents=True, exist_ok=True)
        self._format()
        if self._listeners is None:
            self._listeners = self._choose_listeners()
        properties = self._write_configuration(self._listeners)
        keep_log_short(self.log)
        self._log_mark = self.log.stat().st_size if self.log.exists() else 0
        flags = (*self._jvm_flags, f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}")
        command = self._distribution.command("kafka.Kafka", str(properties), flags=flags)
        self.process = spawn(command, self.log, signal.SIGTERM)

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Waits until the launched broker takes connections. A port lost to another program meanwhile is replaced,
        as long as nobody was told of it. Raises `StackUnavailable`."""
        fixed = self._controllers is not None or self._was_ready
        for _ in range(_START_ATTEMPTS):
            if self._accepts_before(time.monotonic() + timeout_s):
                self._was_ready = True
                return self
            end(self.process, signal.SIGKILL, 5)
            tail = self._new_log()
            if fixed or "Address already in use" not in tail:
                raise server_failed("Kafka", tail, self.log)
            self._listeners = self._port_hint = None
            self.launch()
        raise StackUnavailable("Kafka found its port taken five times", "start again")

    def _accepts_before(self, deadline: float) -> bool:
        while time.monotonic() < deadline and self.is_running():
            # Still running after the connection: it was not another program that answered.
            if accepts_connections(self.port) and self.is_running():
                return True
            time.sleep(0.02)
        return False

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Shuts the broker down in order. Does nothing if it does not run."""
        self.resume()
        end(self.process, signal.SIGTERM, grace_s)

    def terminate(self) -> None:
        """Asks for an orderly shutdown, without waiting for it: `stop` does."""
        self.resume()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nobody is told."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def restart(self) -> Self:
        """Stops it (if it still runs) and starts it on the same ports and data."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self if self.is_running() else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.is_running():
            self.process.send_signal(number)

    def _chosen_listeners(self) -> Listeners:
        if self._listeners is None:
            raise RuntimeError("the broker has no port before its first start")
        return self._listeners

    def _choose_listeners(self) -> Listeners:
        hint = self._port_hint
        return Listeners(
            port=hint if hint is not None and port_is_free(hint) else free_port(),
            controller_port=self._controllers[self._node] if self._controllers else free_port(),
            proxied_port=free_port() if self._proxy_port else None,
            proxy_port=self._proxy_port,
            further=self._further_listeners,
        )

    def _new_log(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_mark)
            return log.read().decode(errors="replace")

    def _write_configuration(self, listeners: Listeners) -> Path:
        (self.directory / "log4j2.properties").write_text(LOG4J2_PROPERTIES)
        controllers = self._controllers or {self._node: listeners.controller_port}
        properties = server_properties(self.directory / "logs", self._node, listeners, controllers, self._properties)
        path = self.directory / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        return path

    def _format(self) -> None:
        """What `kafka-storage format` does, without starting a JVM."""
        logs = self.directory / "logs"
        if (logs / "meta.properties").exists():
            return
        (logs / CHECKPOINT).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._distribution.checkpoint, logs / CHECKPOINT)
        identity = {
            "version": "1",
            "cluster.id": self._cluster_id or kafka_uuid(),
            "node.id": str(self._node),
            "directory.id": kafka_uuid(),
        }
        part = logs / "meta.properties.part"
        part.write_text("".join(f"{key}={value}\n" for key, value in identity.items()))
        part.replace(logs / "meta.properties")


def kafka_uuid() -> str:
    """A random id as Kafka writes it; never one that begins with a hyphen, which Kafka refuses."""
    return "A" + base64.urlsafe_b64encode(uuid.UUID(bytes=os.urandom(16)).bytes).decode()[1:22]

"""The process that owns a local stack: one thread, two children, and a pipe to whoever started it.

It holds the stack's lock for life, writes stack.json once both servers are ready, and stops them when the pipe closes,
that is, when its owner ends, however it ends. A server that dies takes the stack down: half a stack is none.
Must not know who attaches, and must not start threads: the kernel ends its children with the thread that started them.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from eventsrc.adapters.local.processes import is_alive, started_at
from eventsrc.localstack.distribution import prepare
from eventsrc.localstack.kafka import KafkaBroker
from eventsrc.localstack.lock import StackDirectory, try_lock
from eventsrc.localstack.postgres import PostgresServer
from eventsrc.localstack.problems import StackUnavailable
from eventsrc.localstack.processes import wait_until
from eventsrc.localstack.provision import KAFKA_VERSION
from eventsrc.localstack.services import Service, StackRecord, read_record

EXIT_ANOTHER_RUNS = 3
_LOOK_INTERVAL_S = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(arguments: list[str]) -> int:
    """`supervisor STATE_DIR CACHE SERVICES`: services separated by commas. Its standard input is the owner's pipe."""
    state_directory, cache, services = arguments
    directory = StackDirectory(Path(state_directory))
    lock = try_lock(directory.lock)
    if lock is None:
        return EXIT_ANOTHER_RUNS
    for number in _SIGNALS:
        signal.signal(number, _quit)
    supervisor = _Supervisor(directory)
    try:
        supervisor.run(Path(cache), frozenset(services.split(",")))
    except StackUnavailable as problem:
        _write_failure(directory, problem)
        return 1
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        directory.record.unlink(missing_ok=True)
        supervisor.stop()
    return 0


def _quit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _write_failure(directory: StackDirectory, problem: StackUnavailable) -> None:
    with contextlib.suppress(OSError):
        directory.failure.write_text(json.dumps([problem.problem, problem.mend]))


class _Supervisor:
    def __init__(self, directory: StackDirectory) -> None:
        self._directory = directory
        self._owner = os.getppid()
        self._kafka: KafkaBroker | None = None
        self._postgres: PostgresServer | None = None

    def run(self, cache: Path, services: frozenset[str]) -> None:
        """Returns when the owner is gone. Raises `StackUnavailable` if a server does not start, or dies."""
        old = read_record(self._directory.record)
        self._directory.record.unlink(missing_ok=True)
        _end_orphans(old)
        self._start_servers(cache, services).write(self._directory.record)
        while not self._owner_is_gone():
            self._check_children()

    def _start_servers(self, cache: Path, services: frozenset[str]) -> StackRecord:
        began = time.monotonic()
        kafka = postgres = None
        if "kafka" in services:
            distribution = prepare(cache, print, train=None)
            self._kafka = KafkaBroker(self._directory.kafka, distribution, port_hint=_port_of(self._directory))
            self._kafka.launch()  # its JVM boots while Postgres starts
        if "postgres" in services:
            self._postgres = PostgresServer(self._directory.postgres)
            self._postgres.start()
            postgres = _describe(self._postgres.url, self._postgres.version, self._postgres.directory, began)
        if self._kafka:
            self._kafka.wait_ready()
            kafka = _describe(self._kafka.bootstrap_servers, KAFKA_VERSION, self._kafka.directory, began)
            (self._directory.stack / "port").write_text(str(self._kafka.port))
        processes = [server.process for server in (self._kafka, self._postgres) if server and server.process]
        children = [(process.pid, started_at(process.pid)) for process in processes]
        return StackRecord(os.getpid(), children, kafka, postgres)

    def stop(self) -> None:
        if self._postgres:
            self._postgres.stop()
        if self._kafka:
            self._kafka.stop()

    def _owner_is_gone(self) -> bool:
        """Waits a moment for the end of the pipe. The owner's pid is looked at too: a child that the owner forked may
        hold the pipe open."""
        readable, _, _ = select.select([0], [], [], _LOOK_INTERVAL_S)
        return bool(readable and not os.read(0, 1)) or os.getppid() != self._owner

    def _check_children(self) -> None:
        for name, server in (("Kafka", self._kafka), ("Postgres", self._postgres)):
            if server and not server.is_running():
                raise StackUnavailable(
                    f"{name} ended while it was in use, and the stack was stopped with it",
                    f"read {server.log}, and start again: what was written is kept",
                )


def _describe(address: str, version: str, directory: Path, began: float) -> Service:
    return Service(address, "started", version, round(time.monotonic() - began, 2), str(directory))


def _port_of(directory: StackDirectory) -> int | None:
    """The port of the last start: addresses that a person has noted stay good."""
    try:
        return int((directory.stack / "port").read_text())
    except (OSError, ValueError):
        return None


def _end_orphans(old: StackRecord | None) -> None:
    """Servers of a supervisor that was killed. On Linux the kernel has told them to end; elsewhere we must."""
    for pid, start in old.children if old else ():
        if start and started_at(pid) == start:
            if sys.platform != "linux":
                os.kill(pid, signal.SIGKILL)
            if not wait_until(lambda pid=pid: not is_alive(pid), timeout_s=10):  # type: ignore[misc]  # mypy #12557
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda pid=pid: not is_alive(pid), timeout_s=5)  # type: ignore[misc]  # mypy #12557


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

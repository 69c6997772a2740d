"""A real schema registry that speaks Confluent's interface: Apicurio, on this machine, as a process of the test's own."""

from __future__ import annotations

import json
import shutil
import signal
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eventsrc.localstack.java import find_java
from eventsrc.localstack.processes import LOOPBACK, end, free_port, spawn, wait_until
from eventsrc.localstack.provision import Pin, fetch, repository_url

JAVA = 21
START_S = 90.0
PIN = Pin(
    "io.apicurio",
    "apicurio-registry-app",
    "3.3.3",
    "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63",
    158_577_952,
    "-all.tar.gz",
)


class RegistryServer:
    """Keeps what is registered in memory: a restart forgets it."""

    def __init__(self, directory: Path, cache: Path) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}/apis/ccompat/v7"
        java = find_java(minimum=JAVA).executable
        flags = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        places = [f"-Dquarkus.http.host={LOOPBACK}", f"-Dquarkus.http.port={self.port}"]
        jar = _unpacked(cache) / "quarkus-run.jar"
        self._log = directory / "registry.log"
        self._process = spawn([java, *flags, *places, "-jar", jar], self._log, signal.SIGTERM, directory=directory)

    def wait_ready(self) -> None:
        if not wait_until(lambda: self._answers() or self._process.poll() is not None, START_S, 0.2):
            raise TimeoutError(self._log.read_text()[-2000:])
        self._ask("PUT", "/config", {"compatibility": "BACKWARD"})

    def subjects(self) -> list[str]:
        found: list[str] = self._ask("GET", "/subjects")
        return found

    def register(self, subject: str, schema: Any) -> int:
        answer = self._ask("POST", f"/subjects/{subject}/versions", {"schema": json.dumps(schema)})
        return int(answer["id"])

    def pause(self) -> None:
        """Connections stay open, nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.resume()
        end(self._process, signal.SIGTERM, 10)

    def _answers(self) -> bool:
        try:
            self.subjects()
        except (OSError, ValueError):
            return False
        return True

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())


def _unpacked(cache: Path) -> Path:
    directory = cache / f"{PIN.artifact}-{PIN.version}"
    if not (directory / "quarkus-run.jar").exists():
        cache.mkdir(parents=True, exist_ok=True)
        fetch(PIN, cache, repository_url())
        draft = directory.with_suffix(".part")
        shutil.rmtree(draft, ignore_errors=True)
        with tarfile.open(cache / PIN.file_name) as archive:
            archive.extractall(draft, filter="data")
        draft.replace(directory)
        (cache / PIN.file_name).unlink()
    return directory


@contextmanager
def registry_server(directory: Path, cache: Path) -> Iterator[RegistryServer]:
    server = RegistryServer(directory, cache)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()

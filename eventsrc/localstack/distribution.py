"""Kafka made ready to start fast: its jars, a Java, a formatted metadata log and a class archive. Done once per cache.

Owns what is slow and shared by all brokers of this machine. Must not know ports, data directories or lifetimes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from eventsrc.localstack.java import Java, find_java
from eventsrc.localstack.problems import StackUnavailable, server_failed
from eventsrc.localstack.provision import (
    KAFKA_VERSION,
    Report,
    fetch_jars,
    jars_directory,
    missing_pins,
    put_in_place,
    read_pins,
)

JVM_FLAGS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")

# The only file that `kafka-storage format` writes besides meta.properties. Without it, KIP-848 groups fail.
CHECKPOINT = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"

_FORMAT_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:9,CONTROLLER://127.0.0.1:10
controller.quorum.voters=1@127.0.0.1:10
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={logs}
"""


@dataclass(frozen=True, slots=True)
class KafkaDistribution:
    java: Java
    jars: tuple[Path, ...]
    checkpoint: Path
    """A copy of what formatting writes, for every new data directory."""
    archive: Path | None
    """Loaded classes, kept: saves half of the start. None where it could not be made."""

    def command(self, main_class: str, *arguments: str, flags: tuple[str, ...] = ()) -> list[str]:
        class_path = ":".join(map(str, self.jars))
        return [str(self.java.executable), *JVM_FLAGS, *flags, "-cp", class_path, main_class, *arguments]

    def start_flags(self) -> tuple[str, ...]:
        if self.archive is None:
            return ()
        option = "AOTCache" if _writes_aot_cache(self.java) else "SharedArchiveFile"
        return (f"-XX:{option}={self.archive}",)

    def training_flags(self, output: Path) -> tuple[str, ...]:
        """A JVM started with these writes the class archive when it ends in order."""
        option = "AOTCacheOutput" if _writes_aot_cache(self.java) else "ArchiveClassesAtExit"
        return (f"-XX:{option}={output}",)


Train = Callable[[KafkaDistribution, Path], None]
"""Runs a broker with `training_flags(path)`, does what a client does, and stops it."""


def _writes_aot_cache(java: Java) -> bool:
    return java.version >= 25


def prepare(cache: Path, report: Report, train: Train | None) -> KafkaDistribution:
    """The distribution in `cache`, completed where something is missing; no network and no JVM when nothing is.

    Processes that prepare the same cache wait for one another. Raises `StackUnavailable`.
    """
    java = find_java()
    archive = _archive_path(cache, java)
    checkpoint = cache / f"kafka-{KAFKA_VERSION}.checkpoint"
    pins = read_pins()
    if missing_pins(cache, pins) or not checkpoint.exists() or (train and not _was_trained(archive)):
        with _one_at_a_time(cache):
            jars = tuple(fetch_jars(cache, report, pins=pins))
            distribution = KafkaDistribution(java, jars, checkpoint, archive=None)
            if not checkpoint.exists():
                _format(distribution)
            if train and not _was_trained(archive):
                report("preparing Kafka for fast starts, once")
                _train(distribution, archive, train)
    jars = tuple(jars_directory(cache) / pin.file_name for pin in pins)
    return KafkaDistribution(java, jars, checkpoint, archive if archive.exists() else None)


def _archive_path(cache: Path, java: Java) -> Path:
    """An archive serves only the very Java, jars and flags it was made with."""
    executable = java.executable.resolve()
    identity = f"{executable} {executable.stat().st_mtime_ns} {JVM_FLAGS} {jars_directory(cache)}"
    return cache / f"kafka-{KAFKA_VERSION}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.classes"


def _refused(archive: Path) -> Path:
    return archive.with_suffix(".refused")


def _was_trained(archive: Path) -> bool:
    return archive.exists() or _refused(archive).exists()


def _train(distribution: KafkaDistribution, archive: Path, train: Train) -> None:
    output = archive.with_suffix(".part")
    output.unlink(missing_ok=True)
    train(distribution, output)
    if output.exists():
        output.chmod(0o644)
        output.replace(archive)
    else:  # this Java cannot: slower starts, and never tried again
        _refused(archive).touch()


def _format(distribution: KafkaDistribution) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        properties = Path(scratch) / "format.properties"
        logs = Path(scratch) / "logs"
        properties.write_text(_FORMAT_PROPERTIES.format(logs=logs))
        # The cluster id is not kept: every data directory gets its own.
        arguments = ["format", "-t", "eventsrcTemplate000000", "-c", str(properties)]
        command = distribution.command("kafka.tools.StorageTool", *arguments)
        formatted = subprocess.run(command, capture_output=True, text=True, check=False)
        if formatted.returncode or not (logs / CHECKPOINT).exists():
            raise server_failed("kafka-storage format", formatted.stdout + formatted.stderr, "the lines above")
        put_in_place(distribution.checkpoint, (logs / CHECKPOINT).read_bytes())


@contextlib.contextmanager
def _one_at_a_time(cache: Path) -> Iterator[None]:
    try:
        lock = os.open(cache / "prepare.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StackUnavailable(
            f"cannot write to {cache}: {error.strerror}", "set EVENTSRC_CACHE_DIR to a writable directory"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)

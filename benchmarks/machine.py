"""Processes on this machine: which core they run on, what they cost, how loaded it is meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
OUTSIDE_CORE = 0
"""Of broker, database, generator and monitor."""
SYSTEM_CORE = 1
"""Of the system under test."""
UNPINNED = "EVENTSRC_BENCHMARKS_UNPINNED"
"""Environment variable: if set, every process may run on any core."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process: CPU seconds, user and system, since its start; resident megabytes now, and at their peak."""

    cpu_s: float
    rss_mb: float
    peak_mb: float


def pin(core: int, pid: int = 0) -> None:
    """What it has started by now, and will start, stays on that core; unless UNPINNED is set in the environment."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > core and not os.environ.get(UNPINNED):
        os.sched_setaffinity(pid, {core})


def pin_threads(core: int, pid: int) -> None:
    """As `pin`, and what has started by now too: every thread of that process."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        pin(core, int(thread.name))


def usage(pid: int) -> Usage:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    rss_mb, peak_mb = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), rss_mb, peak_mb)


def load_average() -> float:
    """Of the last minute: above the number of cores, the figures are those of a busy machine."""
    return round(os.getloadavg()[0], 1)


def run_module(module: Sequence[str], environment: Mapping[str, str]) -> None:
    """To its end; raises CalledProcessError."""
    command = [sys.executable, "-m", *module]
    subprocess.run(command, env=dict(environment), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """On the core of the system under test, until the block ends. Its output is shown if the block fails."""
    with tempfile.TemporaryFile() as log:
        process = start(command, environment, log.fileno())
        try:
            yield process
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-30000:].decode(errors="replace"))
            raise
        finally:
            end(process)


def start(
    command: Sequence[str], environment: Mapping[str, str], log: int, core: int = SYSTEM_CORE
) -> subprocess.Popen[bytes]:
    """`log`: a descriptor for its output."""
    process = subprocess.Popen(command, env=dict(environment), cwd=ROOT, stdout=log, stderr=log)
    pin(core, process.pid)
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """In order, or else by force."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

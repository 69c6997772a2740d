"""Whether a process runs, and whether it is still the same one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not: the first process of a container may never reap it."""
    state, _ = _look_at(pid)
    return state not in ("", "Z")


def started_at(pid: int) -> str:
    """When a process started, as an opaque text, "" if it does not run: tells it from a later one with its pid."""
    state, start = _look_at(pid)
    return start if state not in ("", "Z") else ""


def _look_at(pid: int) -> tuple[str, str]:
    """The state letter and the start of a process; two empty texts if there is none."""
    if sys.platform == "linux":  # a small container image has no `ps`
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return "", ""
        return fields[0], fields[19]
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    state, _, start = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip().partition(" ")
    return state[:1], start.strip()

"""Finds the local stack that runs in a state directory, without knowing how it is started or stopped.

The stack's supervisor holds a file lock on `stack/lock` for life and writes `stack/stack.json` once its servers
answer. A stale `stack.json` of a stack that was killed is told by the free lock, or by another supervisor's pid in it.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class RunningStack:
    """Addresses of a running local stack. Each is None where the stack runs without that server."""

    bootstrap_servers: str | None
    database_url: str | None


def find_running_stack(state_dir: Path) -> RunningStack | None:
    """The stack that runs in `state_dir`, or None where none does or it is not ready yet."""
    supervisor = _lock_holder(state_dir / "stack" / "lock")
    if supervisor is None:
        return None
    try:
        content: Any = json.loads((state_dir / "stack" / "stack.json").read_text())
        if content["supervisor"] != supervisor:
            return None
        return RunningStack(_address(content["kafka"]), _address(content["postgres"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _address(service: Any) -> str | None:
    return None if service is None else str(service["address"])


def _lock_holder(path: Path) -> int | None:
    """The pid of the process that holds the lock; None if nobody does."""
    try:
        import fcntl
    except ImportError:  # a system without flock has no local stack either
        return None
    with contextlib.suppress(OSError, ValueError), path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read())
    return None

"""Finds the local stack that runs in a state directory, without knowing how it is started or stopped.

The stack's supervisor holds a file lock on `lock` for life and writes `stack.json` once its servers answer. A stale
`stack.json` of a stack that was killed is told by the free lock.
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
    if not _is_locked(state_dir / "lock"):
        return None
    try:
        content: Any = json.loads((state_dir / "stack.json").read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    return RunningStack(_text(content.get("bootstrap")), _text(content.get("dsn")))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _is_locked(path: Path) -> bool:
    try:
        import fcntl
    except ImportError:  # a system without flock has no local stack either
        return False
    with contextlib.suppress(OSError), path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False

"""The lock that says whether a stack runs: held by its supervisor for life, so the kernel tells, not a stale file.

Also the layout of a stack's own directory. Must not know servers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

from eventsrc.localstack.problems import StackUnavailable

_OURS = ("stack", "kafka", "postgres", "cache", "workers", "registry", "host-id", ".gitignore")


@dataclass(frozen=True, slots=True)
class StackDirectory:
    """What stands where in a state directory."""

    root: Path

    @property
    def stack(self) -> Path:
        return self.root / "stack"

    @property
    def lock(self) -> Path:
        return self.stack / "lock"

    @property
    def record(self) -> Path:
        return self.stack / "stack.json"

    @property
    def failure(self) -> Path:
        """Why the last supervisor ended, when it was not told to: problem and mend, two JSON strings."""
        return self.stack / "failure.json"

    @property
    def log(self) -> Path:
        return self.stack / "supervisor.log"

    @property
    def kafka(self) -> Path:
        return self.root / "kafka"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    def foreign(self) -> list[str]:
        """The names of what neither a stack nor a worker has put there."""
        return sorted(each.name for each in self.root.iterdir() if not each.name.startswith(_OURS))

    def make(self) -> None:
        """Raises `StackUnavailable` where it cannot be written."""
        try:
            self.stack.mkdir(parents=True, exist_ok=True)
            ignored = self.root / ".gitignore"
            if not ignored.exists():
                ignored.write_text("*\n")
        except OSError as error:
            raise StackUnavailable(
                f"cannot write to {self.root}: {error.strerror}",
                "make it writable for this user, or give another --state-dir",
            ) from error


def try_lock(path: Path) -> int | None:
    """Takes the lock and writes this process's pid into it; the descriptor keeps it. None if another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for _ in range(20):  # who only looks holds it for an instant
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
            continue
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return descriptor
    os.close(descriptor)
    return None


def holder(path: Path) -> int | None:
    """The pid of the process that holds the lock; None if nobody does."""
    with contextlib.suppress(OSError, ValueError), path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read())
    return None

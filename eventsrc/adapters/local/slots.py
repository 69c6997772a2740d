"""A worker's identity on this host: a slot in the state directory, locked for the life of its process.

The group's instance id is the host's id and the slot's number, so that a worker killed and started again at once is
the same static member. The lock goes with the process: a SIGKILLed holder's slot is free at once.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from eventsrc.codes import Refusal
from eventsrc.errors import InvalidSettings

SLOTS = 1000


@dataclass(slots=True)
class Slot:
    """Held until `release`, or the end of the process."""

    instance_id: str
    directory: Path
    _lock: IO[bytes]

    @classmethod
    def take(cls, state_dir: Path, group_id: str, instance_id: str | None = None) -> Self:
        """The first free slot, or the slot of the instance id that is given. Raises InvalidSettings where that one is
        held by another process, or the directory cannot be written."""
        root = state_dir / "workers" / group_id
        try:
            root.mkdir(parents=True, exist_ok=True)
            host = _host_id(state_dir)
        except OSError as error:
            raise InvalidSettings(
                f"the state directory {state_dir} cannot be written: {error}; give another by --state-dir"
            ) from error
        names = [_checked(instance_id)] if instance_id else [f"{host}-{number}" for number in range(SLOTS)]
        for name in names:
            directory = root / name
            directory.mkdir(exist_ok=True)
            lock = (directory / "lock").open("a+b")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            return cls(name, directory, lock)
        raise InvalidSettings(
            f"instance id {instance_id} is in use by another worker of group {group_id} in {state_dir}: end that one, or give "
            "another --instance-id"
            if instance_id
            else f"all {SLOTS} worker slots in {state_dir} are taken: end a worker, or give an --instance-id",
            Refusal.INSTANCE_ID_TAKEN if instance_id else Refusal.INSTANCE_SLOTS_TAKEN,
        )

    @classmethod
    def inherit(cls, state_dir: Path, group_id: str, instance_id: str, descriptor: int) -> Self:
        """The slot that this process's parent holds for it: `descriptor` is its lock, which a child shares."""
        os.set_inheritable(descriptor, False)
        return cls(instance_id, state_dir / "workers" / group_id / instance_id, os.fdopen(descriptor, "a+b"))

    @property
    def descriptor(self) -> int:
        """Its lock. A child process that inherits it holds the slot too."""
        return self._lock.fileno()

    def release(self) -> None:
        """The next worker on this host may have it, unless a child process still holds it."""
        self._lock.close()


def _checked(instance_id: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", instance_id) or set(instance_id) <= {"."}:
        raise InvalidSettings(f"instance id {instance_id!r}: 1-200 letters, digits, '.', '_' or '-'")
    return instance_id


def _host_id(state_dir: Path) -> str:
    """The host's name and six random characters, kept in the state directory: two hosts may share a name."""
    path = state_dir / "host-id"
    if not path.exists():
        name = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:60]
        draft = path.with_name(f"host-id.{os.getpid()}")
        draft.write_text(f"{name}-{uuid.uuid4().hex[:6]}")
        try:
            os.link(draft, path)  # the first one wins
        except FileExistsError:
            pass
        draft.unlink()
    return path.read_text().strip()

"""One life of a worker's process on a broker in memory: what its adapters share, and its sudden end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from eventsrc.testing.memory.broker import MemoryBroker, Request


class Killed(Exception):  # noqa: N818 - what became of the process
    """It was ended: nothing that it asks reaches the broker any more."""


@dataclass(slots=True)
class MemoryProcess:
    """`instance` is its static member's id in the group."""

    broker: MemoryBroker
    instance: str
    killed: bool = False
    ending: bool = False
    """It waits for nothing any more."""

    @contextmanager
    def request(self, what: Request) -> Iterator[MemoryBroker]:
        """Raises Killed; NoAnswer where the broker is told to be silent."""
        with self.broker.request(what, self.instance):
            if self.killed:
                raise Killed(f"{self.instance} was killed")
            yield self.broker

    def kill(self) -> None:
        """As by SIGKILL: what it has open stays open, and its session goes on, until somebody ends it."""
        self.killed = True
        self.end()

    def end(self) -> None:
        """As by SIGTERM: whatever it waits for, it looks at once."""
        self.ending = True
        with self.broker.changed:
            self.broker.changed.notify_all()

"""Stable offsets in memory: `ports.StableOffsets` on a `MemoryBroker`."""

from __future__ import annotations

import threading
from collections.abc import Callable

from eventsrc.engine.effects import StableOffsetFetched
from eventsrc.engine.notes import read_note
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.position import Position
from eventsrc.testing.memory.broker import NoAnswer
from eventsrc.testing.memory.process import Killed, MemoryProcess

_WAIT_S = 1.0
_START = Position(0)


class MemoryStableOffsets:
    """One thread, which calls `answered`. `transactional_id` is our own: our former life is fenced by our producer."""

    def __init__(
        self, process: MemoryProcess, transactional_id: str, answered: Callable[[StableOffsetFetched], None]
    ) -> None:
        self._process = process
        self._transactional_id = transactional_id
        self._answered = answered
        self._questions: dict[PartitionKey, tuple[int, bytes]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="memory-stable-offsets", daemon=True)
        self._thread.start()

    def ask(self, key: PartitionKey, attempt: int, metadata: bytes) -> None:
        with self._process.broker.changed:
            self._questions[key] = (attempt, metadata)
            self._process.broker.changed.notify_all()

    def cancel(self, key: PartitionKey) -> None:
        with self._process.broker.changed:
            self._questions.pop(key, None)

    def close(self) -> None:
        with self._process.broker.changed:
            self._closed = True
            self._process.broker.changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            self._process.broker.wait(lambda: self._closed or any(map(self._is_stable, self._questions)), _WAIT_S)
            try:
                answers = self._take_answers()
            except NoAnswer:
                continue
            except Killed:
                return
            for answer in answers:
                self._answered(answer)

    def _take_answers(self) -> list[StableOffsetFetched]:
        with self._process.request("stable"):
            stable = [key for key in self._questions if not self._closed and self._is_stable(key)]
            return [self._answer(key, *self._questions.pop(key)) for key in stable]

    def _is_stable(self, key: PartitionKey) -> bool:
        broker = self._process.broker
        if broker.is_pending(key):
            self._fence_earlier_owner(key)
        return not broker.is_pending(key)

    def _fence_earlier_owner(self, key: PartitionKey) -> None:
        broker = self._process.broker
        committed = broker.committed(key)
        note = read_note(committed.note) if committed is not None else None
        if note is None or note.transactional_id == self._transactional_id or note.instance in broker.group.members:
            return
        broker.take_id(note.transactional_id)

    def _answer(self, key: PartitionKey, attempt: int, metadata: bytes) -> StableOffsetFetched:
        broker = self._process.broker
        position, note = broker.committed(key) or (None, None)
        commands, events = broker.commands(key), broker.events(key)
        return StableOffsetFetched(key, attempt, metadata, position, note, _START, commands.end, _START, events.end)

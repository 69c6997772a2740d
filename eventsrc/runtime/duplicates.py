"""Completes the outcomes of duplicates: what the command did the first time is read back from history.

On a thread of its own, so that no other answer waits. What has piled up meanwhile is read in one pass per partition.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import murmur2

from eventsrc.errors import EventsrcError
from eventsrc.model.recorded import Outcome
from eventsrc.runtime.reading import AggregateReader, PastCommand
from eventsrc.runtime.replies import WaitingCommand, end_unknown

logger = logging.getLogger("eventsrc.client")


class _Duplicate(NamedTuple):
    waiting: WaitingCommand
    outcome: Outcome


class DuplicateReader:
    """`read_back` from any thread; it ends the command's future. Starts its thread at once."""

    def __init__(self, reader: AggregateReader, partitions: int) -> None:
        self._reader = reader
        self._partitions = partitions
        self._queue: queue.SimpleQueue[_Duplicate | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="eventsrc-duplicates", daemon=True)
        self._thread.start()

    def read_back(self, waiting: WaitingCommand, outcome: Outcome) -> None:
        self._queue.put(_Duplicate(waiting, outcome))

    def serves(self, thread: threading.Thread) -> bool:
        """Whether this is the thread that ends the futures of duplicates: it must never wait for one."""
        return thread is self._thread

    def close(self) -> None:
        """Returns when everything queued before has ended; in the callback of one of these, at once."""
        self._queue.put(None)
        if not self.serves(threading.current_thread()):
            self._thread.join()

    def _serve(self) -> None:
        stopping = False
        while not stopping:
            gathered = [self._queue.get()]
            while not self._queue.empty():
                gathered.append(self._queue.get())
            stopping = None in gathered
            self._complete([each for each in gathered if each is not None])

    def _complete(self, duplicates: Iterable[_Duplicate]) -> None:
        groups: dict[tuple[str, int], list[_Duplicate]] = {}
        for each in duplicates:
            place = (each.waiting.aggregate.name, murmur2(each.waiting.key, self._partitions))
            groups.setdefault(place, []).append(each)
        for (_, partition), group in groups.items():
            try:
                self._complete_group(partition, group)
            except EventsrcError as error:
                for each in group:
                    each.waiting.fail(error)
            except Exception as error:
                logger.exception("reading the events of duplicates back failed")
                end_unknown((each.waiting for each in group), f"its events could not be read back: {error}")

    def _complete_group(self, partition: int, group: list[_Duplicate]) -> None:
        wanted = [PastCommand(each.waiting.command_id, each.waiting.key, each.outcome.sequence) for each in group]
        events = self._reader.events_of_commands(group[0].waiting.aggregate, partition, wanted)
        for each in group:
            each.waiting.succeed(each.outcome._replace(events=events[each.waiting.command_id]))

"""All accounts as the events topic has them, kept current: a read model in memory, and the streams that pages listen to.

A thread reads committed events as any reader may, from the log's beginning on, and hands each to the event loop; everything else
happens there. A stream that falls behind is ended: its browser connects again, and begins with what is current.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import heapq
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaException

from eventsrc import EventsrcError, Pipeline
from eventsrc.adapters.kafka.tail import TailedRecord, TopicTail
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.keys import parse_event_key
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.names import events_topic
from eventsrc.runtime.settings import Settings
from examples.bank.app import Account, Deposited, Opened, Withdrawn

SHOWN = 100
SHOWN_EVENTS = 12
KEEP_ALIVE_S = 15.0
_BEHIND = 1_000
_TRY_AGAIN_S = 3.0
_log = logging.getLogger("bank.http")


@dataclass(slots=True)
class Line:
    """One account on the page."""

    id: str
    owner: str = ""
    balance: int = 0
    sequence: int = 0
    changed: str = ""


class Board:
    """Of one event loop; no other thread calls it."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._recent: list[dict[str, Any]] = []  # by time: partitions are read at their own pace
        self._streams: set[asyncio.Queue[str | None]] = set()
        self._ended = False

    def apply(self, account_id: str, sequence: int, time: datetime, event: Any) -> None:
        """An event; one that was seen before changes nothing."""
        line = self._lines.get(account_id) or Line(account_id)
        if sequence <= line.sequence:
            return
        match event:
            case Opened():
                line.owner = event.owner
            case Deposited():
                line.balance += event.amount
            case Withdrawn():
                line.balance -= event.amount
        line.sequence, line.changed = sequence, time.isoformat(timespec="milliseconds")
        self._lines[account_id] = line
        change = {**asdict(line), "event": type(event).__name__, **asdict(event)}
        bisect.insort(self._recent, change, key=lambda each: str(each["changed"]))
        del self._recent[:-SHOWN_EVENTS]
        self._tell("change", {"total": len(self._lines), **change})

    async def stream(self) -> AsyncIterator[str]:
        """What one page is sent, until it goes, or falls behind, or `end_streams` is called."""
        if self._ended:
            return
        queue: asyncio.Queue[str | None] = asyncio.Queue(_BEHIND)
        latest = [asdict(line) for line in heapq.nlargest(SHOWN, self._lines.values(), key=lambda line: line.changed)]
        now = {"total": len(self._lines), "accounts": latest[::-1], "recent": self._recent}
        queue.put_nowait(_frame("accounts", now))
        self._streams.add(queue)
        try:
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        frame = await queue.get()
                except TimeoutError:
                    frame = ": nothing new\n\n"  # so that a connection that is gone is noticed
                if frame is None:
                    return
                yield frame
        finally:
            self._streams.discard(queue)

    def end_streams(self) -> None:
        """For good: a server that stops would wait for pages that never go by themselves."""
        self._ended = True
        for queue in self._streams:
            _end(queue)

    def _tell(self, name: str, content: dict[str, Any]) -> None:
        frame = _frame(name, content)
        for queue in list(self._streams):
            try:
                queue.put_nowait(frame)
            except asyncio.QueueFull:
                self._streams.discard(queue)
                _end(queue)


def _end(queue: asyncio.Queue[str | None]) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(None)


def _frame(name: str, content: dict[str, Any]) -> str:
    """One server-sent event. `<` and `&` are escaped, so that no id can become markup wherever the text ends up."""
    text = json.dumps(content).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f"event: {name}\ndata: {text}\n\n"


@asynccontextmanager
async def follow_accounts(board: Board, bank: Pipeline, settings: Settings) -> AsyncIterator[None]:
    """Keeps the board current while entered. Raises `Unreachable` or `TopicsInvalid` where the topic cannot be read at first;
    later it is tried again."""
    loop = asyncio.get_running_loop()
    stopped = threading.Event()

    def hand_over(*change: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody looks at the board any more
            loop.call_soon_threadsafe(board.apply, *change)

    tail = await asyncio.to_thread(_open, bank, settings)
    thread = threading.Thread(
        target=_follow, args=(tail, bank, settings, hand_over, stopped), name="accounts", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        await asyncio.to_thread(thread.join)


def _open(bank: Pipeline, settings: Settings) -> TopicTail:
    return TopicTail(
        [events_topic(bank.name, "account")],
        settings.require_bootstrap_servers(),
        settings.kafka,
        since_ms=None,
        from_beginning=True,
    )


def _follow(
    tail: TopicTail | None, bank: Pipeline, settings: Settings, hand_over: Callable[..., None], stopped: threading.Event
) -> None:
    """The thread. Whatever ends a reading, the next one begins anew, with the schema files as they are then: the board knows what
    it has seen."""
    while not stopped.is_set():
        try:
            tail = tail or _open(bank, settings)
            catalog = Catalog(bank, settings.schemas_dir)
            account = bank.aggregate_type(Account)
            for record in tail.records(follow=True, stopped=stopped.is_set):
                _read(catalog, account, record, hand_over)
        except (EventsrcError, KafkaException) as error:
            _log.warning("the accounts cannot be followed: %s; trying again", error)
            stopped.wait(_TRY_AGAIN_S)
        finally:
            if tail is not None:
                tail.close()
            tail = None


def _read(catalog: Catalog, account: AggregateType, record: TailedRecord, hand_over: Callable[..., None]) -> None:
    """Control records and tombstones are passed over. Raises `UnknownSchema` or `DecodingError`: a balance without one of
    its events would be wrong, so nothing further is shown until it can be read."""
    parsed = parse_event_key(record.key) if record.key is not None else None
    if parsed is None or record.value is None:
        return
    account_id, sequence, _ = parsed
    _, event = catalog.event_reader(account, record.value[:10])(record.value)
    time = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
    hand_over(account_id.decode(errors="replace"), sequence, time, event)

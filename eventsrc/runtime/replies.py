"""Commands that wait for their answers, and what an answer means to the caller.

Pure bookkeeping: no Kafka, no clock of its own. Safe for several threads. Each waiting command ends exactly once: by
its answer, by a failed delivery, by its deadline, or by the client's close; what comes later ends no other.
"""

from __future__ import annotations

import itertools
import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from eventsrc.codec.control import Reply
from eventsrc.errors import (
    CommandFailed,
    DecodingError,
    EventsrcError,
    IdempotencyConflict,
    OutcomeUnknown,
    Rejected,
    SchemaIncompatible,
    UnknownSchema,
)
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.recorded import Outcome
from eventsrc.runtime.given_up import GivenUp

logger = logging.getLogger("eventsrc.client")

EventDecoder = Callable[[AggregateType, bytes], Any]
"""One framed event of an aggregate -> the event."""


def _uncancellable() -> Future[Outcome]:
    """A command that was sent cannot be taken back, so its future refuses to be cancelled."""
    future: Future[Outcome] = Future()
    future.set_running_or_notify_cancel()
    return future


def _end(end: Callable[[Any], None], what: Any) -> None:
    """`end` is of a future. A callback that exits would end the thread on which all other commands are answered; what is an
    Exception, the future has logged by itself."""
    try:
        end(what)
    except BaseException as left:
        logger.exception("a callback of a command's future raised %s: it is ignored", type(left).__name__)


@dataclass(slots=True, eq=False)
class WaitingCommand:
    """A command that was sent and not answered yet. `repeatable`: itself, where an idempotency key lets it be sent again."""

    command_id: bytes
    aggregate: AggregateType
    key: bytes
    deadline_s: float
    timeout_s: float
    partition: int = 0
    repeatable: Any = None
    serial: int = 0
    future: Future[Outcome] = field(default_factory=_uncancellable)
    done: bool = False

    @property
    def place(self) -> tuple[str, int]:
        return self.aggregate.name, self.partition

    def succeed(self, outcome: Outcome) -> None:
        _end(self.future.set_result, outcome)

    def fail(self, error: BaseException) -> None:
        _end(self.future.set_exception, error)

    def describe(self) -> str:
        return f'command {uuid.UUID(bytes=self.command_id)} to {self.aggregate.name} "{self.key.decode()}"'


class WaitingCommands:
    """All commands of one client that wait. The same command id may wait several times (one idempotency key sent
    twice): answers come in the order of sending, since one id has one partition; also those to sends that expired."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[bytes, WaitingCommand | deque[WaitingCommand]] = {}  # several are the exception
        self._by_timeout: dict[float, deque[WaitingCommand]] = {}
        self._given_up = GivenUp()
        self._serials = itertools.count(1)

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, waiting: WaitingCommand) -> None:
        with self._lock:
            waiting.serial = next(self._serials)
            same = self._by_id.get(waiting.command_id)
            if same is None:
                self._by_id[waiting.command_id] = waiting
            elif isinstance(same, deque):
                same.append(waiting)
            else:
                self._by_id[waiting.command_id] = deque((same, waiting))
            # One queue per timeout is in order of deadlines; ended commands leave it from its left.
            queue = self._by_timeout.get(waiting.timeout_s)
            if queue is None:
                queue = self._by_timeout[waiting.timeout_s] = deque()
            queue.append(waiting)

    def take(self, command_id: bytes) -> WaitingCommand | None:
        """The longest waiting command with this id, which from now on no longer waits; None if none does."""
        with self._lock:
            waiting = self._first(command_id)
            if waiting is not None:
                self._remove(waiting)
            return waiting

    def take_answered(self, command_id: bytes, *, took_effect: bool) -> WaitingCommand | None:
        """As `take`, the one that an answer is to; None where that is one that has expired."""
        with self._lock:
            waiting = self._first(command_id)
            if self._given_up.claims(command_id, waiting, took_effect=took_effect) or waiting is None:
                return None
            self._remove(waiting)
            self._given_up.answered(waiting)
            return waiting

    def discard(self, waiting: WaitingCommand) -> bool:
        """Remove this very command. False if it had ended already."""
        with self._lock:
            return self._remove(waiting)

    def take_expired(self, now_s: float) -> list[WaitingCommand]:
        expired = []
        with self._lock:
            for timeout_s, queue in list(self._by_timeout.items()):
                while queue and (queue[0].done or queue[0].deadline_s <= now_s):
                    waiting = queue.popleft()
                    if self._remove(waiting):
                        expired.append(waiting)
                        self._given_up.add(waiting, now_s)
                if not queue:
                    del self._by_timeout[timeout_s]
        return expired

    def take_all(self) -> list[WaitingCommand]:
        with self._lock:
            left = [
                waiting for same in self._by_id.values() for waiting in (same if isinstance(same, deque) else (same,))
            ]
            for waiting in left:
                waiting.done = True
            self._by_id.clear()
            self._by_timeout.clear()
        return left

    def _first(self, command_id: bytes) -> WaitingCommand | None:
        same = self._by_id.get(command_id)
        return same[0] if isinstance(same, deque) else same

    def _remove(self, waiting: WaitingCommand) -> bool:
        if waiting.done:
            return False
        waiting.done = True
        same = self._by_id[waiting.command_id]
        if isinstance(same, deque):
            same.remove(waiting)
        if same is waiting or not same:
            del self._by_id[waiting.command_id]
        return True


def outcome_of(reply: Reply, waiting: WaitingCommand, decode: EventDecoder) -> Outcome:
    """What the answer tells: an outcome, without events for a duplicate. Raises `Rejected`, `CommandFailed` or
    `IdempotencyConflict`; `SchemaIncompatible` for events that only a newer version reads; `OutcomeUnknown` for a
    status that only a newer version knows."""
    if reply.status in ("ok", "duplicate"):
        events = _read_events(reply, waiting, decode)
        return Outcome(uuid.UUID(bytes=reply.command_id), events, reply.sequence, reply.status == "duplicate")
    raise _refusal(reply, waiting)


def _read_events(reply: Reply, waiting: WaitingCommand, decode: EventDecoder) -> tuple[Any, ...]:
    try:
        return tuple(decode(waiting.aggregate, event) for event in reply.events)
    except (DecodingError, UnknownSchema) as error:  # a newer worker's: nothing is wrong with the command
        raise SchemaIncompatible(
            f"{waiting.describe()} took effect (sequence {reply.sequence}), but this program cannot read its events: "
            f"{error}. Do not send it again; give this program the workers' code and schema files"
        ) from error


def _refusal(reply: Reply, waiting: WaitingCommand) -> EventsrcError:
    reason = reply.reason or "no reason was given"
    if reply.status == "rejected":
        rejected = Rejected(reason)
        rejected.details = dict(reply.details)  # by name, one called `reason` would clash
        return rejected
    if reply.status == "failed":
        return failed_command(reason, reply.details)
    if reply.status == "conflict":
        return IdempotencyConflict(
            f"{waiting.describe()}: its idempotency key was used before with another payload (it took effect at "
            f"sequence {reply.sequence}). Nothing was applied; use a new key for a new command"
        )
    return OutcomeUnknown(
        f"{waiting.describe()}: answered with status {reply.status!r}, which this version does not know"
    )


def failed_command(reason: str, details: Mapping[str, Any]) -> CommandFailed:
    """`details` say what the worker saw, and where the dead letter, or else the command itself, is."""
    place = details.get("dead_letter")
    if place is None and {"topic", "partition", "offset"} <= details.keys():
        place = f"{details['topic']}/{details['partition']} offset {details['offset']}"
    return CommandFailed(reason, str(place or "its place was not given"), str(details.get("message", "")))


def end_unknown(commands: Iterable[WaitingCommand], why: str) -> None:
    for waiting in commands:
        waiting.fail(
            OutcomeUnknown(
                f"{waiting.describe()}: {why}; send it again with the same idempotency key. Sent "
                "without one, it may have taken effect: look first"
            )
        )

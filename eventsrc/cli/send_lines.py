"""Many commands from a file or stdin: pipelined, one result a line, in the order of the input.

One thread reads and sends, another shows results as they come: who writes a line and waits for its result gets it.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from eventsrc.cli.errors import UsageError
from eventsrc.cli.finding import parse_json
from eventsrc.cli.outcomes import Sent, outcome_object, outcome_text
from eventsrc.cli.render import dump, printable
from eventsrc.cli.send import result_of, submit
from eventsrc.cli.telling import tell
from eventsrc.errors import EventsrcError, InvalidCommand, InvalidId

if TYPE_CHECKING:
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.model.recorded import Outcome
    from eventsrc.runtime.client import Client

_MOST_IN_FLIGHT = 5000
_FIELDS = {"aggregate", "id", "command", "payload", "idempotency_key"}


class _UnderWay(NamedTuple):
    """What one line became: a command on its way, or what is wrong with it."""

    number: int
    sent: Sent
    result: Future[Outcome] | EventsrcError


def send_lines(client: Client, pipeline: Pipeline, file: str, timeout: float, *, as_json: bool) -> bool:
    """Whether every line took effect. Raises `UsageError` for a file that cannot be read, `Unreachable`,
    `TopicsInvalid`, `BrokenPipeError`."""
    began = time.monotonic()
    printer = _Printer(as_json=as_json)
    try:
        with _opened(file) as lines:
            for number, text in enumerate(lines, 1):
                if text.strip():
                    printer.put(_UnderWay(number, *_submit_line(client, pipeline, text, timeout)))
    except KeyboardInterrupt:
        tell(printer.interrupted())
        raise
    except Exception:
        printer.close()
        raise
    try:
        printer.close()
    except KeyboardInterrupt:
        tell(printer.interrupted())
        raise
    tally = printer.tally
    counts = ", ".join(f"{count:,} {status}" for status, count in tally.most_common())
    tell(f"{tally.total():,} commands in {time.monotonic() - began:.1f} s: {counts or 'none'}")
    return set(tally) <= {"ok"}


class _Printer:
    """Shows results in order on a thread of its own. What fails there is raised by the next `put`, or by `close`."""

    def __init__(self, *, as_json: bool) -> None:
        self.tally: Counter[str] = Counter()
        self._as_json = as_json
        self._put = self._shown = 0
        self._interrupted = False
        self._queue: queue.Queue[_UnderWay | None] = queue.Queue(_MOST_IN_FLIGHT)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="eventsrc-results", daemon=True)
        self._thread.start()

    def put(self, line: _UnderWay) -> None:
        """Waits while too many are under way."""
        if self._failure is not None:
            raise self._failure
        self._put = line.number  # it was sent already; an interrupt finds us waiting in the next line
        self._queue.put(line)

    def close(self) -> None:
        """Returns when everything put before is shown."""
        self._queue.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def interrupted(self) -> str:
        """Nothing more is shown; what was under way is not waited for. Returns the words for it."""
        self._interrupted = True
        if self._shown >= self._put:
            return f"interrupted after line {self._put:,}"
        return (
            f"interrupted: lines {self._shown + 1:,} to {self._put:,} were sent, and their outcome was not waited for; send them "
            "again where they have an idempotency_key, else look before you do"
        )

    def _serve(self) -> None:
        while (line := self._queue.get()) is not None:
            if self._interrupted:
                return
            if self._failure is None:
                try:
                    self._show(line)
                except BaseException as failure:  # noqa: BLE001 - raised on the thread that puts
                    self._failure = failure

    def _show(self, line: _UnderWay) -> None:
        result = line.result if isinstance(line.result, EventsrcError) else result_of(line.result)
        if self._interrupted:
            return
        shown = outcome_object(line.sent, result)
        self.tally[shown["status"]] += 1
        if self._as_json:
            text = dump({"line": line.number, **shown})
        else:
            whom = printable(f"{line.sent.aggregate} {line.sent.id}")
            text = f"{line.number}  {whom}  {outcome_text(line.sent, result)}"
        print(text, flush=self._queue.empty())
        self._shown = line.number


def _submit_line(
    client: Client, pipeline: Pipeline, text: bytes, timeout: float
) -> tuple[Sent, Future[Outcome] | EventsrcError]:
    """What is wrong with one line is that line's result; the others go on."""
    sent = Sent("", "", None)
    try:
        line = parse_json(_decoded(text), "the line")
        if not isinstance(line, dict) or not {"aggregate", "id", "command"} <= line.keys() <= _FIELDS:
            raise UsageError('a line is {"aggregate", "id", "command", "payload"} and may have "idempotency_key"')
        sent = Sent(str(line["aggregate"]), str(line["id"]), None)
        return submit(client, pipeline, line, timeout)
    except (UsageError, InvalidCommand, InvalidId) as error:
        return sent, error


@contextmanager
def _opened(file: str) -> Iterator[Iterable[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        lines = Path(file).open("rb")  # noqa: SIM115 - closed below; only what opening raises is a usage error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    with lines:
        yield lines


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"the line is not UTF-8: {error.reason} at byte {error.start}") from error

"""`eventsrc send`: one command and its outcome, or many from a file, pipelined."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from eventsrc.cli.errors import EXIT_FAILURE, UsageError
from eventsrc.cli.finding import build_command, find_aggregate, find_command, parse_json
from eventsrc.cli.outcomes import Sent, outcome_object, outcome_text
from eventsrc.cli.render import dump
from eventsrc.cli.session import AsJson, Session, command
from eventsrc.errors import EventsrcError, InvalidCommand, InvalidId, OutcomeUnknown, Unreachable

if TYPE_CHECKING:
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.model.recorded import Outcome
    from eventsrc.runtime.client import Client

_MOST_IN_FLIGHT = 5000
_LINE_FIELDS = {"aggregate", "id", "command", "payload", "idempotency_key"}

Words = Annotated[
    list[str] | None, typer.Argument(metavar="[APP] AGGREGATE ID COMMAND [JSON]", help="What to send, or - for stdin.")
]


def register(app: typer.Typer) -> None:
    command(app, "send")(send)


def send(
    session: Session,
    words: Words = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="Sent again with it, it takes effect once.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", metavar="FILE", help="JSON lines: aggregate, id, command, payload, idempotency_key; - is stdin."
        ),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.0, metavar="SECONDS", help="How long to wait.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Send a command and wait for its outcome.

    Exit 1 if it was rejected or failed. With --file, one result a line, in the order of the input.
    """
    pipeline, rest = session.split(words)
    if file is None and rest == ["-"]:
        file, rest = "-", []
    if file is not None:
        if rest or idempotency_key is not None:
            raise UsageError("with --file, aggregate, id, command and idempotency_key stand in its lines")
        ok = _send_lines(session, pipeline, file, timeout, as_json=as_json)
    else:
        ok = _send_one(session, pipeline, rest, idempotency_key, timeout, as_json=as_json)
    if not ok:
        raise typer.Exit(EXIT_FAILURE)


def _send_one(
    session: Session, pipeline: Pipeline, words: list[str], key: str | None, timeout: float, *, as_json: bool
) -> bool:
    if len(words) not in (3, 4):
        raise UsageError(
            "write eventsrc send [APP] AGGREGATE ID COMMAND JSON, for example: "
            """eventsrc send Account alice Deposit '{"amount": 5}'; an id that begins with '-' follows after --"""
        )
    payload = parse_json(words[3], "the command's fields") if len(words) == 4 else {}
    line = {"aggregate": words[0], "id": words[1], "command": words[2], "payload": payload}
    began = time.monotonic()
    with _client(session, pipeline) as client:
        sent, future = _submit(client, pipeline, {**line, "idempotency_key": key}, timeout)
        result = _result_of(future)
    if isinstance(result, Unreachable):
        raise result
    if as_json:
        print(dump(outcome_object(sent, result)))
    else:
        print(outcome_text(sent, result, round((time.monotonic() - began) * 1000)))
    if isinstance(result, OutcomeUnknown):
        print("is a worker running? `eventsrc run` processes commands", file=sys.stderr)
    return not isinstance(result, EventsrcError)


def _send_lines(session: Session, pipeline: Pipeline, file: str, timeout: float, *, as_json: bool) -> bool:
    """One result a line, in the order of the input. Several thousand commands are on their way at a time."""
    tally: Counter[str] = Counter()
    under_way: deque[tuple[int, Sent, Future[Outcome] | EventsrcError]] = deque()

    def show_first() -> None:
        number, sent, future = under_way.popleft()
        result = future if isinstance(future, EventsrcError) else _result_of(future)
        shown = outcome_object(sent, result)
        tally[shown["status"]] += 1
        if as_json:
            print(dump({"line": number, **shown}))
        else:
            print(f"{number}  {sent.aggregate} {sent.id}  {outcome_text(sent, result)}")

    began = time.monotonic()
    with _client(session, pipeline) as client, _opened(file) as lines:
        for number, text in enumerate(lines, 1):
            if text.strip():
                under_way.append((number, *_submit_line(client, pipeline, text, timeout)))
            while under_way and (len(under_way) > _MOST_IN_FLIGHT or _is_done(under_way[0][2])):
                show_first()
        while under_way:
            show_first()
    counts = ", ".join(f"{count:,} {status}" for status, count in tally.most_common())
    print(f"{tally.total():,} commands in {time.monotonic() - began:.1f} s: {counts or 'none'}", file=sys.stderr)
    return set(tally) <= {"ok"}


def _submit_line(
    client: Client, pipeline: Pipeline, text: str, timeout: float
) -> tuple[Sent, Future[Outcome] | EventsrcError]:
    """What is wrong with one line is that line's result; the others go on. Raises `Unreachable`, `TopicsInvalid`."""
    sent = Sent("", "", None)
    try:
        line = parse_json(text, "the line")
        if not isinstance(line, dict) or not {"aggregate", "id", "command"} <= line.keys() <= _LINE_FIELDS:
            raise UsageError('a line is {"aggregate", "id", "command", "payload"} and may have "idempotency_key"')
        sent = Sent(str(line["aggregate"]), str(line["id"]), None)
        return _submit(client, pipeline, line, timeout)
    except (UsageError, InvalidCommand, InvalidId) as error:
        return sent, error


def _submit(client: Client, pipeline: Pipeline, line: dict[str, Any], timeout: float) -> tuple[Sent, Future[Outcome]]:
    aggregate = find_aggregate(pipeline, str(line["aggregate"]))
    message = find_command(aggregate, str(line["command"]))
    command = build_command(message, line.get("payload", {}))
    key = line.get("idempotency_key")
    if key is not None and not isinstance(key, str):
        raise UsageError("idempotency_key must be text")
    future = client.submit(aggregate.cls, line["id"], command, idempotency_key=key, timeout=timeout)
    return Sent(aggregate.name, line["id"], aggregate), future


def _result_of(future: Future[Outcome]) -> Outcome | EventsrcError:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, EventsrcError):
        return error
    raise error


def _is_done(future: Future[Outcome] | EventsrcError) -> bool:
    return isinstance(future, EventsrcError) or future.done()


@contextmanager
def _client(session: Session, pipeline: Pipeline) -> Iterator[Client]:
    from eventsrc.runtime.client import Client

    with Client(pipeline, settings=session.settings) as client:
        yield client


@contextmanager
def _opened(file: str) -> Iterator[TextIO]:
    if file == "-":
        yield sys.stdin
        return
    try:
        with open(file, encoding="utf-8") as lines:  # noqa: PTH123 - a word of the command line, "-" being stdin
            yield lines
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error

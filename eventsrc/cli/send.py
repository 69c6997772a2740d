"""`eventsrc send`: one command and its outcome, or many from a file, pipelined."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventsrc.cli.errors import EXIT_FAILURE, UsageError
from eventsrc.cli.finding import build_command, find_aggregate, find_command, parse_json
from eventsrc.cli.outcomes import Sent, outcome_object, outcome_text
from eventsrc.cli.render import dump
from eventsrc.cli.session import AsJson, Session, command
from eventsrc.cli.telling import tell
from eventsrc.errors import EventsrcError, OutcomeUnknown, Unreachable

if TYPE_CHECKING:
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.model.recorded import Outcome
    from eventsrc.runtime.client import Client

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
    timeout: Annotated[float, typer.Option("--timeout", min=0.001, metavar="SECONDS", help="How long to wait.")] = 10.0,
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
        from eventsrc.cli.send_lines import send_lines

        with open_client(session, pipeline) as client:
            ok = send_lines(client, pipeline, file, timeout, as_json=as_json)
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
    # told before the payload: a word too many in front moves each into the next one's place
    find_aggregate(pipeline, words[0])
    payload = parse_json(words[3], "the payload") if len(words) == 4 else {}
    line = {"aggregate": words[0], "id": words[1], "command": words[2], "payload": payload}
    began = time.monotonic()
    with open_client(session, pipeline) as client:
        sent, future = submit(client, pipeline, {**line, "idempotency_key": key}, timeout)
        result = result_of(future)
    if isinstance(result, Unreachable):
        raise result
    if as_json:
        print(dump(outcome_object(sent, result)))
    else:
        print(outcome_text(sent, result, round((time.monotonic() - began) * 1000)))
    if isinstance(result, OutcomeUnknown):
        tell("is a worker running? `eventsrc run` processes commands")
    return not isinstance(result, EventsrcError)


def submit(client: Client, pipeline: Pipeline, line: dict[str, Any], timeout: float) -> tuple[Sent, Future[Outcome]]:
    """`line` has aggregate, id and command, and may have payload and idempotency_key. Raises `UsageError`, and what
    `Client.submit` raises."""
    from confluent_kafka import murmur2

    aggregate = find_aggregate(pipeline, str(line["aggregate"]))
    message = find_command(aggregate, str(line["command"]))
    command = build_command(message, line.get("payload", {}))
    key = line.get("idempotency_key")
    if key is not None and not isinstance(key, str):
        raise UsageError("idempotency_key must be text")
    future = client.submit(aggregate.cls, line["id"], command, idempotency_key=key, timeout=timeout)
    partition = murmur2(line["id"].encode(), pipeline.settings.partitions)
    return Sent(aggregate.name, line["id"], aggregate, partition), future


def result_of(future: Future[Outcome]) -> Outcome | EventsrcError:
    """Waits for it."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, EventsrcError):
        return error
    raise error


@contextmanager
def open_client(session: Session, pipeline: Pipeline) -> Iterator[Client]:
    from eventsrc.runtime.client import Client

    with Client(pipeline, settings=session.settings) as client:
        yield client

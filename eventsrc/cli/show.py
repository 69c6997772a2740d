"""`eventsrc show`: an aggregate's state, now or at a past moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from eventsrc.cli.errors import EXIT_FAILURE
from eventsrc.cli.finding import aggregate_and_id
from eventsrc.cli.render import columns, dump, local_time, printable, record_to_json, rfc3339, value_text
from eventsrc.cli.session import AsJson, Session, command
from eventsrc.cli.times import parse_time

Words = Annotated[list[str], typer.Argument(metavar="[APP] AGGREGATE ID", help="Which aggregate.")]


def register(app: typer.Typer) -> None:
    command(app, "show")(show)


def show(
    session: Session,
    words: Words,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="A past moment: 2026-11-22T10:00:00Z, or -15m.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show an aggregate's state.

    Exit 1 if it never existed.
    """
    from eventsrc.cli.reading import open_reader
    from eventsrc.model.identity import check_aggregate_id

    pipeline, rest = session.split(words)
    aggregate, aggregate_id = aggregate_and_id(pipeline, rest, "show")
    key = check_aggregate_id(aggregate_id)
    moment = parse_time(at, datetime.now(UTC)) if at is not None else None
    with open_reader(session, pipeline) as reader:
        state = reader.fold(aggregate, key, at=moment)
    if as_json:
        shown = None if state is None else record_to_json(aggregate.record, state)
        sequence = 0 if state is None else state.sequence
        when = None if moment is None else rfc3339(moment)
        print(dump({"aggregate": aggregate.name, "id": aggregate_id, "sequence": sequence, "state": shown, "at": when}))
    elif state is None:
        before = f" before {local_time(moment)}" if moment else ""
        print(printable(f"{aggregate.name} {aggregate_id} never existed{before}"))
    else:
        print(
            printable(f"{aggregate.name} {aggregate_id}   sequence {state.sequence}")
            + (f", at {local_time(moment)}" if moment else "")
        )
        fields = [(field.name, value_text(getattr(state, field.name))) for field in aggregate.record.fields]
        print(columns(fields, indent="  "))
    if state is None:
        raise typer.Exit(EXIT_FAILURE)

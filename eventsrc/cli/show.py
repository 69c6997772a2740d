"""`eventsrc show`: an aggregate's state, now or at a past moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from eventsrc.cli.errors import EXIT_FAILURE
from eventsrc.cli.finding import aggregate_and_id
from eventsrc.cli.render import columns, dump, printable, value_text
from eventsrc.cli.replay_output import state_object
from eventsrc.cli.session import AsJson, Session, command
from eventsrc.cli.times import MOMENTS, moment_text
from eventsrc.model.moments import AtSequence, parse_moment

Words = Annotated[list[str], typer.Argument(metavar="[APP] AGGREGATE ID", help="Which aggregate.")]


def register(app: typer.Typer) -> None:
    command(app, "show")(show)


def show(
    session: Session,
    words: Words,
    at: Annotated[str | None, typer.Option("--at", metavar="T", help=f"A past moment: {MOMENTS}.")] = None,
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
    moment = parse_moment(at, datetime.now(UTC)) if at is not None else None
    with open_reader(session, pipeline) as reader:
        state = reader.fold(aggregate, key, at=moment)
    if as_json:
        print(dump(state_object(aggregate, aggregate_id, state, None if moment is None else str(moment))))
    elif state is None:
        before = f" before {moment_text(moment)}" if moment else ""
        print(printable(f"{aggregate.name} {aggregate_id} never existed{before}"))
    else:
        then = f", at {moment_text(moment)}" if moment else ""
        if isinstance(moment, AtSequence) and state.sequence > moment.sequence:
            then += f", which is in the middle of a command: shown is all of it, to sequence {state.sequence}"
        print(printable(f"{aggregate.name} {aggregate_id}   sequence {state.sequence}{then}"))
        fields = [(field.name, value_text(getattr(state, field.name))) for field in aggregate.record.fields]
        print(columns(fields, indent="  "))
    if state is None:
        raise typer.Exit(EXIT_FAILURE)

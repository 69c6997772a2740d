"""`eventsrc check`: what can be said of an application without a broker."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventsrc.cli.errors import EXIT_FAILURE, EXIT_SCHEMA, UsageError
from eventsrc.cli.render import columns, dump
from eventsrc.cli.session import AsJson, Session, command
from eventsrc.errors import SchemaIncompatible

if TYPE_CHECKING:
    from eventsrc.codec.catalog import Catalog
    from eventsrc.model.aggregate import AggregateType
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.testing.determinism import DeterminismReport

NoDeterminism = Annotated[
    bool, typer.Option("--no-determinism", help="Do not run handlers and @apply methods on made-up histories.")
]
App = Annotated[list[str] | None, typer.Argument(metavar="[APP]", help="module:attribute of the pipeline.")]


def register(app: typer.Typer) -> None:
    command(app, "check")(check)


def check(session: Session, app: App = None, no_determinism: NoDeterminism = False, as_json: AsJson = False) -> None:
    """Check declarations, schemas and determinism, without a broker.

    Exit 1 where a replay would make other states, or a handler changes the state; 2 for a mistake in a class; 5 where
    what was written could not be read any more.
    """
    from eventsrc.cli.schema_checks import compare_schemas
    from eventsrc.codec.catalog import Catalog

    pipeline, rest = session.split(app)
    if rest:
        raise UsageError(f"{rest[0]!r} is not module:attribute, for example app:pipeline")
    if not pipeline.aggregates:
        raise UsageError(f"pipeline {pipeline.name!r} has no aggregate: declare one with @pipeline.aggregate")
    directory = session.settings.schemas_dir
    catalog = Catalog(pipeline, directory)
    for aggregate in pipeline.aggregates.values():
        _compile(catalog, aggregate)
    report = compare_schemas(pipeline, directory)
    folds = None if no_determinism else _determinism(session, pipeline, app)
    unsound = [] if folds is None else list(folds.problems)
    notes = [*report.notes, *(folds.notes if folds is not None else ())]
    if as_json:
        aggregates = [_as_object(aggregate) for aggregate in pipeline.aggregates.values()]
        shown = {"pipeline": pipeline.name, "aggregates": aggregates, "schema_files": report.files}
        problems = {
            "problems": report.problems,
            "notes": notes,
            "determinism": None if folds is None else asdict(folds),
        }
        print(dump({"ok": not (report.problems or unsound), **shown, **problems}))
    else:
        _print_declarations(pipeline)
        print(f"schemas       {len(catalog.schemas())} written by the code, {report.files} files in {directory}")
        if folds is not None:
            print(f"determinism   {_determinism_text(folds)}")
        for note in [*notes, *_without_compensation(pipeline)]:
            print(f"note: {note}")
    if as_json and (report.problems or unsound):
        raise typer.Exit(EXIT_SCHEMA if report.problems else EXIT_FAILURE)
    if unsound:
        print("\n  ".join(["error: states or decisions are not what they have to be:", *unsound]), file=sys.stderr)
    if report.problems:
        raise SchemaIncompatible(f"today's classes do not read what {directory} says was written:", report.problems)
    if unsound:
        raise typer.Exit(EXIT_FAILURE)
    if not as_json:
        folded = folds is not None and folds.histories
        checked = "declarations, generated codecs, schema files" + (", determinism" if folded else "")
        print(f"ok: {checked}. Not checked without a broker: topics (topics verify)")


def _determinism(session: Session, pipeline: Pipeline, app: list[str] | None) -> DeterminismReport:
    from eventsrc.cli.loading import split_app
    from eventsrc.testing.determinism import check_determinism

    return check_determinism(pipeline, app=split_app(list(app or ()), session.settings.app)[0])


def _determinism_text(folds: DeterminismReport) -> str:
    made = f"{folds.histories} histories made up, {folds.events} events, {folds.commands} commands"
    if folds.problems:
        return f"{made}: {len(folds.problems)} problems"
    if not folds.histories:
        return f"not checked: no command that was made up came to an event ({folds.commands} were tried; see the notes)"
    seeds = f", under hash seeds {' and '.join(map(str, folds.hash_seeds))}" if folds.hash_seeds else ""
    return f"{made}: the same states when folded again, restored{seeds}; no handler changed one"


def _compile(catalog: Catalog, aggregate: AggregateType) -> None:
    """Every reader and writer of the aggregate: what cannot be generated fails here, not in production."""
    for cls, message in aggregate.commands.items():
        catalog.command_writer(aggregate, cls)
        message.check_constraints()
    for cls in aggregate.events:
        catalog.event_writer(aggregate, cls)
    catalog.command_readers(aggregate)
    catalog.event_readers(aggregate)
    catalog.state_writer(aggregate)


def _print_declarations(pipeline: Pipeline) -> None:
    print(f"pipeline      {pipeline.name}, {pipeline.settings.partitions} partitions")
    rows = []
    for aggregate in pipeline.aggregates.values():
        counts = f"{len(aggregate.commands)} commands, {len(aggregate.events)} events"
        rows.append(("aggregate   ", aggregate.cls.__name__, f"{counts}, {len(aggregate.compensations)} compensations"))
    print(columns(rows))


def _as_object(aggregate: AggregateType) -> dict[str, Any]:
    return {
        "name": aggregate.name,
        "version": aggregate.version,
        "commands": [message.name for message in aggregate.commands.values()],
        "events": [message.name for message in aggregate.events.values()],
        "compensations": [event.__name__ for event in aggregate.compensations],
    }


def _without_compensation(pipeline: Pipeline) -> list[str]:
    """Only of aggregates that declare some: elsewhere it is a choice."""
    notes = []
    for aggregate in pipeline.aggregates.values():
        missing = [event.__name__ for event in aggregate.events if event not in aggregate.compensations]
        if aggregate.compensations and missing:
            notes.append(
                f"{aggregate.cls.__name__}: no @compensate for {', '.join(missing)}: a rollback cannot undo them"
            )
    return notes

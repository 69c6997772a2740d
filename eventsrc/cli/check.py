"""`eventsrc check`: what can be said of an application without a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventsrc.cli.errors import EXIT_SCHEMA, UsageError
from eventsrc.cli.render import columns, dump
from eventsrc.cli.session import AsJson, Session, command
from eventsrc.errors import SchemaIncompatible

if TYPE_CHECKING:
    from eventsrc.codec.catalog import Catalog
    from eventsrc.model.aggregate import AggregateType
    from eventsrc.model.pipeline import Pipeline

App = Annotated[list[str] | None, typer.Argument(metavar="[APP]", help="module:attribute of the pipeline.")]


def register(app: typer.Typer) -> None:
    command(app, "check")(check)


def check(session: Session, app: App = None, as_json: AsJson = False) -> None:
    """Check declarations and schemas, without a broker.

    Exit 2 for a mistake in a class, 5 where what was written could not be read any more.
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
    if as_json:
        aggregates = [_as_object(aggregate) for aggregate in pipeline.aggregates.values()]
        shown = {"pipeline": pipeline.name, "aggregates": aggregates, "schema_files": report.files}
        print(dump({"ok": not report.problems, **shown, "problems": report.problems, "notes": report.notes}))
    else:
        _print_declarations(pipeline)
        print(f"schemas       {len(catalog.schemas())} written by the code, {report.files} files in {directory}")
        for note in [*report.notes, *_without_compensation(pipeline)]:
            print(f"note: {note}")
    if report.problems and as_json:
        raise typer.Exit(EXIT_SCHEMA)
    if report.problems:
        raise SchemaIncompatible(f"today's classes do not read what {directory} says was written:", report.problems)
    if not as_json:
        print("ok: declarations, generated codecs, schema files. Not checked without a broker: topics (topics verify)")


def _compile(catalog: Catalog, aggregate: AggregateType) -> None:
    """Every reader and writer of the aggregate: what cannot be generated fails here, not in production."""
    for cls in aggregate.commands:
        catalog.command_writer(aggregate, cls)
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

"""`eventsrc schema export`, `check` and `show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventsrc.cli.errors import EXIT_SCHEMA, UsageError
from eventsrc.cli.finding import find_aggregate
from eventsrc.cli.render import columns, dump
from eventsrc.cli.session import AsJson, Session, command
from eventsrc.errors import SchemaIncompatible

if TYPE_CHECKING:
    from eventsrc.codec.catalog import Catalog
    from eventsrc.codec.schema_files import SchemaFile
    from eventsrc.model.pipeline import Pipeline

App = Annotated[list[str] | None, typer.Argument(metavar="[APP]", help="module:attribute of the pipeline.")]
Directory = Annotated[Path | None, typer.Option("--dir", metavar="DIR", help="Schema files [default: schemas].")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Avro schemas: files, compatibility, text.", no_args_is_help=True, rich_markup_mode=None)
    command(group, "export")(export)
    command(group, "check")(check)
    command(group, "show")(show)
    app.add_typer(group, name="schema")


def export(
    session: Session,
    app: App = None,
    directory: Directory = None,
    same_fold: Annotated[
        bool, typer.Option("--same-fold", help="Changed @apply methods fold every event to the same state as before.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the schemas of what the code now writes, beside those of every earlier version, and what each fold is."""
    from eventsrc.codec import fold_files, schema_files

    pipeline, target, catalog = _opened(session, app, directory)
    schemas = catalog.schemas()
    folds = fold_files.export(pipeline, target, same_fold=same_fold)
    written = schema_files.export(target, schemas)
    kept = len(schemas) - len(written)
    if as_json:
        paths = [str(path) for path in [*written, *folds]]
        print(dump({"directory": str(target), "written": paths, "schemas": len(schemas)}))
        return
    for path in [*written, *folds]:
        print(path)
    print(
        f"{pipeline.name}: {len(written) + len(folds)} written, {kept} were there; keep {target} under version control"
    )


def check(session: Session, app: App = None, directory: Directory = None, as_json: AsJson = False) -> None:
    """Check that today's classes read everything that the files say was written. Exit 5 if they do not."""
    from eventsrc.cli.schema_checks import compare_schemas

    pipeline, target, catalog = _opened(session, app, directory)
    report = compare_schemas(pipeline, target)
    if as_json:
        print(dump({"ok": not report.problems, "problems": report.problems, "notes": report.notes}))
        if report.problems:
            raise typer.Exit(EXIT_SCHEMA)
        return
    if report.problems:
        raise SchemaIncompatible(f"today's classes do not read what {target} says was written:", report.problems)
    print(f"{len(catalog.schemas())} schemas of the code, {report.files} files in {target}: compatible")
    for note in report.notes:
        print(f"note: {note}")


def show(
    session: Session,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[APP] [AGGREGATE [MESSAGE]]", help="Which schemas.")
    ] = None,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """List the schemas that the code writes, or print one aggregate's or one message's."""
    pipeline, rest = session.split(words)
    target, catalog = _catalog(session, pipeline, directory)
    if not rest:
        _list(catalog.schemas(), target, as_json=as_json)
        return
    for schema in _chosen(catalog.schemas(), pipeline, rest):
        print(dump(schema.schema) if as_json else schema.text().rstrip())


def _list(schemas: list[SchemaFile], directory: Path, *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "name": schema.node.name,
            "kind": schema.kind,
            "fingerprint": f"{schema.fingerprint:016x}",
            "file": str(directory / schema.relative_path),
            "exported": (directory / schema.relative_path).exists(),
        }
        for schema in schemas
    ]
    if as_json:
        for row in rows:
            print(dump(row))
    else:
        shown = [(r["kind"], r["name"], r["fingerprint"], r["file"] if r["exported"] else "not exported") for r in rows]
        print(columns(shown))


def _chosen(schemas: list[SchemaFile], pipeline: Pipeline, words: list[str]) -> list[SchemaFile]:
    if len(words) > 2:
        raise UsageError("write eventsrc schema show [APP] [AGGREGATE [MESSAGE]]")
    aggregate = find_aggregate(pipeline, words[0])
    own = [schema for schema in schemas if schema.folder == f"{pipeline.name}/{aggregate.name}"]
    found = [schema for schema in own if len(words) == 1 or schema.name == words[1]]
    if not found:
        names = ", ".join(schema.name for schema in own)
        raise UsageError(f"{aggregate.cls.__name__} has no command or event {words[1]!r}; it has {names}")
    return found


def _opened(session: Session, app: list[str] | None, directory: Path | None) -> tuple[Pipeline, Path, Catalog]:
    pipeline, rest = session.split(app)
    if rest:
        raise UsageError(f"{rest[0]!r} is not module:attribute, for example app:pipeline")
    return pipeline, *_catalog(session, pipeline, directory)


def _catalog(session: Session, pipeline: Pipeline, directory: Path | None) -> tuple[Path, Catalog]:
    from eventsrc.codec.catalog import Catalog

    target = directory or session.settings.schemas_dir
    return target, Catalog(pipeline, target)

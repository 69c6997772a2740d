"""`eventsrc db upgrade` and `status`: the tables of snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from eventsrc.cli.errors import EXIT_FAILURE
from eventsrc.cli.render import dump
from eventsrc.cli.session import AsJson, Session, command

if TYPE_CHECKING:
    from eventsrc.adapters.postgres.upgrading import SchemaStatus


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Prepare the database for snapshots.", no_args_is_help=True, rich_markup_mode=None)
    command(group, "upgrade")(upgrade)
    command(group, "status")(status)
    app.add_typer(group, name="db")


def upgrade(
    session: Session,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL that would be run, and run nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create the tables of snapshots in the database of DATABASE_URL, or bring them up to date. Without effect where they
    are; workers may go on meanwhile. --sql without a database prints what a new one needs."""
    from eventsrc.adapters.postgres import upgrading
    from eventsrc.adapters.postgres.connecting import refuse_other_revision

    if sql:
        address = session.settings.database_url
        before = upgrading.status_at(None) if address is None else upgrading.status(address)
        if before.newer:
            refuse_other_revision(before.revision)
        text = upgrading.preview(before.revision)
        if as_json:
            print(dump({"before": before.revision, "revision": before.known, "sql": text}))
        else:
            print(text or f"-- revision {before.revision} is up to date", end="" if text else "\n")
        return
    before = upgrading.upgrade(session.settings.require_database_url())
    if as_json:
        print(dump({"before": before.revision, "revision": before.known, "applied": list(before.missing)}))
    elif before.missing:
        print(f"the snapshot tables have revision {before.known} now; before: {before.revision or 'none'}")
    else:
        print(f"the snapshot tables have revision {before.known} already")


def status(session: Session, as_json: AsJson = False) -> None:
    """Show which revision the tables of snapshots have. Exit 1 if it is not the one that this version knows."""
    from eventsrc.adapters.postgres import upgrading

    found = upgrading.status(session.settings.require_database_url())
    if as_json:
        shown = {"revision": found.revision, "known": found.known, "missing": list(found.missing)}
        print(dump({"ok": _is_current(found), **shown}))
    else:
        print(_described(found))
    if not _is_current(found):
        raise typer.Exit(EXIT_FAILURE)


def _is_current(found: SchemaStatus) -> bool:
    return not found.missing and not found.newer


def _described(found: SchemaStatus) -> str:
    if found.newer:
        return f"revision {found.revision}, newer than {found.known}, which this version knows: install the version that made it"
    if found.missing:
        return f"revision {found.revision or 'none'}, missing {', '.join(found.missing)}: run `eventsrc db upgrade`"
    return f"revision {found.revision}, up to date"

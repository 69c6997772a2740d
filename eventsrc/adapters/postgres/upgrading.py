"""Brings the database's tables to what this version knows: alembic, driven from here, without an alembic.ini.

Owns where the migrations are. alembic and SQLAlchemy are imported only when there is something to upgrade.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from eventsrc.adapters.postgres.connecting import (
    SCHEMA_REVISION,
    PatientConnection,
    is_newer,
    libpq_address,
    refuse_other_revision,
    revision_of,
)
from eventsrc.adapters.postgres.errors import unavailable
from eventsrc.errors import EventsrcError, Unreachable

if TYPE_CHECKING:
    from alembic.config import Config

_APPLICATION_NAME = "eventsrc db"


class SchemaStatus(NamedTuple):
    """The newest migration that a database has had (None: none), the newest known, and those still `missing`."""

    revision: str | None
    known: str
    missing: tuple[str, ...]

    @property
    def newer(self) -> bool:
        """A newer version of eventsrc has upgraded it."""
        return self.revision is not None and is_newer(self.revision)


def status(dsn: str) -> SchemaStatus:
    """Raises Unreachable, SnapshotsUnavailable, InvalidSettings."""
    with _connected(dsn, "reading the revision of the snapshot tables") as connection:
        return status_at(revision_of(connection))


def status_at(revision: str | None) -> SchemaStatus:
    """Of a database that has that revision."""
    newer = revision is not None and is_newer(revision)
    files = sorted(path.name for path in (migrations_directory() / "versions").glob("[0-9]*.py"))
    names = [name.partition("_")[0] for name in files]
    missing = () if newer else tuple(name for name in names if revision is None or name > revision)
    return SchemaStatus(revision, SCHEMA_REVISION, missing)


def upgrade(dsn: str) -> SchemaStatus:
    """Returns what the database had before; it has every migration now. Several at once wait for one another; one that
    fails has changed nothing. Raises Unreachable, SnapshotsUnavailable (also for tables of a newer version), InvalidSettings."""
    before = status(dsn)
    if before.newer:
        refuse_other_revision(before.revision)
    if before.missing:
        _run_migrations(dsn)
    return before


def preview(revision: str | None) -> str:
    """The SQL that `upgrade` would run on a database of that revision; it stands in a transaction of its own."""
    from alembic import command

    if not status_at(revision).missing:
        return ""
    written = io.StringIO()
    command.upgrade(_config(written), f"{revision or 'base'}:head", sql=True)
    return written.getvalue()


def migrations_directory() -> Path:
    """Within the package where it is installed; beside it in a source tree."""
    package = Path(__file__).parents[2]
    for directory in (package / "migrations", package.parent / "migrations"):
        if (directory / "env.py").is_file():
            return directory
    raise EventsrcError(f"the migrations are missing from {package}: install eventsrc again")


def _run_migrations(dsn: str) -> None:
    import sqlalchemy
    from alembic import command

    with _connected(dsn, "upgrading the snapshot tables") as connection:
        connection.autocommit = False
        engine = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=lambda: connection, poolclass=sqlalchemy.StaticPool
        )
        try:
            with engine.begin() as transaction:
                config = _config()
                config.attributes["connection"] = transaction
                command.upgrade(config, "head")
        except sqlalchemy.exc.DBAPIError as error:
            raise error.orig or error from error


@contextmanager
def _connected(dsn: str, doing: str) -> Iterator[PatientConnection]:
    address = libpq_address(dsn)
    try:
        connection = PatientConnection.to(address, _APPLICATION_NAME)
    except psycopg.Error as error:
        raise Unreachable(str(unavailable("Postgres does not answer", error))) from error
    with connection:
        try:
            yield connection
        except psycopg.Error as error:
            raise unavailable(doing, error) from error


def _config(output: io.StringIO | None = None) -> Config:
    from alembic.config import Config

    config = Config(stdout=output, output_buffer=output) if output else Config()
    config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config

"""Brings the database's tables to what this version knows: alembic, driven from here, without an alembic.ini.

Owns where the migrations are. Imports alembic and SQLAlchemy: import this lazily.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

import eventsrc
from eventsrc.adapters.postgres.connecting import (
    SCHEMA_REVISION,
    PatientConnection,
    is_newer,
    libpq_address,
    refuse_other_revision,
    revision_of,
)
from eventsrc.adapters.postgres.errors import unavailable
from eventsrc.errors import EventsrcError

_APPLICATION_NAME = "eventsrc db upgrade"


class SchemaStatus(NamedTuple):
    """Which migrations a database has had, the newest being `revision` (None: none), and which are still `missing`."""

    revision: str | None
    known: str
    missing: tuple[str, ...]

    @property
    def newer(self) -> bool:
        """A newer version of eventsrc has upgraded it."""
        return self.revision is not None and is_newer(self.revision)


def status(dsn: str) -> SchemaStatus:
    """Raises SnapshotsUnavailable, InvalidSettings."""
    address = libpq_address(dsn)
    try:
        with PatientConnection.to(address, _APPLICATION_NAME) as connection:
            return _status_at(revision_of(connection))
    except psycopg.Error as error:
        raise unavailable("asking for the revision of the snapshot tables", error) from error


def upgrade(dsn: str) -> SchemaStatus:
    """What the database had before; now it has every migration, or has what it had. Several at once wait for one another.

    Raises SnapshotsUnavailable, also for tables that a newer version made; InvalidSettings."""
    address = libpq_address(dsn)
    before = status(dsn)
    if before.newer:
        refuse_other_revision(before.revision)
    if not before.missing:
        return before
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: PatientConnection.to(address, _APPLICATION_NAME),
        poolclass=sqlalchemy.NullPool,
    )
    try:
        with engine.connect() as connection:
            connection.connection.dbapi_connection.autocommit = False  # type: ignore[union-attr]  # it is psycopg's
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except psycopg.Error as error:
        raise unavailable("upgrading the snapshot tables", error) from error
    except sqlalchemy.exc.DBAPIError as error:
        if not isinstance(error.orig, psycopg.Error):
            raise
        raise unavailable("upgrading the snapshot tables", error.orig) from error
    return before


def preview(revision: str | None) -> str:
    """The SQL that `upgrade` would run on a database of that revision."""
    missing = _status_at(revision).missing
    if not missing:
        return ""
    written = io.StringIO()
    command.upgrade(_config(written), f"{revision or 'base'}:head", sql=True)
    return written.getvalue()


def _status_at(revision: str | None) -> SchemaStatus:
    script = ScriptDirectory.from_config(_config())
    all_of_them = [each.revision for each in script.walk_revisions()][::-1]
    missing = tuple(each for each in all_of_them if revision is None or each > revision)
    return SchemaStatus(revision, SCHEMA_REVISION, () if revision is not None and is_newer(revision) else missing)


def _config(output: io.StringIO | None = None) -> Config:
    config = Config(stdout=output, output_buffer=output) if output else Config()
    config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def migrations_directory() -> Path:
    """Within the package where it is installed; beside it in a source tree."""
    package = Path(eventsrc.__file__).parent
    for directory in (package / "migrations", package.parent / "migrations"):
        if (directory / "env.py").is_file():
            return directory
    raise EventsrcError(f"the migrations are missing from {package}: install eventsrc again")

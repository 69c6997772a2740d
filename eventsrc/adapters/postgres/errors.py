"""psycopg's errors as what the caller must do. The one table; every message says what happened and what to do."""

from __future__ import annotations

import psycopg
from psycopg import errors

from eventsrc.errors import SnapshotDamaged, SnapshotsUnavailable, WorkerError

UPGRADE = "run `eventsrc db upgrade`"

# The first that fits; before anything else, a mend where there is one.
_MENDS: tuple[tuple[tuple[type[psycopg.Error], ...], str], ...] = (
    ((errors.UndefinedTable, errors.InvalidSchemaName, errors.UndefinedColumn), UPGRADE),
    ((errors.InsufficientPrivilege,), "grant this user the rights that docs/snapshots.md lists"),
    ((errors.InvalidPassword, errors.InvalidAuthorizationSpecification), "check user and password in DATABASE_URL"),
    ((errors.InvalidCatalogName,), "create the database, or correct its name in DATABASE_URL"),
    ((errors.DiskFull,), "make room on the database's disk"),
    ((errors.TooManyConnections,), "raise max_connections, or put fewer workers on this database"),
    ((errors.ReadOnlySqlTransaction,), "the address is a standby's, or the session is read-only: name the primary"),
    ((errors.LockNotAvailable,), "another writer holds the partition's row; tried again later"),
)
_DAMAGE = (errors.DataCorrupted, errors.IndexCorrupted)


def is_damage(error: psycopg.Error) -> bool:
    """Whether the server cannot read what is stored."""
    return isinstance(error, _DAMAGE)


def unavailable(doing: str, error: psycopg.Error) -> WorkerError:
    """What to raise instead, with `doing` in the message ("claiming bank/account/3")."""
    reason = (error.diag.message_primary or str(error)).strip().partition("\n")[0] or type(error).__name__
    mend = next((mend for kinds, mend in _MENDS if isinstance(error, kinds)), None)
    if mend is None and isinstance(error, psycopg.OperationalError) and error.sqlstate is None:  # no server has spoken
        mend = "check that Postgres runs, and its address in DATABASE_URL"
    if is_damage(error):
        return SnapshotDamaged(f"{doing}: what is stored cannot be read: {reason}")
    return SnapshotsUnavailable(f"{doing}: {reason}" + (f"; {mend}" if mend else ""))

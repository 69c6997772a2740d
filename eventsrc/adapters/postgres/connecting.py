"""Connections to the snapshot database: the address in its forms, what every connection is opened with, and the check
that the tables are those this version knows.

Must not know what the tables hold. No message holds an address: it may have a password in it.
"""

from __future__ import annotations

import re
from typing import Any, Final, Self, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from eventsrc.adapters.postgres.compiled import REVISION
from eventsrc.adapters.postgres.errors import UPGRADE
from eventsrc.codes import Refusal
from eventsrc.errors import InvalidSettings, SnapshotsUnavailable

SCHEMA_REVISION: Final = "0001"
"""The newest migration, whose tables this version reads and writes."""

CONNECT_TIMEOUT_S: Final = 3
SILENCE_LIMIT_S: Final = 60.0
"""A server that has not answered a statement for this long is as good as gone."""

_URL = re.compile(r"(?P<scheme>[a-z]+)(\+[a-z0-9_]+)?://")
_SESSION = {
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "5s",
    "search_path": "pg_catalog",
    "TimeZone": "UTC",
    "client_min_messages": "warning",
}
_KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_Result = TypeVar("_Result")


class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """Waits for a server that is stopped or cut off for `SILENCE_LIMIT_S`, not for ever."""

    def wait(self, gen: PQGen[_Result], interval: float = 0.1, timeout: float | None = None) -> _Result:
        return super().wait(gen, interval, SILENCE_LIMIT_S if timeout is None else timeout)

    @classmethod
    def to(cls, dsn: str, application_name: str) -> Self:
        """Each statement outside BEGIN and COMMIT is a transaction of its own. Raises psycopg.Error."""
        given = conninfo_to_dict(dsn)
        options = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
        if given.get("options"):
            options = f"{given['options']} {options}"
        given.setdefault("connect_timeout", CONNECT_TIMEOUT_S)
        conninfo = make_conninfo("", **{**_KEEPALIVES, **given, "options": options})
        # names of applications are ASCII, and Postgres cuts them
        name = application_name.encode("ascii", "replace").decode()[:63]
        return cls.connect(conninfo, application_name=name, autocommit=True, prepare_threshold=None)


def libpq_address(address: str) -> str:
    """`postgres://`, `postgresql://`, `postgresql+psycopg://` or `host=... dbname=...`, as libpq takes it. Raises
    InvalidSettings, without the address."""
    url = _URL.match(address)
    if url and url["scheme"] not in ("postgres", "postgresql"):
        raise InvalidSettings(f"database_url is not the address of a Postgres: it begins with {url['scheme']}://")
    dsn = f"{url['scheme']}://{address[url.end() :]}" if url else address
    try:
        if url and _splits_the_password(address[url.end() :]):
            raise psycopg.ProgrammingError
        conninfo_to_dict(dsn)
    except psycopg.Error:
        raise InvalidSettings(
            "database_url is not an address: it wants postgresql://user:password@host:port/database "
            "(a reserved character in the password is written as %XX)"
        ) from None
    return dsn


def _splits_the_password(rest: str) -> bool:
    """An `@`, `/` or `?` in it that is not escaped: libpq would take what follows for a host, and say it in its errors."""
    return "@" in rest.partition("@")[2] or ("@" in rest and "@" not in re.split("[/?]", rest, maxsplit=1)[0])


def connect(dsn: str, application_name: str) -> PatientConnection:
    """Connected, to tables that this version knows. Raises psycopg.Error; SnapshotsUnavailable for the tables."""
    connection = PatientConnection.to(dsn, application_name)
    try:
        refuse_other_revision(revision_of(connection))
    except BaseException:
        connection.close()
        raise
    return connection


def revision_of(connection: psycopg.Connection[tuple[Any, ...]]) -> str | None:
    """The newest migration that the database has had; None where it has had none."""
    try:
        row = connection.execute(REVISION).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return None
    return row[0] if row else None


def refuse_other_revision(found: str | None) -> None:
    """Raises SnapshotsUnavailable."""
    if found is None:
        raise SnapshotsUnavailable(f"the database has no snapshot tables yet: {UPGRADE}", Refusal.DATABASE_NOT_PREPARED)
    if is_newer(found):
        raise SnapshotsUnavailable(
            f"the snapshot tables have revision {found}, and this version of eventsrc knows {SCHEMA_REVISION}: "
            "install the version that made them",
            Refusal.DATABASE_NEWER,
        )
    if found != SCHEMA_REVISION:
        raise SnapshotsUnavailable(
            f"the snapshot tables have revision {found}, not {SCHEMA_REVISION} yet: {UPGRADE}",
            Refusal.DATABASE_NOT_PREPARED,
        )


def is_newer(revision: str) -> bool:
    """Revisions are numbers of four digits; another word is nobody's of ours, and newer too."""
    return not revision.isdecimal() or int(revision) > int(SCHEMA_REVISION)

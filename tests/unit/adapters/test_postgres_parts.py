"""What of the snapshot store can be judged without a server: statements, addresses, errors, rows."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from eventsrc.adapters.postgres import compiled, statements, upgrading
from eventsrc.adapters.postgres.connecting import SCHEMA_REVISION, is_newer, libpq_address, refuse_other_revision
from eventsrc.adapters.postgres.errors import unavailable
from eventsrc.adapters.postgres.rows import read_row, row_of
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import InvalidSettings, SnapshotDamaged, SnapshotsUnavailable
from eventsrc.model.position import Offset, Position
from eventsrc.model.snapshot import Anchor, Checkpoint, DamagedCheckpoint, FoldedBy, Segment, StoredCheckpoint

KEY = PartitionKey("account", 3)
TAKEN_AT = datetime(2026, 11, 23, 4, 5, 6, 789, tzinfo=UTC)


def test_the_compiled_statements_are_those_of_statements_py() -> None:
    assert compiled.__file__ is not None
    written = Path(compiled.__file__).read_text()
    assert written == statements.compiled(), "run python -m eventsrc.adapters.postgres.statements"


def test_the_revision_known_is_the_newest_migration() -> None:
    assert upgrading.status_at(None).missing[-1] == SCHEMA_REVISION
    assert upgrading.status_at(SCHEMA_REVISION).missing == ()


def test_importing_the_store_and_the_worker_brings_no_sqlalchemy() -> None:
    code = """
import sys
import eventsrc.runtime.worker
print(sorted({"psycopg", "sqlalchemy", "alembic"} & set(sys.modules)))
import eventsrc.adapters.postgres.store
print(sorted({"sqlalchemy", "alembic", "mako"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n[]\n"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgres://a:b@h/d", "postgres://a:b@h/d"),
        ("postgresql://a@/d?host=/tmp/x", "postgresql://a@/d?host=/tmp/x"),
        ("postgresql+psycopg://a:b@h:1/d", "postgresql://a:b@h:1/d"),
        ("postgres+psycopg2://h/d", "postgres://h/d"),
        ("postgresql://u:a#b@h/d", "postgresql://u:a#b@h/d"),
        ("host=h dbname=d password='a://b'", "host=h dbname=d password='a://b'"),
    ],
)
def test_addresses_in_every_form(address: str, expected: str) -> None:
    assert libpq_address(address) == expected


@pytest.mark.parametrize(
    "address",
    [
        "mysql://u:hush@h/d",
        "postgresql://u:hush hush@[h",
        "hush",
        "postgresql://h?hush=1",
        "postgresql://u:a@hush@h/d",
        "postgresql://u:a/hush@h/d",
        "postgresql://u:a?hush@h/d",
    ],
)
def test_what_is_no_address_is_refused_without_being_shown(address: str) -> None:
    with pytest.raises(InvalidSettings, match="database_url") as refused:
        libpq_address(address)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(("revision", "newer"), [("0001", False), ("0000", False), ("0002", True), ("9f3a", True)])
def test_which_revisions_are_newer(revision: str, newer: bool) -> None:
    assert is_newer(revision) is newer


@pytest.mark.parametrize(
    ("revision", "message"),
    [(None, "run `eventsrc db upgrade`"), ("0000", "run `eventsrc db upgrade`"), ("0042", "revision 0042.*knows 0001")],
)
def test_tables_of_another_revision_are_refused(revision: str | None, message: str) -> None:
    with pytest.raises(SnapshotsUnavailable, match=message):
        refuse_other_revision(revision)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            errors.UndefinedTable("relation is missing\nLINE 1"),
            "reading: relation is missing; run `eventsrc db upgrade`",
        ),
        (errors.InsufficientPrivilege("no"), "reading: no; grant this user the rights that docs/snapshots.md lists"),
        (errors.DiskFull("full"), "reading: full; make room on the database's disk"),
        (
            errors.ReadOnlySqlTransaction("ro"),
            "reading: ro; the address is a standby's, or the session is read-only: name the primary",
        ),
        (
            psycopg.OperationalError(""),
            "reading: OperationalError; check that Postgres runs, and its address in DATABASE_URL",
        ),
        (psycopg.InterfaceError("closed"), "reading: closed"),
    ],
)
def test_errors_say_what_happened_and_what_to_do(error: psycopg.Error, message: str) -> None:
    found = unavailable("reading", error)
    assert (type(found), str(found)) == (SnapshotsUnavailable, message)


def test_what_the_server_cannot_read_is_damage() -> None:
    assert isinstance(unavailable("reading", errors.DataCorrupted("missing chunk")), SnapshotDamaged)


def stored() -> StoredCheckpoint:
    anchor = Anchor(Offset(9), b"\xff\0key", 0xFFFFFFFF, 1)
    said = Checkpoint(anchor, anchor, Position(4), 5, 1, None, 7, 3, "commands", "events", FoldedBy(1, (1 << 64) - 1))
    segment = Segment(uuid.uuid4(), 0, (1 << 64) - 1, 3, 400, 0xFFFFFFFF)
    return StoredCheckpoint(uuid.uuid4(), said, ((segment,), ()), TAKEN_AT)


def row() -> tuple[StoredCheckpoint, dict[str, Any]]:
    made = stored()
    return made, row_of("bank", KEY, made, TAKEN_AT)


def read(
    values: dict[str, Any], pipeline: str = "bank", key: PartitionKey = KEY
) -> StoredCheckpoint | DamagedCheckpoint:
    return read_row([values[name] for name in compiled.CHECKPOINT_COLUMNS], pipeline, key)


def test_a_row_comes_back_whatever_zone_and_form_the_driver_gives_it() -> None:
    made, values = row()
    values["taken_at"] = TAKEN_AT.astimezone(timezone(timedelta(hours=5)))
    values["anchor_key"] = memoryview(values["anchor_key"])
    values["manifest"] = values["manifest"].replace(": ", ":")
    assert read(values) == made


CHANGES: dict[type, Callable[[Any], Any]] = {
    int: lambda value: value + 1,
    str: lambda value: value[:-1],
    bytes: lambda value: value + b"\0",
    uuid.UUID: lambda value: uuid.uuid4(),
    list: lambda value: value[1:],
    datetime: lambda value: value + timedelta(microseconds=1),
    type(None): lambda value: 0,
}


@pytest.mark.parametrize("column", compiled.CHECKPOINT_COLUMNS)
def test_any_other_value_in_any_column_is_damage(column: str) -> None:
    made, values = row()
    before = values[column]
    for changed in (CHANGES[type(before)](before), None if before is not None else 5):
        values[column] = changed
        found = read(values)
        assert isinstance(found, DamagedCheckpoint), (column, changed)
        assert "is damaged" in found.reason
    values[column] = before
    assert read(values) == made


def test_a_row_of_another_partition_is_not_taken_for_this_ones() -> None:
    _, values = row()
    for pipeline, key in (("shop", KEY), ("bank", PartitionKey("account", 4)), ("bank", PartitionKey("order", 3))):
        found = read(values, pipeline, key)
        assert isinstance(found, DamagedCheckpoint)
        assert "it is of bank account/3" in found.reason

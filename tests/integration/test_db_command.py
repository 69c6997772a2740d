"""`eventsrc db` and the migrations, on real databases."""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from eventsrc.adapters.postgres import upgrading
from eventsrc.adapters.postgres.tables import SCHEMA, metadata
from eventsrc.cli.main import run
from eventsrc.errors import SnapshotsUnavailable

SOURCE = Path(__file__).parents[2]


@pytest.fixture
def eventsrc(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a command on an empty database; returns what it printed, after its exit code was as expected."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.delenv("EVENTSRC_DATABASE_URL", raising=False)

    def command(*words: str, exit_code: int = 0) -> str:
        found = run(["db", *words])
        shown = capsys.readouterr()
        assert found == exit_code, shown
        return shown.err if exit_code in (2, 3) else shown.out + shown.err

    return command


def execute(address: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(address, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_a_database_is_prepared_once(eventsrc: Callable[..., str]) -> None:
    assert "missing 0001: run `eventsrc db upgrade`" in eventsrc("status", exit_code=1)
    assert "revision 0001 now; before: none" in eventsrc("upgrade")
    assert "revision 0001 already" in eventsrc("upgrade")
    assert eventsrc("status") == "revision 0001, up to date\n"


def test_programs_read_json(eventsrc: Callable[..., str]) -> None:
    missing = {"ok": False, "revision": None, "known": "0001", "missing": ["0001"]}
    assert json.loads(eventsrc("status", "--json", exit_code=1)) == missing
    previewed = json.loads(eventsrc("upgrade", "--sql", "--json"))
    assert (previewed["before"], previewed["revision"]) == (None, "0001")
    assert "CREATE TABLE eventsrc.segment" in previewed["sql"]
    assert json.loads(eventsrc("upgrade", "--json")) == {"before": None, "revision": "0001", "applied": ["0001"]}
    assert json.loads(eventsrc("status", "--json")) == {"ok": True, "revision": "0001", "known": "0001", "missing": []}


def test_the_sql_shown_is_what_an_upgrade_does(eventsrc: Callable[..., str], database_url: str) -> None:
    text = eventsrc("upgrade", "--sql")
    eventsrc("status", exit_code=1)
    execute(database_url, text)
    assert eventsrc("status") == "revision 0001, up to date\n"
    assert eventsrc("upgrade", "--sql") == "-- revision 0001 is up to date\n"
    assert differences(database_url) == []


def connected(address: str) -> psycopg.Connection[tuple[Any, ...]]:
    """Where no schema is searched by itself: a role may be called as ours is."""
    return psycopg.connect(address, options="-c search_path=pg_catalog")


def differences(address: str) -> list[Any]:
    """Between the database and tables.py."""
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: connected(address))
    with engine.connect() as connection:
        options = {"include_schemas": True, "version_table_schema": SCHEMA, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        found: list[Any] = compare_metadata(context, metadata)
    engine.dispose()
    return found


def test_the_migrations_make_the_tables_that_the_statements_are_compiled_for(database_url: str) -> None:
    upgrading.upgrade(database_url)
    assert differences(database_url) == []
    (storage,) = execute(
        database_url,
        "SELECT attstorage FROM pg_attribute WHERE attrelid = 'eventsrc.segment'::regclass AND attname = 'block'",
    )
    assert storage == ("e",)  # external: neither compressed nor kept in the row


def test_what_a_newer_version_made_is_refused(eventsrc: Callable[..., str], database_url: str) -> None:
    eventsrc("upgrade")
    execute(database_url, "UPDATE eventsrc.alembic_version SET version_num = '0042'")
    for words in (["upgrade"], ["upgrade", "--sql"]):
        assert "revision 0042, and this version of eventsrc knows 0001" in eventsrc(*words, exit_code=1)
    assert "revision 0042, newer than 0001" in eventsrc("status", exit_code=1)
    assert json.loads(eventsrc("status", "--json", exit_code=1))["ok"] is False


def test_every_form_of_the_address_is_taken(
    eventsrc: Callable[..., str], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = database_url.partition("://")[2]
    for scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        monkeypatch.setenv("DATABASE_URL", f"{scheme}://{rest}")
        eventsrc("upgrade")
        eventsrc("status")


def test_a_database_that_cannot_be_reached_is_no_failure_of_ours_and_shows_no_password(
    eventsrc: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for address, code in (
        ("postgresql://someone:hush@127.0.0.1:1/x", 3),
        ("postgresql://someone:hu sh@[x", 2),
        ("mysql://someone:hush@h/x", 2),
    ):
        monkeypatch.setenv("DATABASE_URL", address)
        for words in (["status"], ["upgrade"], ["upgrade", "--sql"]):
            shown = eventsrc(*words, exit_code=code)
            assert shown.startswith("error: ")
            assert "hush" not in shown
            assert "hu sh" not in shown


def test_without_an_address_only_the_preview_works(
    eventsrc: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    assert "set DATABASE_URL" in eventsrc("status", exit_code=3)
    assert "set DATABASE_URL" in eventsrc("upgrade", exit_code=3)
    assert "CREATE TABLE eventsrc.head" in eventsrc("upgrade", "--sql")


def test_several_upgrades_at_once_are_one(database_url: str) -> None:
    command = [sys.executable, "-m", "eventsrc", "db", "upgrade", "--json"]
    environ = {"DATABASE_URL": database_url, "PATH": "/usr/bin"}

    def upgrade(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=SOURCE, env=environ, capture_output=True, text=True, timeout=60, check=False)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        done = list(pool.map(upgrade, range(3)))
    assert [each.returncode for each in done] == [0, 0, 0], done
    assert upgrading.status(database_url).missing == ()


def test_an_upgrade_that_fails_has_changed_nothing(database_url: str) -> None:
    execute(database_url, "CREATE SCHEMA eventsrc")
    execute(database_url, "CREATE TABLE eventsrc.segment (mine int)")
    with pytest.raises(SnapshotsUnavailable, match='relation "segment" already exists'):
        upgrading.upgrade(database_url)
    assert upgrading.status(database_url).revision is None
    tables = execute(database_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'eventsrc'")
    assert tables == [("segment",)]


def test_a_role_with_the_documented_rights_is_enough(database_url: str, unique_name: Callable[[str], str]) -> None:
    """docs/snapshots.md lists them."""
    from contextlib import closing

    from eventsrc.adapters.postgres.store import PostgresSnapshots
    from tests.conformance.test_snapshot_store import KEY, TOPIC, committed

    upgrading.upgrade(database_url)
    role = unique_name("worker").replace("-", "_")
    page = (SOURCE / "docs" / "snapshots.md").read_text()
    grants = [line for line in page.splitlines() if line.startswith("GRANT ")]
    execute(database_url, f"CREATE ROLE {role} LOGIN")
    try:
        limited = f"{database_url}&user={role}".replace("eventsrc@", "")
        with closing(PostgresSnapshots(limited, "bank")) as store:
            with pytest.raises(SnapshotsUnavailable, match=r"grant this user the rights that docs/snapshots\.md lists"):
                store.claim(KEY, 5, TOPIC)
            for grant in grants:
                execute(database_url, grant.replace("worker_role", role))
            store.claim(KEY, 5, TOPIC)
            second = committed(store, committed(store))
            assert store.collect(KEY, 5, []) == 1
            assert len(list(store.read(second.runs[0]))) == 3
    finally:
        execute(database_url, f"DROP OWNED BY {role}")
        execute(database_url, f"DROP ROLE {role}")


def test_the_wheel_brings_the_migrations(tmp_path: Path, database_url: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=SOURCE, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path / "installed")
    code = "from eventsrc.adapters.postgres import upgrading; print(upgrading.migrations_directory())"
    environ = {"PYTHONPATH": str(tmp_path / "installed"), "DATABASE_URL": database_url}

    def python(*words: str) -> str:
        return subprocess.check_output([sys.executable, *words], cwd=tmp_path, env=environ, text=True, timeout=60)

    assert Path(python("-c", code).strip()) == tmp_path / "installed" / "eventsrc" / "migrations"
    assert "revision 0001 now" in python("-m", "eventsrc", "db", "upgrade")
    assert differences(database_url) == []

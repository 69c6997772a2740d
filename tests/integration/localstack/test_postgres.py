"""A server whose data survives what it should, and only that."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from eventsrc.localstack.postgres import PostgresServer, _remove_stale_pid_file


@pytest.fixture(params=["reachable", "private"])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """In a directory that root's Postgres account can enter, and in one that it cannot."""
    parent = Path(tempfile.mkdtemp(prefix="eventsrc-postgres-test-"))
    parent.chmod(0o755 if request.param == "reachable" else 0o700)
    server = PostgresServer(parent / "postgres")
    yield server
    server.stop()
    server.wipe()
    shutil.rmtree(parent)


def _create(server: PostgresServer) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (x int)")


def _tables(server: PostgresServer) -> list[str]:
    with psycopg.connect(server.url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return [row[0] for row in rows]


def test_a_killed_server_keeps_what_was_committed(server: PostgresServer) -> None:
    server.start()
    _create(server)
    server.kill()
    assert not server.is_running()
    server.start()
    assert _tables(server) == ["kept"]


def test_an_initdb_that_was_killed_is_begun_again(server: PostgresServer) -> None:
    part = server.directory / "data.part"
    part.mkdir(parents=True)
    (part / "PG_VERSION").write_text("15\n")
    server.start()
    assert _tables(server) == []


def test_who_removes_the_directory_begins_anew(server: PostgresServer) -> None:
    server.start()
    _create(server)
    server.stop()
    shutil.rmtree(server.directory)
    server.start()
    assert _tables(server) == []


def test_a_server_cannot_be_started_twice(server: PostgresServer) -> None:
    server.start()
    with pytest.raises(RuntimeError, match="runs already"):
        server.start()


def test_wipe_leaves_nothing(server: PostgresServer) -> None:
    server.start()
    _create(server)
    server.stop()
    server.wipe()
    assert not server.directory.exists()
    assert not server.socket_directory.exists()
    server.start()
    assert _tables(server) == []


@pytest.mark.parametrize(("name", "removed"), [("another", True), ("postgres", False)])
def test_a_pid_that_another_program_has_now_is_no_servers(name: str, removed: bool, tmp_path: Path) -> None:
    program = tmp_path / name
    shutil.copy(shutil.which("sleep") or "sleep", program)
    with subprocess.Popen([str(program), "60"]) as process:
        pid_file = tmp_path / "postmaster.pid"
        pid_file.write_text(f"{process.pid}\n{tmp_path}\n1790000000\n5432\n{tmp_path}\n")
        _remove_stale_pid_file(tmp_path)
        process.kill()
    assert pid_file.exists() != removed

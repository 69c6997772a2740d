"""What only a real Postgres can do to the snapshot store: break a connection, be slow, hold other tables, lose a row."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from typing import Any

import psycopg
import pytest

from eventsrc import faultpoints
from eventsrc.adapters.postgres import compiled, connecting, store
from eventsrc.adapters.postgres.connecting import PatientConnection
from eventsrc.adapters.postgres.store import PostgresSnapshots
from eventsrc.adapters.postgres.upgrading import upgrade
from eventsrc.codec.blocks import Block, build_blocks
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import SnapshotsUnavailable, SnapshotSuperseded
from eventsrc.model.snapshot import DamagedCheckpoint, StoredCheckpoint
from tests.conformance.test_snapshot_store import KEY, TOPIC, committed, stored


@pytest.fixture(scope="module")
def address(make_database: Callable[[str], AbstractContextManager[str]]) -> Iterator[str]:
    with make_database("store") as made:
        upgrade(made)
        yield made


@pytest.fixture
def pipeline(unique_name: Callable[[str], str]) -> str:
    return unique_name("bank")


@pytest.fixture
def snapshots(address: str, pipeline: str) -> Iterator[PostgresSnapshots]:
    with closing(PostgresSnapshots(address, pipeline, "host-1")) as made:
        yield made


@pytest.fixture
def outside(address: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


def at(monkeypatch: pytest.MonkeyPatch, point: str, do: Callable[[], object]) -> None:
    monkeypatch.setattr(faultpoints, "_hook", lambda name: do() if name == point else None)


def terminate(outside: psycopg.Connection[tuple[Any, ...]], pipeline: str) -> None:
    """Returns when the store's connection is gone."""
    rows = outside.execute(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = %s",
        [f"eventsrc {pipeline} host-1"],
    ).fetchall()
    assert rows == [(True,)]


# ---- an unknown outcome of COMMIT


def test_a_commit_that_did_not_happen_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
    snapshots: PostgresSnapshots,
    outside: psycopg.Connection[tuple[Any, ...]],
    pipeline: str,
) -> None:
    snapshots.claim(KEY, 5, TOPIC)
    first = committed(snapshots)
    second = stored(first.runs)
    at(monkeypatch, "snapshot-before-commit-commit", lambda: terminate(outside, pipeline))
    with pytest.raises(SnapshotsUnavailable, match=f"checkpoint {second.id} of account/3 was not committed"):
        snapshots.commit(KEY, second, first.id)
    monkeypatch.undo()
    assert snapshots.heads([KEY])[KEY].checkpoint == first.id
    snapshots.commit(KEY, second, first.id)
    assert snapshots.heads([KEY])[KEY].checkpoint == second.id


def commit(connection: PatientConnection) -> None:
    connection.execute("COMMIT")


def losing_the_answer(monkeypatch: pytest.MonkeyPatch, committing: Callable[[PatientConnection], None]) -> None:
    """COMMIT is left to `committing`, and its answer is lost."""
    execute = PatientConnection.execute

    def lose(self: PatientConnection, query: Any, *values: Any, **options: Any) -> Any:
        if query != "COMMIT":
            return execute(self, query, *values, **options)
        monkeypatch.undo()
        committing(self)
        raise psycopg.OperationalError("the connection was lost")

    monkeypatch.setattr(PatientConnection, "execute", lose)


def test_a_commit_whose_answer_was_lost_is_found_out(
    monkeypatch: pytest.MonkeyPatch, snapshots: PostgresSnapshots
) -> None:
    snapshots.claim(KEY, 5, TOPIC)
    first = stored()
    losing_the_answer(monkeypatch, commit)
    snapshots.commit(KEY, first, None)
    assert snapshots.heads([KEY])[KEY].checkpoint == first.id


def test_a_commit_that_is_still_on_its_way_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, snapshots: PostgresSnapshots, address: str
) -> None:
    """Without the lock on the head, it would be said not to have happened, and then happen."""
    snapshots.claim(KEY, 5, TOPIC)
    first = stored()
    late: list[threading.Thread] = []

    def later(connection: PatientConnection) -> None:
        execute, close = connection.execute, connection.close
        snapshots._connection = None  # its client is gone; the server has yet to read what it sent

        def arrive() -> None:
            _wait_for_a_lock(address)
            execute("COMMIT")
            close()

        late.append(threading.Thread(target=arrive))
        late[0].start()

    losing_the_answer(monkeypatch, later)
    snapshots.commit(KEY, first, None)
    late[0].join()
    assert snapshots.heads([KEY])[KEY].checkpoint == first.id


def _wait_for_a_lock(address: str) -> None:
    with psycopg.connect(address, autocommit=True) as connection:
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        deadline = time.monotonic() + 20
        while connection.execute(waiting).fetchone() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_commit_of_which_nothing_can_be_found_out_may_be_repeated(
    monkeypatch: pytest.MonkeyPatch, snapshots: PostgresSnapshots
) -> None:
    snapshots.claim(KEY, 5, TOPIC)
    first = stored()

    def committed_then_away(connection: PatientConnection) -> None:
        connection.execute("COMMIT")
        monkeypatch.setattr(store, "connect", refuse)

    def refuse(dsn: str, name: str) -> PatientConnection:
        raise psycopg.OperationalError("the server is starting up")

    monkeypatch.setattr(store, "_SETTLE_WITHIN_S", 0.1)
    with pytest.MonkeyPatch.context() as patched:
        losing_the_answer(patched, committed_then_away)
        with pytest.raises(SnapshotsUnavailable, match="committing it again finds out"):
            snapshots.commit(KEY, first, None)
    monkeypatch.undo()
    snapshots.commit(KEY, first, None)
    assert [each.id for each in snapshots.checkpoints(KEY)] == [first.id]


# ---- connections


def test_a_connection_lost_while_idle_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
    snapshots: PostgresSnapshots,
    outside: psycopg.Connection[tuple[Any, ...]],
    pipeline: str,
) -> None:
    snapshots.claim(KEY, 5, TOPIC)
    terminate(outside, pipeline)
    monkeypatch.setattr(store, "_TRUSTED_IDLE_S", 0.0)
    assert snapshots.heads([KEY])[KEY].term == 5


def test_after_an_error_the_next_call_connects_anew(
    monkeypatch: pytest.MonkeyPatch,
    snapshots: PostgresSnapshots,
    outside: psycopg.Connection[tuple[Any, ...]],
    pipeline: str,
) -> None:
    monkeypatch.setattr(store, "_TRUSTED_IDLE_S", 600.0)
    snapshots.claim(KEY, 5, TOPIC)
    terminate(outside, pipeline)
    with pytest.raises(SnapshotsUnavailable, match="reading the heads"):
        snapshots.heads([KEY])
    assert snapshots.heads([KEY])[KEY].term == 5


def test_what_breaks_while_segments_are_written_leaves_none(
    snapshots: PostgresSnapshots, outside: psycopg.Connection[tuple[Any, ...]], pipeline: str
) -> None:
    class Interrupted(Exception):  # noqa: N818 - of this test
        pass

    def broken() -> Iterator[bytes]:
        yield from build_blocks([(b"alice", b"state")])
        raise Interrupted

    snapshots.claim(KEY, 5, TOPIC)
    with pytest.raises(Interrupted):
        snapshots.add_segments(KEY, 5, broken())
    assert outside.execute("SELECT 1 FROM eventsrc.segment WHERE pipeline = %s", [pipeline]).fetchall() == []
    committed(snapshots)


def test_a_server_that_is_silent_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    connection = PatientConnection.to(address, "eventsrc")
    monkeypatch.setattr(connecting, "SILENCE_LIMIT_S", 0.3)
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT pg_sleep(120)")
    assert time.monotonic() - began < 60
    connection.close()


def test_sessions_have_their_limits_and_a_name(address: str) -> None:
    with PatientConnection.to(f"{address}&options=-c%20work_mem%3D1MB", "eventsrc bank-é x" + "x" * 99) as connection:
        found = connection.execute(
            "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'),"
            " current_setting('search_path'), current_setting('work_mem'), current_setting('application_name')"
        ).fetchone()
    assert found == ("5s", "5s", "pg_catalog", "1MB", ("eventsrc bank-? x" + "x" * 99)[:63])


# ---- tables


def test_without_tables_every_call_says_what_to_run(database_url: str) -> None:
    with closing(PostgresSnapshots(database_url, "bank")) as snapshots:
        with pytest.raises(SnapshotsUnavailable, match="no snapshot tables yet: run `eventsrc db upgrade`"):
            snapshots.claim(KEY, 5, TOPIC)
        upgrade(database_url)
        snapshots.claim(KEY, 5, TOPIC)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("UPDATE eventsrc.alembic_version SET version_num = '0042'")
    with (
        closing(PostgresSnapshots(database_url, "bank")) as snapshots,
        pytest.raises(SnapshotsUnavailable, match="revision 0042, and this version of eventsrc knows 0001"),
    ):
        snapshots.claim(KEY, 5, TOPIC)


def test_pipelines_do_not_see_each_other(address: str, pipeline: str, snapshots: PostgresSnapshots) -> None:
    snapshots.claim(KEY, 8, TOPIC)
    committed_by_us = stored(checkpoint=stored().checkpoint)
    with closing(PostgresSnapshots(address, pipeline + "-other")) as other:
        assert (other.checkpoints(KEY), other.heads([KEY])) == ([], {})
        other.claim(KEY, 5, TOPIC)
        other.commit(KEY, committed_by_us, None)
        assert snapshots.checkpoints(KEY) == []
        assert snapshots.collect(KEY, 8, []) == 0
        assert len(other.checkpoints(KEY)) == 1


@pytest.mark.parametrize(
    "column", [name for name in compiled.CHECKPOINT_COLUMNS if name not in ("id", "pipeline", "aggregate", "partition")]
)
def test_a_changed_column_is_a_damaged_checkpoint_and_the_older_one_stands(
    snapshots: PostgresSnapshots, outside: psycopg.Connection[tuple[Any, ...]], column: str
) -> None:
    snapshots.claim(KEY, 5, TOPIC)
    first = committed(snapshots)
    second = committed(snapshots, first, position=20)
    changed = {
        "bigint": "{} + 1",
        "integer": "{} + 1",
        "bytea": "{} || 'x'",
        "text": "{} || 'x'",
        "uuid[]": "'{{}}'",
        "jsonb": "'[[{{\"id\": []}}]]'",
        "timestamp with time zone": "'infinity'",
    }
    kind = outside.execute(
        "SELECT format_type(atttypid, NULL) FROM pg_attribute"
        " WHERE attrelid = 'eventsrc.checkpoint'::regclass AND attname = %s",
        [column],
    ).fetchone()
    assert kind is not None
    new_value = "5" if column == "highest_source" else changed[kind[0]].format(column)
    outside.execute(f"UPDATE eventsrc.checkpoint SET {column} = {new_value} WHERE id = %s".encode(), [second.id])
    found = {each.id: each for each in snapshots.checkpoints(KEY)}
    assert isinstance(found[second.id], DamagedCheckpoint)
    assert isinstance(found[first.id], StoredCheckpoint)


def test_heads_of_many_partitions_in_one_statement(snapshots: PostgresSnapshots) -> None:
    keys = [PartitionKey(aggregate, number) for aggregate in ("account", "order") for number in range(20)]
    for number, key in enumerate(keys[::2]):
        snapshots.claim(key, number, TOPIC)
    found = snapshots.heads([*keys, PartitionKey("nobody's", 0)])
    assert {key: head.term for key, head in found.items()} == {key: number for number, key in enumerate(keys[::2])}
    assert snapshots.heads([]) == {}


def test_a_state_of_many_megabytes_is_stored(snapshots: PostgresSnapshots) -> None:
    snapshots.claim(KEY, 5, TOPIC)
    large = bytes(range(256)) * 100_000
    (segment,) = snapshots.add_segments(KEY, 5, build_blocks([(b"large", large)]))
    (block,) = snapshots.read([segment])
    assert Block(block).get(b"large") == large


def test_a_base_that_is_gone_from_the_head_is_superseded(snapshots: PostgresSnapshots) -> None:
    snapshots.claim(KEY, 5, TOPIC)
    with pytest.raises(SnapshotSuperseded, match="extends"):
        snapshots.commit(KEY, stored(), uuid.uuid4())

"""Row 24: bytes of the database's own files are changed. What is read is what was written, or it is said to be damaged."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from eventsrc.adapters.postgres.store import PostgresSnapshots
from eventsrc.adapters.postgres.upgrading import upgrade
from eventsrc.errors import SnapshotDamaged, SnapshotsUnavailable
from eventsrc.localstack.postgres import PostgresServer
from eventsrc.model.snapshot import DamagedCheckpoint, StoredCheckpoint
from tests.conformance.test_snapshot_store import KEY, TOPIC, committed

CHANGED_BYTES = 40


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    made = PostgresServer(tmp_path / "postgres")
    yield made.start()
    made.stop()
    made.wipe()


def files_of(server: PostgresServer) -> dict[str, Path]:
    """Of the tables' rows, their long values, and the indexes of both."""
    with psycopg.connect(server.url) as connection:
        rows = connection.execute(
            "WITH own AS (SELECT oid, reltoastrelid FROM pg_class"
            "  WHERE oid IN ('eventsrc.segment'::regclass, 'eventsrc.checkpoint'::regclass)),"
            " tables AS (SELECT oid FROM own UNION SELECT reltoastrelid FROM own),"
            " files AS (SELECT oid FROM tables UNION SELECT indexrelid FROM pg_index JOIN tables ON indrelid = oid)"
            " SELECT oid::regclass::text, current_setting('data_directory'), pg_relation_filepath(oid) FROM files"
        ).fetchall()
    return {name: Path(data) / path for name, data, path in rows}


def restarted_with(server: PostgresServer, contents: dict[Path, bytes]) -> None:
    server.stop()
    for path, content in contents.items():
        path.write_bytes(content)
    server.start()


@pytest.mark.parametrize("seed", range(2))
def test_changed_bytes_of_the_tables_are_never_read_as_something_else(server: PostgresServer, seed: int) -> None:
    upgrade(server.url)
    with closing(PostgresSnapshots(server.url, "bank")) as store:
        store.claim(KEY, 5, TOPIC)
        first = committed(store, count=3000)
        second = committed(store, first, count=2000, position=20)
        written = {each.id: each for each in store.checkpoints(KEY)}
        blocks = {segment.id: block for run in second.runs for segment, block in zip(run, store.read(run), strict=True)}
    files = files_of(server)
    server.stop()
    whole = {name: path.read_bytes() for name, path in files.items()}
    server.start()
    chance = random.Random(seed)
    noticed = 0
    for name, path in files.items():
        changed = bytearray(whole[name])
        if not changed:
            continue
        for _ in range(CHANGED_BYTES):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        restarted_with(server, {path: bytes(changed)})
        noticed += read_everything(server.url, written, blocks)
        # all of them: a server that misses a row forgets it in the indexes, too
        restarted_with(server, {files[each]: content for each, content in whole.items()})
    assert noticed
    assert read_everything(server.url, written, blocks) == 0


def read_everything(
    address: str, written: dict[UUID, StoredCheckpoint | DamagedCheckpoint], blocks: dict[UUID, bytes]
) -> int:
    """How much was said to be damaged or missing; what was not is as it was written."""
    noticed = 0
    with closing(PostgresSnapshots(address, "bank")) as store:
        try:
            found = store.checkpoints(KEY)
        except (SnapshotDamaged, SnapshotsUnavailable):
            return 1
        noticed += len(written) - len(found)
        for each in found:
            if isinstance(each, DamagedCheckpoint):
                noticed += 1
            else:
                assert each == written[each.id]
        for segment in (
            segment
            for each in written.values()
            if isinstance(each, StoredCheckpoint)
            for run in each.runs
            for segment in run
        ):
            try:
                assert list(store.read([segment])) == [blocks[segment.id]]
            except (SnapshotDamaged, SnapshotsUnavailable):
                noticed += 1
    return noticed

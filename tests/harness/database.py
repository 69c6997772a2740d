"""A Postgres for fault tests: a server to kill, a database for each test with a proxy in front, and plain SQL on it.

What the product has written is read and damaged here with no code of the product's.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import tempfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from eventsrc.adapters.postgres.upgrading import upgrade
from eventsrc.localstack.postgres import PostgresServer
from tests.harness.postgres_proxy import PostgresProxy
from tests.harness.snapshots import CheckpointRow, HeadRow, Snapshots, StoredAnchor

_TEMPLATE = "upgraded"
_TABLES = ("head", "checkpoint", "segment")
_CHECKPOINT_NAMES = (
    "id", "aggregate", "partition", "position", "commands_position", "term", "applied", "highest_source", "events",
    "aggregates", "state_fingerprint", "manifest", "taken_at",
)  # fmt: skip

Copy = dict[str, bytes]
"""The content of each table at one moment."""


@dataclass
class Database:
    """`direct` bypasses the proxy: what tests and the checker use. `proxied` is what the workers get."""

    server: PostgresServer
    proxy: PostgresProxy
    name: str
    excused: set[UUID] = field(default_factory=set)
    """Checkpoints that hold what this class has damaged, as they stood then."""
    _damaged: set[UUID] = field(default_factory=set)

    @property
    def direct(self) -> str:
        return address(self.server.socket_directory, self.name)

    @property
    def proxied(self) -> str:
        return address(self.proxy.directory, self.name)

    def sql(self, statement: LiteralString, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a query; of a statement without any, none."""
        with psycopg.connect(self.direct, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    # ---- what is there

    def taken(self) -> int:
        """How many checkpoints are kept."""
        return int(self.sql("SELECT count(*) FROM eventsrc.checkpoint")[0][0])

    def positions(self) -> dict[int, int]:
        """Of the heads, by partition."""
        query = (
            "SELECT h.partition, c.position FROM eventsrc.head h JOIN eventsrc.checkpoint c ON c.id = h.checkpoint_id"
        )
        return {int(row[0]): int(row[1]) for row in self.sql(query)}

    def snapshots(self, pipeline: str, schemas: dict[str, Any]) -> Snapshots:
        """Everything of one pipeline, at one moment. Read it before the log: states are never ahead of that."""
        read = Snapshots(schemas, excused=set(self.excused))
        with psycopg.connect(self.direct, row_factory=dict_row) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            for row in connection.execute("SELECT * FROM eventsrc.checkpoint WHERE pipeline = %s", (pipeline,)):
                read.checkpoints.append(_checkpoint(row))
            for row in connection.execute("SELECT * FROM eventsrc.head WHERE pipeline = %s", (pipeline,)):
                read.heads.append(HeadRow(row["aggregate"], row["partition"], row["term"], row["checkpoint_id"]))
            for row in connection.execute("SELECT id, block FROM eventsrc.segment WHERE pipeline = %s", (pipeline,)):
                read.blocks[row["id"]] = bytes(row["block"])
        return read

    # ---- copies

    def copied(self) -> Copy:
        found: Copy = {}
        with psycopg.connect(self.direct) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            for table in _TABLES:
                query = sql.SQL("COPY eventsrc.{} TO STDOUT (FORMAT BINARY)").format(sql.Identifier(table))
                with connection.cursor().copy(query) as copy:
                    found[table] = b"".join(map(bytes, copy))
        return found

    def put_back(self, found: Copy) -> None:
        """The database is what it was then, at once."""
        with psycopg.connect(self.direct) as connection:
            connection.execute("TRUNCATE eventsrc.head, eventsrc.checkpoint, eventsrc.segment")
            for table, content in found.items():
                query = sql.SQL("COPY eventsrc.{} FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table))
                with connection.cursor().copy(query) as copy:
                    copy.write(content)

    # ---- damage

    def heads(self) -> dict[int, UUID]:
        query = "SELECT partition, checkpoint_id FROM eventsrc.head WHERE checkpoint_id IS NOT NULL"
        return {int(row[0]): row[1] for row in self.sql(query)}

    def delete_head_checkpoints(self) -> None:
        """The newest row of each partition is gone."""
        heads = list(self.heads().values())
        self.excused |= set(heads)
        self.sql("DELETE FROM eventsrc.checkpoint WHERE id = ANY(%s)", heads)

    def delete_newest_segments(self) -> None:
        """The newest segment that each head names is gone."""
        for id in self._newest_segments():
            self._excuse(id)
            self.sql("DELETE FROM eventsrc.segment WHERE id = %s", id)

    def delete_all_segments(self) -> None:
        self.excused |= {row[0] for row in self.sql("SELECT id FROM eventsrc.checkpoint WHERE segment_ids <> '{}'")}
        self._damaged |= {row[0] for row in self.sql("DELETE FROM eventsrc.segment RETURNING id")}

    def excuse_extensions(self) -> None:
        """Also what a worker has meanwhile built on damage that it had no cause to look at."""
        for id in self._damaged:
            self._excuse(id)

    def flip_newest_segments(self, rnd: random.Random) -> None:
        """One bit of each, where no length changes."""
        for id in self._newest_segments():
            self._excuse(id)
            [(size,)] = self.sql("SELECT length(block) FROM eventsrc.segment WHERE id = %s", id)
            bit = rnd.randrange(8 * size)
            self.sql("UPDATE eventsrc.segment SET block = set_bit(block, %s, 1 - get_bit(block, %s)) WHERE id = %s",
                     bit, bit, id)  # fmt: skip

    def falsify_head_checkpoints(self, rnd: random.Random) -> None:
        """One value of each is another, as a careless hand in psql would leave it."""
        changes: tuple[LiteralString, ...] = (
            "position = position - 1", "anchor_crc = anchor_crc # 1", "seen_offset = seen_offset + 1",
            "commands_position = commands_position + 1", "term = term - 1", "manifest = manifest - 0",
            "anchor_key = 'x'::bytea", "events = 0", "state_fingerprint = '00'", "digest = ''::bytea",
            "taken_at = taken_at + interval '1 microsecond'", "highest_source = NULL", "segment_ids = '{}'",
        )  # fmt: skip
        for id in self.heads().values():
            self.excused.add(id)
            self.sql("UPDATE eventsrc.checkpoint SET " + rnd.choice(changes) + " WHERE id = %s", id)

    def _newest_segments(self) -> list[UUID]:
        query = "SELECT segment_ids[cardinality(segment_ids)] FROM eventsrc.checkpoint WHERE id = ANY(%s)"
        return [row[0] for row in self.sql(query, list(self.heads().values())) if row[0] is not None]

    def _excuse(self, segment: UUID) -> None:
        self._damaged.add(segment)
        rows = self.sql("SELECT id FROM eventsrc.checkpoint WHERE %s = ANY(segment_ids)", segment)
        self.excused |= {row[0] for row in rows}


def address(directory: Path, name: str) -> str:
    return f"postgresql://eventsrc@/{name}?host={urllib.parse.quote(str(directory))}"


@contextlib.contextmanager
def fault_server() -> Iterator[PostgresServer]:
    """A server of this session's own, with a template of upgraded tables."""
    directory = Path(tempfile.mkdtemp(prefix="eventsrc-faults-"))
    directory.chmod(0o755)  # run by root, Postgres has another account, which must get in
    server = PostgresServer(directory)
    try:
        server.start()
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        upgrade(address(server.socket_directory, _TEMPLATE))
        yield server
    finally:
        server.stop()
        server.wipe()
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def fault_database(server: PostgresServer, name: str) -> Iterator[Database]:
    """Upgraded, empty, with a proxy; dropped afterwards. The server runs again then, whatever the test did to it."""
    name = re.sub(r"\W", "_", name)
    with psycopg.connect(server.url, autocommit=True) as connection:
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(_TEMPLATE))
        connection.execute(made)
    proxy = PostgresProxy(server.socket_directory)
    try:
        yield Database(server, proxy, name)
    finally:
        proxy.stop()
        if not server.is_running():
            server.start()
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _checkpoint(row: dict[str, Any]) -> CheckpointRow:
    values: dict[str, Any] = {name: row[name] for name in _CHECKPOINT_NAMES}
    if isinstance(values["manifest"], str):
        values["manifest"] = json.loads(values["manifest"])
    anchor, seen = (
        StoredAnchor(row[f"{name}_offset"], bytes(row[f"{name}_key"]), row[f"{name}_crc"])
        for name in ("anchor", "seen")
    )
    return CheckpointRow(**values, anchor=anchor, seen=seen, segment_ids=tuple(row["segment_ids"]))

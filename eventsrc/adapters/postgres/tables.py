"""The tables of snapshots, as the newest migration leaves them. docs/snapshots.md says what each column means.

Only statements.py, migrations and tests import this: SQLAlchemy is not on the worker's way.
No foreign keys: what is missing is found by reading, and a restored or partly deleted database must stay readable.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, LargeBinary, MetaData, Table, Text, Uuid, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

SCHEMA = "eventsrc"

metadata = MetaData(schema=SCHEMA)


def _key(*, primary: bool = False) -> list[Column[object]]:
    return [
        Column("pipeline", Text, nullable=False, primary_key=primary),
        Column("aggregate", Text, nullable=False, primary_key=primary),
        Column("partition", Integer, nullable=False, primary_key=primary, autoincrement=False),
    ]


def _anchor(name: str) -> list[Column[object]]:
    return [
        Column(f"{name}_offset", BigInteger, nullable=False),
        Column(f"{name}_key", LargeBinary, nullable=False),
        Column(f"{name}_crc", BigInteger, nullable=False),
        Column(f"{name}_time", BigInteger, nullable=False),
    ]


head = Table(
    "head",
    metadata,
    *_key(primary=True),
    Column("events_topic_id", Text),
    Column("term", BigInteger),
    Column("checkpoint_id", Uuid),
    Column("requested_at", DateTime(timezone=True)),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("id", Uuid, primary_key=True),
    *_key(),
    Column("position", BigInteger, nullable=False),
    *_anchor("anchor"),
    *_anchor("seen"),
    Column("commands_position", BigInteger, nullable=False),
    Column("term", BigInteger, nullable=False),
    Column("applied", BigInteger, nullable=False),
    Column("highest_source", BigInteger),
    Column("events", BigInteger, nullable=False),
    Column("aggregates", BigInteger, nullable=False),
    Column("commands_topic_id", Text, nullable=False),
    Column("events_topic_id", Text, nullable=False),
    Column("code_version", Integer, nullable=False),
    Column("state_fingerprint", Text, nullable=False),
    Column("manifest", JSONB, nullable=False),
    Column("segment_ids", ARRAY(Uuid), nullable=False),
    Column("taken_at", DateTime(timezone=True), nullable=False),
    Column("digest", LargeBinary, nullable=False),
)
Index("checkpoint_of_partition", *(checkpoint.c[name] for name in ("pipeline", "aggregate", "partition", "position")))

segment = Table(
    "segment",
    metadata,
    Column("id", Uuid, primary_key=True),
    *_key(),
    Column("term", BigInteger, nullable=False),
    Column("written_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("block", LargeBinary, nullable=False),
)
Index("segment_of_partition", *(segment.c[name] for name in ("pipeline", "aggregate", "partition")))

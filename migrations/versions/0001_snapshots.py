"""The tables of snapshots: head, checkpoint, segment.

Written out, not taken from today's tables: a migration stays what it was.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None

_SCHEMA = "eventsrc"
_MOMENT = sa.DateTime(timezone=True)


def _key() -> list[sa.Column[object]]:
    return [
        sa.Column("pipeline", sa.Text, nullable=False),
        sa.Column("aggregate", sa.Text, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
    ]


def _anchor(name: str) -> list[sa.Column[object]]:
    return [
        sa.Column(f"{name}_offset", sa.BigInteger, nullable=False),
        sa.Column(f"{name}_key", sa.LargeBinary, nullable=False),
        sa.Column(f"{name}_crc", sa.BigInteger, nullable=False),
        sa.Column(f"{name}_time", sa.BigInteger, nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        "head",
        *_key(),
        sa.Column("events_topic_id", sa.Text),
        sa.Column("term", sa.BigInteger),
        sa.Column("checkpoint_id", sa.Uuid),
        sa.Column("requested_at", _MOMENT),
        sa.PrimaryKeyConstraint("pipeline", "aggregate", "partition"),
        schema=_SCHEMA,
    )
    op.create_table(
        "checkpoint",
        sa.Column("id", sa.Uuid, primary_key=True),
        *_key(),
        sa.Column("position", sa.BigInteger, nullable=False),
        *_anchor("anchor"),
        *_anchor("seen"),
        sa.Column("commands_position", sa.BigInteger, nullable=False),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.Column("applied", sa.BigInteger, nullable=False),
        sa.Column("highest_source", sa.BigInteger),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("aggregates", sa.BigInteger, nullable=False),
        sa.Column("commands_topic_id", sa.Text, nullable=False),
        sa.Column("events_topic_id", sa.Text, nullable=False),
        sa.Column("code_version", sa.Integer, nullable=False),
        sa.Column("state_fingerprint", sa.Text, nullable=False),
        sa.Column("manifest", JSONB, nullable=False),
        sa.Column("segment_ids", ARRAY(sa.Uuid), nullable=False),
        sa.Column("taken_at", _MOMENT, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        schema=_SCHEMA,
    )
    op.create_index(
        "checkpoint_of_partition", "checkpoint", ["pipeline", "aggregate", "partition", "position"], schema=_SCHEMA
    )
    op.create_table(
        "segment",
        sa.Column("id", sa.Uuid, primary_key=True),
        *_key(),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.Column("written_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("block", sa.LargeBinary, nullable=False),
        schema=_SCHEMA,
    )
    op.create_index("segment_of_partition", "segment", ["pipeline", "aggregate", "partition"], schema=_SCHEMA)
    # encoded states hardly compress, and are read and written whole
    op.execute(f"ALTER TABLE {_SCHEMA}.segment ALTER COLUMN block SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_table("segment", schema=_SCHEMA)
    op.drop_table("checkpoint", schema=_SCHEMA)
    op.drop_table("head", schema=_SCHEMA)

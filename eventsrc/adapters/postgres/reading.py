"""The snapshot store for whoever only reads: its transactions are read-only, and the server holds it to that."""

from __future__ import annotations

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from eventsrc.adapters.postgres.connecting import libpq_address
from eventsrc.adapters.postgres.store import PostgresSnapshots


def read_only_snapshots(dsn: str, pipeline_name: str, purpose: str) -> PostgresSnapshots:
    """`purpose` stands in pg_stat_activity. Raises InvalidSettings where `dsn` is no address."""
    address = libpq_address(dsn)
    given = str(conninfo_to_dict(address).get("options") or "")
    options = f"{given} -c default_transaction_read_only=on".strip()
    return PostgresSnapshots(make_conninfo(address, options=options), pipeline_name, purpose)

"""Runs the migrations for alembic: within one transaction, under a lock, with their bookkeeping in our own schema.

`eventsrc db upgrade` gives the connection; without one (`--sql`), the statements are printed.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from eventsrc.adapters.postgres.tables import SCHEMA, metadata

# any number, as long as every version of eventsrc takes the same
_ADVISORY_LOCK = 0x657673726320646
# several upgrades at once wait for the first; a table that a worker holds is not waited for as long
_LOCK = (
    "SET LOCAL lock_timeout = '45s'",
    f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})",
    "SET LOCAL lock_timeout = '5s'",
)
# CREATE SCHEMA IF NOT EXISTS asks for the right to create one even where it exists
_CREATE_SCHEMA = f"""DO $$ BEGIN
  IF to_regnamespace('{SCHEMA}') IS NULL THEN CREATE SCHEMA {SCHEMA}; END IF;
END $$"""


def main() -> None:
    connection: Connection | None = context.config.attributes.get("connection")
    if connection is None:
        context.configure(dialect_name="postgresql", target_metadata=metadata, version_table_schema=SCHEMA, as_sql=True)
    else:
        context.configure(connection=connection, target_metadata=metadata, version_table_schema=SCHEMA)
    with context.begin_transaction():
        for statement in (*_LOCK, _CREATE_SCHEMA):
            context.execute(statement)
        context.run_migrations()


main()

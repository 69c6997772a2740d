"""Checkpoints in Postgres: the SnapshotStore of a pipeline.

Owns one connection, opened when it is needed and after every error, and the transactions; the statements are
statements.py's. Must not know what a state means, nor when a checkpoint is taken. Imports psycopg: import this lazily.

What holds it together is the head row. A commit locks it, compares term, topic and base, and moves it: so an old owner
cannot overwrite a new one, and what was in flight when a connection broke is found out by locking the row again.
"""

from __future__ import annotations

import time
import uuid
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg

from eventsrc.adapters.postgres import compiled
from eventsrc.adapters.postgres.connecting import PatientConnection, connect, libpq_address
from eventsrc.adapters.postgres.errors import is_damage, unavailable
from eventsrc.adapters.postgres.rows import read_row, row_of
from eventsrc.codec.blocks import outline
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import SnapshotDamaged, SnapshotsUnavailable, SnapshotSuperseded
from eventsrc.faultpoints import reach
from eventsrc.model.position import Position
from eventsrc.model.snapshot import DamagedCheckpoint, Head, Listed, Run, Segment, StoredCheckpoint

_READ_AT_ONCE_BYTES = 8 << 20
_TRUSTED_IDLE_S = 5.0  # after a longer pause, a connection is tried before it is used
_SETTLE_WITHIN_S = 10.0
_SETTLE_PAUSE_S = 0.2

_NO_TIME = datetime.min.replace(tzinfo=UTC)  # of a row whose time is damaged

_COPY = "COPY eventsrc.segment (id, pipeline, aggregate, partition, term, block) FROM STDIN (FORMAT BINARY)"
_COPY_TYPES = ("uuid", "text", "text", "int4", "int8", "bytea")


class _HeadRow(NamedTuple):
    events_topic_id: str | None
    term: int | None
    checkpoint: uuid.UUID | None
    now: datetime


class _CommitInDoubt(Exception):  # noqa: N818 - raised and caught within this module
    """COMMIT was sent, and its answer did not come."""

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(str(error))
        self.error = error


class PostgresSnapshots:
    """Meets `SnapshotStore`. `dsn`: an address as in DATABASE_URL; raises InvalidSettings where it is none. Nothing is
    connected yet. `instance` stands in pg_stat_activity."""

    def __init__(self, dsn: str, pipeline_name: str, instance: str = "") -> None:
        self._dsn = libpq_address(dsn)
        self._pipeline = pipeline_name
        self._application_name = f"eventsrc {pipeline_name} {instance}".rstrip()
        self._connection: PatientConnection | None = None
        self._used_at = 0.0

    # ---- the head

    def claim(self, key: PartitionKey, term: int, events_topic_id: str) -> Head:
        values = {**self._of(key), "term": term, "events_topic_id": events_topic_id}
        with self._working("claiming snapshots") as connection, _statement("claim"):
            row = connection.execute(compiled.CLAIM, values).fetchone()
        if row is None:
            raise SnapshotSuperseded(f"the snapshots of {key} belong to a later term than {term}")
        return Head(row[0], row[1], _in_utc(row[2]))

    def request(self, key: PartitionKey) -> datetime:
        with self._working(f"asking for a checkpoint of {key}") as connection:
            row = connection.execute(compiled.REQUEST, self._of(key)).fetchone()
        assert row is not None
        asked: datetime = row[0]
        return asked.astimezone(UTC)

    def heads(self, keys: Collection[PartitionKey]) -> Mapping[PartitionKey, Head]:
        values = {
            "pipeline": self._pipeline,
            "aggregates": [key.aggregate for key in keys],
            "partitions": [key.number for key in keys],
        }
        with self._working("reading the heads of partitions") as connection:
            rows = connection.execute(compiled.HEADS, values).fetchall()
        return {PartitionKey(row[0], row[1]): Head(row[2], row[3], _in_utc(row[4])) for row in rows}

    # ---- reading

    def listed(self, key: PartitionKey) -> Sequence[Listed]:
        with self._working(f"listing the checkpoints of {key}") as connection:
            rows = connection.execute(compiled.LISTED, self._of(key)).fetchall()
        return [Listed(row[0], Position(row[1]), _in_utc(row[2]) or _NO_TIME) for row in rows]

    def checkpoints(
        self, key: PartitionKey, ids: Sequence[uuid.UUID] | None = None
    ) -> Sequence[StoredCheckpoint | DamagedCheckpoint]:
        order = [each.id for each in self.listed(key)] if ids is None else ids
        with self._working(f"reading the checkpoints of {key}") as connection:
            found = self._rows(connection, key, order) if order else {}
        return [found[each] for each in order if each in found]

    def read(self, segments: Sequence[Segment]) -> Iterator[bytes]:
        for batch in _batches(segments):
            yield from self._read_batch(batch)

    # ---- writing

    def add_segments(self, key: PartitionKey, term: int, blocks: Iterable[bytes]) -> Run:
        doing = f"writing segments of {key}"
        with self._working(doing) as connection, _settled(doing), _transaction(connection, "segments"):
            return tuple(self._copied(connection, key, term, blocks))

    def commit(self, key: PartitionKey, stored: StoredCheckpoint, base: uuid.UUID | None) -> None:
        """Repeated with the same checkpoint, it finds that it is the head. `taken_at` is the server's time, not the one given."""
        try:
            with self._working(f"committing a checkpoint of {key}") as connection, _transaction(connection, "commit"):
                self._move_head(connection, key, stored, base)
        except _CommitInDoubt:
            self._find_out(key, stored)

    def collect(self, key: PartitionKey, term: int, keep: Collection[uuid.UUID]) -> int:
        doing = f"collecting old checkpoints of {key}"
        with self._working(doing) as connection, _settled(doing), _transaction(connection, "collect"):
            head = self._lock(connection, key, "collect")
            if head is None or head.term != term:
                raise SnapshotSuperseded(
                    f"old checkpoints of {key} are not ours to collect: {_is_of(head)}, not {term}"
                )
            kept = {*keep, head.checkpoint} - {None}
            with _statement("collect-checkpoints"):
                gone = connection.execute(compiled.COLLECT_CHECKPOINTS, {**self._of(key), "keep": list(kept)}).rowcount
            with _statement("collect-segments"):
                connection.execute(compiled.COLLECT_SEGMENTS, {**self._of(key), "of_term": term})
        return gone

    def discard(self, key: PartitionKey) -> int:
        with self._working(f"discarding the checkpoints of {key}") as connection, connection.transaction():
            connection.execute(
                compiled.LOCK_HEAD, self._of(key)
            )  # who is committing ends first; who comes next is superseded
            gone = connection.execute(compiled.DISCARD_CHECKPOINTS, self._of(key)).rowcount
            connection.execute(compiled.DISCARD_SEGMENTS, self._of(key))
            connection.execute(compiled.DISCARD_HEAD, self._of(key))
        return gone

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # ---- inside

    def _of(self, key: PartitionKey) -> dict[str, Any]:
        return {"pipeline": self._pipeline, "aggregate": key.aggregate, "partition": key.number}

    def _read_batch(self, batch: Sequence[Segment]) -> Iterator[bytes]:
        ids = [segment.id for segment in batch]
        try:
            with self._working(f"reading {len(batch)} segments") as connection:
                found = dict(connection.execute(compiled.BLOCKS, {"ids": ids}, binary=True).fetchall())
        except SnapshotDamaged as damage:
            if len(batch) == 1:
                raise SnapshotDamaged(f"segment {ids[0]}: {damage}", ids[0]) from damage
            for segment in batch:
                yield from self._read_batch([segment])
            return
        for segment in batch:
            block = found.get(segment.id)
            if block is None:
                raise SnapshotDamaged(f"segment {segment.id} is missing", segment.id)
            if len(block) != segment.size_bytes or zlib.crc32(block) != segment.crc:
                raise SnapshotDamaged(f"segment {segment.id} has other bytes than were written", segment.id)
            yield block

    def _copied(
        self, connection: PatientConnection, key: PartitionKey, term: int, blocks: Iterable[bytes]
    ) -> list[Segment]:
        run = []
        with _statement("segments-copy"), connection.cursor().copy(_COPY) as copy:
            copy.set_types(_COPY_TYPES)
            for encoded in blocks:
                made = outline(encoded)
                segment = Segment(uuid.uuid4(), made.first_hash, made.last_hash, made.states, len(encoded), made.crc)
                copy.write_row((segment.id, self._pipeline, key.aggregate, key.number, term, encoded))
                run.append(segment)
                reach("snapshot-mid-segments-copy")
        return run

    def _lock(self, connection: PatientConnection, key: PartitionKey, of: str) -> _HeadRow | None:
        with _statement(f"{of}-lock"):
            row = connection.execute(compiled.LOCK_HEAD, self._of(key)).fetchone()
        return None if row is None else _HeadRow(*row)

    def _move_head(
        self, connection: PatientConnection, key: PartitionKey, stored: StoredCheckpoint, base: uuid.UUID | None
    ) -> None:
        said = stored.checkpoint
        head = self._lock(connection, key, "commit")
        if head is not None and head.checkpoint == stored.id:
            return  # an earlier try, whose outcome was not known, had committed
        if head is None or (head.events_topic_id, head.term) != (said.events_topic_id, said.term):
            raise SnapshotSuperseded(f"the snapshots of {key} are not ours any more: {_is_of(head)}, not {said.term}")
        if head.checkpoint != base:
            raise SnapshotSuperseded(f"the head of {key} is checkpoint {head.checkpoint}, and this one extends {base}")
        with _statement("commit-insert"):
            connection.execute(compiled.INSERT_CHECKPOINT, row_of(self._pipeline, key, stored, head.now))
        moved = {"of_term": said.term, "of_topic": said.events_topic_id, "base": base, "moved_to": stored.id}
        with _statement("commit-move"):
            count = connection.execute(compiled.MOVE_HEAD, {**self._of(key), **moved}).rowcount
        if count != 1:
            raise SnapshotSuperseded(f"the head of {key} moved by itself")

    def _rows(
        self, connection: PatientConnection, key: PartitionKey, ids: Sequence[uuid.UUID]
    ) -> dict[uuid.UUID, StoredCheckpoint | DamagedCheckpoint]:
        """All at once; one by one where the server or the driver cannot read one of them."""
        try:
            rows = connection.execute(compiled.CHECKPOINTS, {"ids": list(ids)}).fetchall()
            return {row[0]: read_row(row, self._pipeline, key) for row in rows}
        except (psycopg.DataError, UnicodeError, psycopg.InternalError) as error:
            if isinstance(error, psycopg.InternalError) and not is_damage(error):
                raise
            if len(ids) == 1:
                return {ids[0]: DamagedCheckpoint(ids[0], f"the row of checkpoint {ids[0]} cannot be read: {error}")}
        return {each: row for one in ids for each, row in self._rows(connection, key, [one]).items()}

    def _find_out(self, key: PartitionKey, stored: StoredCheckpoint) -> None:
        """Returns if the checkpoint was committed. While the transaction in doubt lives, it holds the head's lock."""
        doing = f"finding out whether checkpoint {stored.id} of {key} was committed"
        deadline = time.monotonic() + _SETTLE_WITHIN_S
        while True:
            try:
                with self._working(doing) as connection, connection.transaction():
                    connection.execute(compiled.LOCK_HEAD, self._of(key))
                    ids = [row[0] for row in connection.execute(compiled.LISTED, self._of(key))]
                break
            except SnapshotsUnavailable as error:
                if time.monotonic() > deadline:
                    raise SnapshotsUnavailable(f"{error}; committing it again finds out") from error
                time.sleep(_SETTLE_PAUSE_S)
        if stored.id not in ids:
            raise SnapshotsUnavailable(f"checkpoint {stored.id} of {key} was not committed: the connection was lost")

    @contextmanager
    def _working(self, doing: str) -> Iterator[PatientConnection]:
        """A connection; after an error it is not used again."""
        try:
            connection = self._connected()
            yield connection
            self._used_at = time.monotonic()
        except psycopg.Error as error:
            self.close()
            raise unavailable(doing, error) from error
        except UnicodeError as error:
            raise SnapshotsUnavailable(f"{doing}: Postgres gave text that is none: {error}") from error
        except _CommitInDoubt:
            self.close()
            raise

    def _connected(self) -> PatientConnection:
        if self._connection is not None and not self._connection.closed:
            if time.monotonic() - self._used_at < _TRUSTED_IDLE_S:
                return self._connection
            try:
                self._connection.execute("SELECT 1")
                return self._connection
            except psycopg.Error:
                self.close()
        self._connection = connect(self._dsn, self._application_name)
        return self._connection


@contextmanager
def _statement(name: str) -> Iterator[None]:
    reach(f"snapshot-before-{name}")
    yield
    reach(f"snapshot-after-{name}")


@contextmanager
def _transaction(connection: PatientConnection, name: str) -> Iterator[None]:
    """BEGIN and COMMIT, or ROLLBACK. Raises _CommitInDoubt."""
    with _statement(f"{name}-begin"):
        connection.execute("BEGIN")
    try:
        yield
    except psycopg.OperationalError:
        raise  # the connection is closed, which ends the transaction: a server that is silent is not asked again
    except BaseException:
        connection.rollback()
        raise
    with _statement(f"{name}-commit"):
        try:
            connection.execute("COMMIT")
        except psycopg.Error as error:
            raise _CommitInDoubt(error) from error


@contextmanager
def _settled(doing: str) -> Iterator[None]:
    """For what may be done again, whether it took effect or not."""
    try:
        yield
    except _CommitInDoubt as doubt:
        raise unavailable(doing, doubt.error) from doubt.error


def _batches(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    batch: list[Segment] = []
    size = 0
    for segment in segments:
        if batch and size + segment.size_bytes > _READ_AT_ONCE_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(segment)
        size += segment.size_bytes
    if batch:
        yield batch


def _is_of(head: _HeadRow | None) -> str:
    if head is None or head.term is None:
        return "no term has claimed them"
    return f"term {head.term} of topic {head.events_topic_id} has"


def _in_utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)

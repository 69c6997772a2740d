"""What blocks and the snapshot store cost by themselves: `python -m benchmarks.snapshots [--states N] [--json]`.

Encoded states of a ledger's size (about 110 bytes with key and columns) are made into blocks, written to a Postgres that
logs as one in production does, read back, looked up and merged with a tenth of them. Processor time of this process per
state, the best of several rounds for what needs no server; WAL per byte of state, from `pg_current_wal_lsn`.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from benchmarks import results
from eventsrc.adapters.postgres.store import PostgresSnapshots
from eventsrc.adapters.postgres.upgrading import upgrade
from eventsrc.codec.blocks import Block, StoredRuns, build_blocks, entry
from eventsrc.engine.partition import PartitionKey
from eventsrc.localstack.postgres import PostgresServer
from eventsrc.model.position import Offset, Position
from eventsrc.model.snapshot import Anchor, Checkpoint, FoldedBy, Run, StoredCheckpoint

PRODUCTION = {"full_page_writes": "on", "wal_level": "replica", "max_wal_size": "4GB"}
ROUNDS = 3
_KEY = PartitionKey("ledger", 0)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Measured:
    """Microseconds per state, but for `bytes_per_state` and `wal_per_byte`. `write`, `read`: by the clock."""

    bytes_per_state: float
    build: float
    open: float
    get: float
    merge: float
    write: float
    read: float
    wal_per_byte: float


def measure(address: str, count: int) -> Measured:
    """On an upgraded database."""
    chance = random.Random(1)
    states = [(b"account-%d" % number, entry(number, b"", chance.randbytes(68))) for number in range(count)]
    build_us, blocks = _best(lambda: list(build_blocks(states)), count)
    open_us, run = _best(lambda: [Block(block) for block in blocks], count)
    stored = StoredRuns([run])
    asked = chance.sample(states, min(count, 100_000))
    get_us, _ = _best(lambda: [stored.get(key) for key, _ in asked], len(asked))
    changed = [Block(block) for block in build_blocks(states[::10])]
    merge_us, _ = _best(lambda: sum(len(block) for block in StoredRuns([run, changed]).merged()), count + count // 10)
    write_us, read_us, wal_bytes = _through_postgres(address, blocks, count)
    size = sum(map(len, blocks))
    return Measured(size / count, build_us, open_us, get_us, merge_us, write_us, read_us, wal_bytes / size)


def wal_position(address: str) -> int:
    """In bytes since the cluster began."""
    with psycopg.connect(address, autocommit=True) as connection:
        row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return int(row[0])


def _through_postgres(address: str, blocks: Sequence[bytes], count: int) -> tuple[float, float, int]:
    """Microseconds per state of writing and of reading, and the WAL written."""
    with closing(PostgresSnapshots(address, f"benchmark-{uuid.uuid4().hex[:8]}")) as store:
        store.claim(_KEY, 1, "topic")
        before, began = wal_position(address), time.perf_counter()
        run = store.add_segments(_KEY, 1, blocks)
        store.commit(_KEY, _checkpoint(run, count), None)
        written = time.perf_counter()
        wal_bytes = wal_position(address) - before
        reading = time.perf_counter()
        assert sum(map(len, store.read(run))) == sum(map(len, blocks))
        return (written - began) / count * 1e6, (time.perf_counter() - reading) / count * 1e6, wal_bytes


def _checkpoint(run: Run, count: int) -> StoredCheckpoint:
    anchor = Anchor(Offset(count), b"key", 1, 2)
    said = Checkpoint(anchor, anchor, Position(count), 1, count, None, count, count, "c", "topic", FoldedBy(1, 1))
    return StoredCheckpoint(uuid.uuid4(), said, (run,), datetime.now(UTC))


def _best(do: Callable[[], _Result], count: int) -> tuple[float, _Result]:
    taken = []
    for _ in range(ROUNDS):
        began = time.process_time()
        result = do()
        taken.append(time.process_time() - began)
    return min(taken) / count * 1e6, result


@contextmanager
def _database() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="eventsrc-benchmark-") as directory:
        Path(directory).chmod(0o755)  # run by root, Postgres has another account, which must get in
        server = PostgresServer(Path(directory) / "postgres", PRODUCTION)
        try:
            server.start()
            upgrade(server.url)
            yield server.url
        finally:
            server.stop()
            server.wipe()


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=1_000_000)
    results.add_arguments(parser)
    options = parser.parse_args(arguments)
    with _database() as address:
        measured: dict[str, Any] = asdict(measure(address, options.states))

    def table() -> None:
        print(f"{options.states:,} states")
        for name, value in measured.items():
            unit = {"bytes_per_state": "bytes", "wal_per_byte": "bytes of WAL per byte of state"}.get(
                name, "us per state"
            )
            print(f"{name:16} {value:8.2f}  {unit}")

    results.tell(options, {"states": options.states, **measured}, table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime

from eventsrc import Context, EventMeta, Outcome, Recorded

COMMAND, CORRELATION, EVENT = bytes(range(16)), bytes(range(1, 17)), bytes(range(2, 18))


def context(seed: bytes = b"bank.account.commands/3@17") -> Context:
    return Context(1_790_000_000_123, COMMAND, None, None, seed)


def test_now_is_the_record_time() -> None:
    assert context().now == datetime(2026, 9, 21, 14, 13, 20, 123_000, tzinfo=UTC)
    assert context().now.utcoffset() is not None


def test_a_retry_sees_the_same() -> None:
    first, second = context(), context()
    assert [first.random.random(), first.random.randint(1, 10**9)] == [
        second.random.random(),
        second.random.randint(1, 10**9),
    ]
    assert [first.uuid(), first.uuid()] == [second.uuid(), second.uuid()]


def test_uuids_differ_from_one_another_and_between_records() -> None:
    first, other = context(), context(b"bank.account.commands/3@18")
    drawn = [first.uuid(), first.uuid(), other.uuid(), other.uuid()]
    assert len(set(drawn)) == 4
    assert all(one.version == 4 and one.variant == uuid.RFC_4122 for one in drawn)


def test_uuids_do_not_depend_on_random() -> None:
    first, second = context(), context()
    first.random.random()
    assert first.uuid() == second.uuid()


def test_random_is_made_when_first_used() -> None:
    made = context()
    assert made._random is None
    assert isinstance(made.random, random.Random)
    assert made.random is made.random


def test_ids() -> None:
    alone = context()
    assert alone.command_id == uuid.UUID(bytes=COMMAND)
    assert alone.correlation_id == alone.command_id
    assert alone.causation_id is None
    caused = Context(0, COMMAND, CORRELATION, EVENT, b"")
    assert caused.correlation_id == uuid.UUID(bytes=CORRELATION)
    assert caused.causation_id == uuid.UUID(bytes=EVENT)


def test_recorded_time_is_the_events_to_the_microsecond() -> None:
    meta = EventMeta(COMMAND, None, None, 17, 0, 1, 1_790_000_000_123_456, b"12345678")
    recorded = Recorded("an event", 4, 90, meta)
    assert recorded.time == datetime(2026, 9, 21, 14, 13, 20, 123_456, tzinfo=UTC)
    assert (recorded.sequence, recorded.offset, recorded.meta.payload_hash) == (4, 90, b"12345678")


def test_meta_has_the_fields_of_the_contract() -> None:
    assert EventMeta._fields == (
        "command_id",
        "correlation_id",
        "causation_id",
        "source_offset",
        "index",
        "count",
        "time",
        "payload_hash",
    )
    assert Outcome._fields == ("command_id", "events", "sequence", "duplicate")

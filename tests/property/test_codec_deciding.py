"""What the hot loop reads of a command is what the ordinary reader of commands reads, and is refused where that refuses."""

from __future__ import annotations

import json
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from eventsrc.codec.catalog import Catalog
from eventsrc.codec.metas import with_meta
from eventsrc.codec.nodes import RecordNode, parse
from eventsrc.codec.reader import compile_reader
from eventsrc.codec.resolution import build
from eventsrc.errors import DecodingError
from eventsrc.model.recorded import CommandMeta
from tests.unit.codec.app import ACCOUNT, Deposit, pipeline

NOW_US = 1_795_000_000_123_456

catalog = Catalog(pipeline, None)
write = catalog.command_writer(ACCOUNT, Deposit)
PREFIX = write(b"i" * 16, None, None, NOW_US, None, Deposit(5))[:10]

_ids = st.binary(min_size=16, max_size=16)
_times = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(NOW_US - 10**13, NOW_US + 10**13)
_metas = st.builds(
    CommandMeta, _ids, st.none() | _ids, st.none() | _ids, _times, st.none() | st.integers(0, (1 << 31) - 1)
)


def read(value: bytes) -> Any:
    """As the ordinary reader reads it, or the message with which it refuses."""
    try:
        meta, start, command = catalog.command_reader(ACCOUNT, PREFIX)(value)
    except DecodingError as refusal:
        return str(refusal)
    return meta.id, meta.correlation_id, meta.causation_id, meta.reply_partition, start, command


def read_for_deciding(value: bytes) -> Any:
    try:
        return catalog.deciding_reader(ACCOUNT, PREFIX)(value)
    except DecodingError as refusal:
        return str(refusal)


@given(_metas, st.integers(-(1 << 63), (1 << 63) - 1))
def test_what_was_written(meta: CommandMeta, amount: int) -> None:
    value = write(*meta, Deposit(amount))
    found = read_for_deciding(value)
    assert found == read(value)
    assert found[:4] == (meta.id, meta.correlation_id, meta.causation_id, meta.reply_partition)
    assert found[-1] == Deposit(amount)


@given(_metas, st.lists(st.tuples(st.integers(26, 45), st.integers(0, 255)), max_size=3), st.integers(0, 50))
def test_what_was_damaged(meta: CommandMeta, changes: list[tuple[int, int]], cut: int) -> None:
    value = bytearray(write(*meta, Deposit(5)))
    for place, byte in changes:
        if place < len(value):
            value[place] = byte
    for damaged in (bytes(value), bytes(value[:-cut]), bytes(value) + b"\0" * cut):
        found, expected = read_for_deciding(damaged), read(damaged)
        assert type(found) is type(expected)
        assert isinstance(found, str) or found == expected


def test_a_writer_whose_meta_had_other_fields() -> None:
    schema = cast(dict[str, Any], json.loads(json.dumps(catalog.schemas()[0].schema)))
    meta = schema["fields"][0]["type"]
    meta["fields"] = [field for field in meta["fields"] if field["name"] != "causation_id"]
    writer, node = parse(schema), catalog.schemas()[0].node
    assert isinstance(writer, RecordNode)
    plan = build(with_meta("command", ACCOUNT.commands[Deposit].record), node, writer)
    value = write(b"i" * 16, None, None, NOW_US, None, Deposit(5))
    old = value[:27] + value[28:]  # without the byte that says that there is no causation
    assert compile_reader("R", plan, "deciding", 10)(old) == (b"i" * 16, None, None, None, 36, Deposit(5))

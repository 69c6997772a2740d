"""Bytes that nobody wrote: a value or a DecodingError, in little time and memory, whatever they are."""

from __future__ import annotations

import time
import tracemalloc
from functools import cache
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from eventsrc.codec.nodes import RecordNode, parse
from eventsrc.codec.reader import compile_reader
from eventsrc.codec.resolution import build
from eventsrc.codec.schema import state_schema
from eventsrc.codec.wire import long_bytes
from eventsrc.codec.writer import compile_writer
from eventsrc.errors import DecodingError
from eventsrc.model.types import (
    DictOf,
    Field,
    FieldType,
    ListOf,
    LiteralOf,
    Primitive,
    RecordOf,
    RecordType,
    SetOf,
    TupleOf,
    UnionOf,
)
from tests.property.codec_shapes import instances, made, records

quick = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))

NULL, INT, STR, BYTES = Primitive("null"), Primitive("int"), Primitive("str"), Primitive("bytes")
EMPTY = RecordOf(made("Empty", []))


@cache
def node_of(record: RecordType) -> RecordNode:
    node = parse(state_schema("test.things", record.name, record))
    assert isinstance(node, RecordNode)
    return node


def reader_of(record: RecordType) -> Any:
    node = node_of(record)
    return compile_reader("R", build(record, node, node), "value", 0)


def writer_of(record: RecordType) -> Any:
    return compile_writer("R", record, node_of(record), "value")


@st.composite
def damaged(draw: st.DrawFn) -> tuple[RecordType, bytes]:
    """What was written, then cut, lengthened, or with some of its bytes changed."""
    record = draw(records())
    value = bytearray(writer_of(record)(draw(instances(record))))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(value)))
        match draw(st.integers(0, 3)):
            case 0:
                del value[place:]
            case 1:
                value[place:place] = draw(st.binary(max_size=12))
            case 2:
                value[place : place + 1] = bytes([draw(st.integers(0, 255))])
            case 3:
                value[place:place] = long_bytes(draw(st.integers(-(1 << 63), (1 << 63) - 1)))
    return record, bytes(value)


def read_within_bounds(read: Any, value: bytes) -> Any:
    """The value, or None for a DecodingError; anything else, and too much of time or memory, fails."""
    tracemalloc.start()
    began = time.process_time()
    try:
        result = read(value)
    except DecodingError as error:
        assert str(error)  # noqa: PT017 - either outcome is right; that it says something is what is checked
        result = None
    finally:
        took = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert took < 1 + len(value) / 50_000
    assert peak < 400_000 + 600 * len(value)
    return result


@quick
@given(damaged())
def test_damaged_bytes_are_refused_or_read(case: tuple[RecordType, bytes]) -> None:
    record, value = case
    result = read_within_bounds(reader_of(record), value)
    if result is not None:
        assert type(result) is record.cls


@quick
@given(records(), st.binary(max_size=300))
def test_random_bytes_are_refused_or_read(record: RecordType, value: bytes) -> None:
    read_within_bounds(reader_of(record), value)


@quick
@given(records(), st.data())
def test_every_truncation_and_every_trailing_byte_is_refused(record: RecordType, data: st.DataObject) -> None:
    value = writer_of(record)(data.draw(instances(record)))
    read = reader_of(record)
    for end in range(max(0, len(value) - 40), len(value)):
        with pytest.raises(DecodingError):
            read(value[:end])
    with pytest.raises(DecodingError):
        read(value + b"\0")


def one(declared: FieldType) -> RecordType:
    return made("One", [Field("f", declared)])


HUGE = long_bytes((1 << 62) - 1)
BOMBS: dict[str, tuple[FieldType, bytes]] = {
    "an array of null that claims 2**62 items": (ListOf(NULL), HUGE + b"\0"),
    "one million of them, in a block with a size": (ListOf(NULL), long_bytes(-1_000_000) + b"\0\0"),
    "an array of empty records": (ListOf(EMPTY), HUGE + b"\0"),
    "arrays of null within an array": (
        ListOf(ListOf(NULL)),
        long_bytes(200) + (long_bytes(4096) + b"\0") * 200 + b"\0",
    ),
    "an array of ints that claims more than there are": (ListOf(INT), HUGE + b"\0"),
    "a set": (SetOf(INT, False), HUGE + b"\0"),
    "a tuple": (TupleOf((NULL,), True), HUGE + b"\0"),
    "a map": (DictOf(NULL), HUGE + b"\0"),
    "a map of maps": (DictOf(DictOf(INT)), b"\2\0" + HUGE + b"\0\0"),
    "a string as long as memory": (STR, HUGE),
    "bytes of a negative length": (BYTES, long_bytes(-5) + b"abcde"),
    "a block of a negative size": (ListOf(INT), long_bytes(-1) + long_bytes(-3) + b"\2\0"),
    "a block whose size is wrong": (ListOf(INT), long_bytes(-1) + long_bytes(2) + b"\2\0\0"),
    "the least count, which has no positive": (ListOf(NULL), long_bytes(-(1 << 63)) + b"\0\0"),
    "an integer of 11 bytes": (INT, b"\x80" * 10 + b"\0"),
    "an integer of 70 bits": (INT, b"\xff" * 9 + b"\x7f"),
    "an endless integer": (INT, b"\xff" * 100_000),
    "a union index past the members": (UnionOf((NULL, INT)), b"\4\2"),
    "a negative union index": (UnionOf((NULL, INT)), b"\1\2"),
    "a boolean of 2": (Primitive("bool"), b"\2"),
    "text that is not UTF-8": (STR, b"\4\xc3\x28"),
    "text with an encoded surrogate": (STR, b"\6\xed\xa0\x80"),
    "a time of day past midnight": (Primitive("time"), long_bytes(86_400_000_000)),
    "a date before the first year": (Primitive("date"), long_bytes(-800_000)),
    "a moment past the last year": (Primitive("datetime"), long_bytes((1 << 63) - 1)),
    "a date of 40 bits": (Primitive("date"), long_bytes(1 << 39)),
    "a UUID in braces": (Primitive("uuid"), b"\x4c{" + b"0" * 36 + b"}"),
    "a decimal that is not a number": (Primitive("decimal-text"), b"\6NaN"),
    "a decimal with underscores": (Primitive("decimal-text"), b"\6" + b"1_0"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_costs_anything(name: str) -> None:
    declared, value = BOMBS[name]
    read = reader_of(one(declared))
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(DecodingError):
        read(value)
    took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 1
    assert peak < 400_000 + 3 * len(value)


def test_the_message_does_not_repeat_a_long_value() -> None:
    text = "x" * 1_000_000
    with pytest.raises(DecodingError) as refused:
        reader_of(one(LiteralOf(("two words", ""))))(long_bytes(len(text)) + text.encode())
    assert len(str(refused.value)) < 300


# what a value means, and whether text is UTF-8, is not looked at where nobody wants it
IN_REMOVED_FIELDS = [
    name
    for name, (declared, _) in BOMBS.items()
    if not name.startswith("text") and (declared in (STR, BYTES, INT) or not isinstance(declared, Primitive))
]


@pytest.mark.parametrize("name", IN_REMOVED_FIELDS)
def test_a_bomb_in_a_removed_field_is_refused_alike(name: str) -> None:
    declared, value = BOMBS[name]
    older, newer = one(declared), made("One", [])
    read = compile_reader("One", build(newer, node_of(newer), node_of(older)), "value", 0)
    with pytest.raises(DecodingError):
        read(value)

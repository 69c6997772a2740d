"""What an older version of a class wrote is read as the newer one: by expectation, and as fastavro resolves it."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import fastavro
import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from eventsrc.codec.nodes import RecordNode, parse
from eventsrc.codec.reader import compile_reader
from eventsrc.codec.resolution import build
from eventsrc.codec.schema import Json, default_of, state_schema
from eventsrc.codec.writer import compile_writer
from eventsrc.model.types import DictOf, Field, FieldType, ListOf, Primitive, RecordOf, RecordType, UnionOf
from tests.property.codec_shapes import (
    SCALARS,
    has_wide_union,
    instances,
    made,
    plain_record,
    records,
    values,
    without_branches,
)

Convert = Callable[[Any], Any]
"""From a value of the older type to the value that the newer type is to give."""

quick = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
NULL = Primitive("null")


@st.composite
def newer_types(draw: st.DrawFn, declared: FieldType) -> tuple[FieldType, Convert]:
    """A type that takes over what `declared` wrote."""
    changed: FieldType = declared
    convert: Convert = _same
    if isinstance(declared, RecordOf):
        record, convert = draw(newer_records(declared.record))
        changed = RecordOf(record)
    elif isinstance(declared, ListOf):
        item, each = draw(newer_types(declared.item))
        changed, convert = ListOf(item), lambda value: [each(part) for part in value]
    elif isinstance(declared, DictOf):
        item, each = draw(newer_types(declared.value))
        changed, convert = DictOf(item), lambda value: {key: each(part) for key, part in value.items()}
    elif declared == Primitive("int") and draw(st.booleans()):
        changed, convert = Primitive("float"), float
    elif declared == Primitive("str") and draw(st.booleans()):
        changed, convert = Primitive("bytes"), str.encode
    if not isinstance(changed, UnionOf) and draw(st.booleans()):
        changed = UnionOf((NULL, changed))
    return changed, convert


@st.composite
def newer_records(draw: st.DrawFn, record: RecordType) -> tuple[RecordType, Convert]:
    """Fields dropped, renamed, widened, added and put in another order; the class perhaps renamed."""
    sources: dict[str, tuple[str, Convert] | None] = {}
    fields = []
    for old in record.fields:
        if draw(st.integers(0, 3)) == 0:
            continue
        declared, convert = draw(newer_types(old.type))
        renamed = draw(st.booleans())
        name = f"renamed_{old.name}" if renamed else old.name
        fields.append(Field(name, declared, aliases=(old.name,) if renamed else ()))
        sources[name] = old.name, convert
    for index in range(draw(st.integers(0, 2))):
        declared = draw(SCALARS)
        fields.append(Field(f"new_{index}", declared, default=draw(values(declared))))
        sources[f"new_{index}"] = None
    fields = draw(st.permutations(fields))
    renamed = draw(st.booleans())
    newer = made(f"New{record.name}" if renamed else record.name, list(fields))
    newer = dataclasses.replace(newer, aliases=(record.name,) if renamed else ())

    def convert_record(value: Any) -> Any:
        given = []
        for field in fields:
            source = sources[field.name]
            given.append(default_of(field) if source is None else source[1](getattr(value, source[0])))
        return newer.cls(*given)

    return newer, convert_record


def _same(value: Any) -> Any:
    return value


@st.composite
def evolutions(draw: st.DrawFn) -> tuple[RecordType, RecordType, Any, Any]:
    older = draw(records())
    newer, convert = draw(newer_records(older))
    value = draw(instances(older))
    return older, newer, value, convert(value)


def derived(name: str, record: RecordType) -> tuple[Json, RecordNode]:
    schema = state_schema("test.things", name, record)
    node = parse(schema)
    assert isinstance(node, RecordNode)
    return schema, node


def without_new(value: Any) -> Any:
    """fastavro leaves defaults as JSON gives them: those fields are compared by expectation alone."""
    if isinstance(value, dict):
        return {key: without_new(item) for key, item in value.items() if not key.startswith("new_")}
    return [without_new(item) for item in value] if isinstance(value, list) else value


@quick
@given(evolutions())
def test_an_older_writers_bytes_are_read_as_expected(case: tuple[RecordType, RecordType, Any, Any]) -> None:
    older, newer, value, expected = case
    writer_schema, writer_node = derived("Thing", older)
    reader_schema, reader_node = derived("Thing", newer)
    written = compile_writer("Thing", older, writer_node, "value")(value)

    ours = compile_reader("Thing", build(newer, reader_node, writer_node), "value", 0)(written)
    assert ours == expected

    if has_wide_union(RecordOf(older)):
        return  # fastavro takes the first member that promotion allows, before one of the very type
    try:
        theirs = fastavro.schemaless_reader(
            io.BytesIO(written), fastavro.parse_schema(writer_schema), fastavro.parse_schema(reader_schema)
        )
    except TypeError:
        return  # fastavro's own mistake, where a union names a type that was defined before
    assert without_new(theirs) == without_new(without_branches(plain_record(newer, reader_node, ours)))

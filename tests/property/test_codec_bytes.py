"""Whatever a class declares, our bytes are fastavro's and Apache avro's, and all three read them alike."""

from __future__ import annotations

import io
import json
import warnings
from typing import Any

import avro.io
import avro.schema
import fastavro
import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from eventsrc.codec.nodes import RecordNode, canonical_form, fingerprint, parse
from eventsrc.codec.reader import compile_reader
from eventsrc.codec.resolution import build
from eventsrc.codec.schema import state_schema
from eventsrc.codec.writer import compile_writer
from eventsrc.model.types import RecordOf, RecordType
from tests.property.codec_shapes import (
    for_avro,
    for_fastavro,
    has_wide_union,
    instances,
    plain_record,
    records,
    reference,
    without_branches,
)

quick = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def record_and_value(draw: st.DrawFn) -> tuple[RecordType, Any]:
    record = draw(records())
    return record, draw(instances(record))


def schema_of(record: RecordType) -> tuple[Any, RecordNode]:
    schema = state_schema("test.things", record.name, record)
    node = parse(schema)
    assert isinstance(node, RecordNode)
    return schema, node


def avro_schema(schema: Any) -> avro.schema.Schema:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", avro.errors.IgnoredLogicalType)  # our two logical types
        return avro.schema.parse(json.dumps(schema))


@quick
@given(record_and_value())
def test_the_bytes_are_those_of_the_specification_and_of_fastavro(case: tuple[RecordType, Any]) -> None:
    record, value = case
    schema, node = schema_of(record)
    ours = compile_writer("R", record, node, "value")(value)

    expected = plain_record(record, node, value)
    assert ours == reference(node, expected)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), for_fastavro(expected))
    assert ours == out.getvalue()
    assert fastavro.schemaless_reader(io.BytesIO(ours), schema, None) == without_branches(expected)


@quick
@given(record_and_value())
def test_apache_avro_reads_and_writes_the_same_bytes(case: tuple[RecordType, Any]) -> None:
    record, value = case
    schema, node = schema_of(record)
    ours = compile_writer("R", record, node, "value")(value)

    theirs = avro_schema(schema)
    expected = for_avro(plain_record(record, node, value))
    assert avro.io.DatumReader(theirs).read(avro.io.BinaryDecoder(io.BytesIO(ours))) == expected
    if not has_wide_union(RecordOf(record)):
        out = io.BytesIO()
        avro.io.DatumWriter(theirs).write(expected, avro.io.BinaryEncoder(out))
        assert ours == out.getvalue()


@quick
@given(record_and_value())
def test_every_value_comes_back_equal_and_of_its_own_class(case: tuple[RecordType, Any]) -> None:
    record, value = case
    _, node = schema_of(record)
    ours = compile_writer("R", record, node, "value")(value)
    back = compile_reader("R", build(record, node, node), "value", 0)(ours)
    assert back == value
    assert compile_writer("R", record, node, "value")(back) == ours


@quick
@given(records())
def test_fingerprints_are_those_of_fastavro_and_apache_avro(record: RecordType) -> None:
    schema, node = schema_of(record)
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    assert canonical_form(node) == canonical
    little_endian = fingerprint(node).to_bytes(8, "little")
    assert little_endian.hex() == fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")
    # Apache avro keeps {"type": "bytes"} where the specification wants "bytes": it is given the canonical form
    assert little_endian == avro_schema(json.loads(canonical)).fingerprint("CRC-64-AVRO")

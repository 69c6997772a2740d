from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from eventsrc.codec import control, schema_files
from eventsrc.codec.catalog import Catalog, flat, needs_decoded_copy
from eventsrc.codec.framing import framing_prefix
from eventsrc.codec.nodes import parse
from eventsrc.codec.schema_files import SchemaFile, schema_file
from eventsrc.errors import (
    ClassChanged,
    DecodingError,
    EncodingError,
    InvalidSchema,
    NotThisKind,
    SchemaIncompatible,
    UnknownSchema,
)
from eventsrc.model.recorded import CommandMeta, EventMeta
from eventsrc.model.types import DecimalScaled, Field, FieldType, ListOf, Primitive, RecordType, TupleOf, UnionOf
from tests.unit.codec.app import ACCOUNT, VAULT, Address, Channel, Close, Closed, Deposit, Deposited, pipeline

META = EventMeta(b"c" * 16, None, b"e" * 16, 1_000_000, 0, 1, 1_795_000_000_123_456, b"hashhash")
COMMAND_META = CommandMeta(b"i" * 16, b"r" * 16, None, 1_795_000_000_123_456, 3)
CLOSED = Closed(
    datetime(2026, 11, 22, 12, tzinfo=UTC), Address("Allee 1"), Channel.BRANCH, [Decimal("1.50")], {"a": None, "b": "c"}
)


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(pipeline, None)


DEPOSITED = Deposited(5)


def event_value(catalog: Catalog, event: Any = DEPOSITED, meta: EventMeta = META) -> bytes:
    return catalog.event_writer(ACCOUNT, type(event))(*meta, event)


def test_an_event_comes_back_with_its_meta(catalog: Catalog) -> None:
    for event in (Deposited(5, "é", 2.5), CLOSED):
        value = event_value(catalog, event)
        assert value.startswith(b"\xc3\x01")
        assert catalog.event_reader(ACCOUNT, value[:10])(value) == (META, event)
        assert catalog.event_readers(ACCOUNT)[value[:10]](value) == (META, event)


@pytest.mark.parametrize("time", [0, 1, -1, 1 << 20, (1 << 20) - 1, (1 << 55) + 12345, (1 << 63) - 1, -(1 << 63)])
@pytest.mark.parametrize("offset", [0, 63, 64, 8191, 8192, 1 << 20, 1 << 27, (1 << 63) - 1])
def test_meta_of_every_size_comes_back(catalog: Catalog, time: int, offset: int) -> None:
    meta = META._replace(time=time, source_offset=offset, index=5000, count=70_000, correlation_id=b"r" * 16)
    value = event_value(catalog, meta=meta)
    assert catalog.event_reader(ACCOUNT, value[:10])(value) == (meta, Deposited(5))
    command_meta = COMMAND_META._replace(time=time, reply_partition=None)
    command = catalog.command_writer(ACCOUNT, Deposit)(*command_meta, Deposit(offset))
    assert catalog.command_reader(ACCOUNT, command[:10])(command)[::2] == (command_meta, Deposit(offset))


def test_a_commands_body_starts_after_its_meta(catalog: Catalog) -> None:
    value = catalog.command_writer(ACCOUNT, Deposit)(*COMMAND_META, Deposit(5))
    meta, start, command = catalog.command_readers(ACCOUNT)[value[:10]](value)
    assert (meta, command) == (COMMAND_META, Deposit(5))
    assert value[start:] == b"\x0a"


def test_ids_of_another_length_are_not_written(catalog: Catalog) -> None:
    for wrong in (META._replace(command_id=b"c"), META._replace(payload_hash=b""), META._replace(causation_id=b"")):
        with pytest.raises(EncodingError):
            event_value(catalog, meta=wrong)


def test_what_an_aggregate_does_not_handle_is_not_written(catalog: Catalog) -> None:
    with pytest.raises(EncodingError, match="Vault does not handle the command Close"):
        catalog.command_writer(VAULT, Close)
    with pytest.raises(EncodingError, match="Vault does not apply the event Closed"):
        catalog.event_writer(VAULT, Closed)


def test_bytes_are_told_apart_by_what_their_schema_is_of(catalog: Catalog) -> None:
    event = event_value(catalog)
    command = catalog.command_writer(ACCOUNT, Deposit)(*COMMAND_META, Deposit(5))
    anothers = catalog.command_writer(VAULT, Deposit)(*COMMAND_META, Deposit(5))
    barrier = control.write_barrier(control.Barrier("i", "t", "d", "e", "c", 1, 2))
    for value in (event, anothers, barrier):
        with pytest.raises(NotThisKind):
            catalog.command_reader(ACCOUNT, value[:10])
    for value in (command, anothers, barrier):
        with pytest.raises(NotThisKind):
            catalog.event_reader(ACCOUNT, value[:10])
    for value in (command, event):
        with pytest.raises(NotThisKind):
            catalog.control_reader(value[:10])
    assert command[:10] in catalog.command_readers(ACCOUNT)
    assert anothers[:10] not in catalog.command_readers(ACCOUNT)


def test_an_unknown_schema_is_not_garbage_and_garbage_is_no_unknown_schema(catalog: Catalog) -> None:
    unknown = framing_prefix(0x0123456789ABCDEF)
    for read in (catalog.control_reader, lambda p: catalog.event_reader(ACCOUNT, p)):
        with pytest.raises(UnknownSchema, match="0123456789abcdef") as raised:
            read(unknown)
        assert raised.value.fingerprint == unknown[2:]
        with pytest.raises(DecodingError, match="registry"):
            read(b"\0\0\0\0\7abcde")
        for garbage in (b"", b"\xc3", b"\xc3\x01", unknown[:9], b"{'a': 1, '", b"\0\0\0"):
            with pytest.raises(DecodingError, match="no Avro framing") as refused:
                read(garbage)
            assert not isinstance(refused.value, NotThisKind)


def test_control_records_come_back(catalog: Catalog) -> None:
    barrier = control.Barrier("host-0", "bank-0", "prod", "e" * 22, "c" * 22, 1 << 40, 1_795_000_000_123_456)
    pruned = control.Pruned("älice", 12, b"state", b"fingerpr")
    details = control.reply_details({"a": 1, "b": None, "c": 2.5, "d": True, "e": "x", "f": 1 << 70, "g": UUID(int=1)})
    reply = control.Reply(b"i" * 16, "rejected", 3, [b"x", b""], "insufficient funds", details)
    for value, record in (
        (control.write_barrier(barrier), barrier),
        (control.write_pruned(pruned), pruned),
        (control.write_reply(reply), reply),
    ):
        assert catalog.control_reader(value[:10])(value) == record
    assert control.read_barrier(control.write_barrier(barrier)) == barrier
    assert control.read_pruned(control.write_pruned(pruned)) == pruned
    assert control.read_reply(control.write_reply(reply)) == reply
    assert details["f"] == str(1 << 70)
    assert type(details["d"]) is bool
    with pytest.raises(NotThisKind):
        control.read_reply(control.write_barrier(barrier))
    with pytest.raises(UnknownSchema):
        control.read_reply(framing_prefix(5))


def test_equal_states_have_equal_bytes(catalog: Catalog) -> None:
    write = catalog.state_writer(ACCOUNT)
    first, second = ACCOUNT.new(b"a"), ACCOUNT.new(b"b")
    first.labels = {"x": {3, 1, 2}, "a": set()}
    second.labels = {"a": set(), "x": {2, 3, 1}}
    assert write(first) == write(second)
    back = ACCOUNT.new(b"a")
    catalog.state_reader(ACCOUNT)(write(first), back)
    assert back.labels == first.labels


def test_a_snapshot_keeps_the_order_of_a_dict(catalog: Catalog) -> None:
    account, back = ACCOUNT.new(b"a"), ACCOUNT.new(b"a")
    account.balance, account.labels = 5, {"x": {3, 1}, "a": set()}
    catalog.state_reader(ACCOUNT)(catalog.snapshot_writer(ACCOUNT)(account), back)
    assert (back.balance, list(back.labels.items())) == (5, [("x", {1, 3}), ("a", set())])
    assert catalog.state_writer(ACCOUNT)(back) == catalog.state_writer(ACCOUNT)(account)
    assert catalog.snapshot_writer(ACCOUNT) is catalog.snapshot_writer(ACCOUNT)


def test_a_state_that_cannot_be_read_changes_nothing(catalog: Catalog) -> None:
    account = ACCOUNT.new(b"a")
    account.balance = 7
    for damaged in (b"", b"\x02", catalog.state_writer(ACCOUNT)(account) + b"\0"):
        with pytest.raises(DecodingError):
            catalog.state_reader(ACCOUNT)(damaged, account)
        assert account.balance == 7


def test_a_state_with_a_wrong_value_is_refused_with_its_path(catalog: Catalog) -> None:
    account = ACCOUNT.new(b"a")
    account.labels = {"x": {1, "2"}}
    with pytest.raises(EncodingError, match=r"SavingsAccount\.labels\['x'\]\{\}: str where int is declared"):
        catalog.state_writer(ACCOUNT)(account)


def record(*types: FieldType) -> RecordType:
    return RecordType(object, "R", tuple(Field(f"f{index}", declared) for index, declared in enumerate(types)))


def test_what_must_be_applied_from_a_copy() -> None:
    integer, moment = Primitive("int"), Primitive("datetime")
    assert not needs_decoded_copy(record(integer, Primitive("decimal-text"), UnionOf((Primitive("null"), integer))))
    for nested in (ListOf(integer), TupleOf((integer,), True), UnionOf((Primitive("null"), ListOf(integer)))):
        assert needs_decoded_copy(record(nested))
        assert not flat(record(nested))
    for normalised in (moment, DecimalScaled(2), UnionOf((Primitive("null"), moment)), Primitive("time")):
        assert needs_decoded_copy(record(normalised))
        assert flat(record(normalised))


def test_why_a_moment_is_applied_from_a_copy(catalog: Catalog) -> None:
    zone = timezone(timedelta(hours=2))
    event = Closed(datetime(2026, 11, 22, 12, tzinfo=zone), Address("A"), Channel.WEB)
    value = event_value(catalog, event)
    _, back = catalog.event_reader(ACCOUNT, value[:10])(value)
    assert back == event
    assert back.at.hour == 10 != event.at.hour


# ---- schema files


def older(catalog: Catalog, name: str, change: Any) -> SchemaFile:
    """A version of a message's schema as `change` leaves its fields."""
    file = next(f for f in catalog.schemas() if f.name == name and f.folder == "my-bank/savings-account")
    schema = {**file.schema, "fields": [dict(field) for field in file.schema["fields"]]}
    change(schema)
    return schema_file(file.folder, schema["name"], schema)


def without_last_field(schema: Any) -> None:
    del schema["fields"][-1]


def test_a_schema_is_found_in_the_directory_when_a_record_names_it(tmp_path: Path, catalog: Catalog) -> None:
    was = older(catalog, "Deposited", without_last_field)
    prefix = framing_prefix(was.fingerprint)
    current = event_value(catalog)
    value = prefix + current[10:-8]
    late = Catalog(pipeline, tmp_path)
    with pytest.raises(UnknownSchema):
        late.event_reader(ACCOUNT, prefix)
    schema_files.export(tmp_path, [was])
    with pytest.raises(UnknownSchema):
        late.event_reader(ACCOUNT, prefix)
    late.reload()
    assert late.event_reader(ACCOUNT, prefix)(value) == (META, Deposited(5, "", 1.0))
    assert prefix in late.event_readers(ACCOUNT)
    with pytest.raises(NotThisKind):
        late.event_reader(VAULT, prefix)
    with pytest.raises(NotThisKind):
        late.command_reader(ACCOUNT, prefix)


def test_a_class_reads_what_was_written_under_its_alias(tmp_path: Path, catalog: Catalog) -> None:
    was = older(catalog, "Closed", lambda schema: schema.update(name="Terminated"))
    schema_files.export(tmp_path, [was])
    value = framing_prefix(was.fingerprint) + event_value(catalog, CLOSED)[10:]
    assert Catalog(pipeline, tmp_path).event_reader(ACCOUNT, value[:10])(value) == (META, CLOSED)


def test_what_no_class_reads_any_more_is_named(tmp_path: Path, catalog: Catalog) -> None:
    gone = older(catalog, "Deposited", lambda schema: schema.update(name="Forgotten"))
    schema_files.export(tmp_path, [gone])
    with pytest.raises(ClassChanged, match=r"no class of SavingsAccount reads my_bank\.savings_account\.Forgotten"):
        Catalog(pipeline, tmp_path).event_reader(ACCOUNT, framing_prefix(gone.fingerprint))


def test_a_class_that_wants_what_was_not_written_is_named_with_the_field(tmp_path: Path, catalog: Catalog) -> None:
    was = older(catalog, "Deposited", lambda schema: schema["fields"].pop(1))
    schema_files.export(tmp_path, [was])
    with pytest.raises(ClassChanged, match=r"cannot be read as Deposited: \w+: .* has no default"):
        Catalog(pipeline, tmp_path).event_reader(ACCOUNT, framing_prefix(was.fingerprint))


def test_export_writes_what_is_missing_under_the_contracts_names(tmp_path: Path, catalog: Catalog) -> None:
    written = schema_files.export(tmp_path, catalog.schemas())
    assert len(written) == len(catalog.schemas()) == 9
    names = [path.relative_to(tmp_path).as_posix() for path in written]
    file = catalog.schemas()[0]
    assert f"my-bank/savings-account/Deposit.{file.fingerprint:016x}.avsc" in names
    assert any(name.startswith("eventsrc/Barrier.") for name in names)
    assert schema_files.export(tmp_path, catalog.schemas()) == []
    assert {f.fingerprint for f in schema_files.read_all(tmp_path)} == {f.fingerprint for f in catalog.schemas()}
    assert [f.kind for f in catalog.schemas()][:1] == ["command"]


def test_one_fingerprint_with_two_meanings_is_refused(tmp_path: Path, catalog: Catalog) -> None:
    def to_plain_long(schema: Any) -> None:
        schema["fields"][1]["type"] = "long"

    was = older(catalog, "Closed", to_plain_long)
    schema_files.export(tmp_path, [was])
    with pytest.raises(SchemaIncompatible) as refused:
        schema_files.export(tmp_path, catalog.schemas())
    assert "Closed.at: timestamp-micros in the code, no logical type" in refused.value.problems[0]
    assert len(list(tmp_path.rglob("*.avsc"))) == 1


def test_a_damaged_file_is_named(tmp_path: Path, catalog: Catalog) -> None:
    path = schema_files.export(tmp_path, catalog.schemas()[:1])[0]
    path.write_text(path.read_text().replace('"long"', '"int"'))
    with pytest.raises(InvalidSchema, match=r"Deposit\.[0-9a-f]{16}\.avsc: holds my_bank"):
        schema_files.read_all(tmp_path)
    path.write_text("{")
    with pytest.raises(InvalidSchema, match="not JSON"):
        schema_files.read_all(tmp_path)
    path.rename(path.with_name("Deposit.avsc"))
    with pytest.raises(InvalidSchema, match="a schema file is named"):
        Catalog(pipeline, tmp_path)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "record", "name": "R", "fields": [{"name": "f", "type": ["null", "R"]}]}, "recursive"),
        ({"type": "record", "name": "R"}, "without 'fields'"),
        ({"type": "record", "name": "R;import os", "fields": []}, "is not a name"),
        ({"type": "record", "name": "R", "fields": [{"name": "a b", "type": "int"}]}, "is named 'a b'"),
        ({"type": "enum", "name": "E", "symbols": ["A", "A"]}, "not distinct names"),
        ({"type": "fixed", "name": "F", "size": -1}, "has the size -1"),
        ({"type": "array", "items": "unheard"}, "'unheard' is not defined"),
        (["int", "int"], "two of a kind"),
        ([], "a union of 0 types"),
        (5, "not a schema"),
    ],
)
def test_what_is_no_schema_is_refused(schema: Any, message: str) -> None:
    with pytest.raises(InvalidSchema, match=message):
        parse(schema)


def test_a_schema_nested_too_deep_is_refused() -> None:
    schema: Any = "int"
    for _ in range(100):
        schema = {"type": "array", "items": schema}
    with pytest.raises(InvalidSchema, match="deep"):
        parse(schema)


@pytest.mark.parametrize(
    "other",
    [
        Field("money", DecimalScaled(3), Decimal("0.000")),  # the same bytes would be a tenth of it
        Field("money", Primitive("bytes"), b"\0"),
        Field("money", DecimalScaled(2), Decimal("1.00")),  # an aggregate begins with it
        Field("cash", DecimalScaled(2), Decimal("0.00")),
    ],
)
def test_a_state_of_other_types_or_defaults_has_another_fingerprint(other: Field) -> None:
    def fingerprint_with(field: Field) -> int:
        aggregate = replace(ACCOUNT, record=replace(ACCOUNT.record, fields=(field,)))
        return Catalog(pipeline, None).state_fingerprint(aggregate)

    money = Field("money", DecimalScaled(2), Decimal("0.00"))
    assert fingerprint_with(money) == fingerprint_with(money)
    assert fingerprint_with(other) != fingerprint_with(money)

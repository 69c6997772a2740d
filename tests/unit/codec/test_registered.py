"""Both framings in one catalog: what is written with a registry's ids, and what is read of it."""

from __future__ import annotations

from typing import Any

import pytest

from eventsrc.codec.catalog import Catalog
from eventsrc.codec.control import Barrier, Reply
from eventsrc.codec.framing import prefix_of, registry_prefix
from eventsrc.codec.metas import command_meta_alone
from eventsrc.codec.schema_files import SchemaFile
from eventsrc.errors import DecodingError, NotThisKind, UnknownSchema
from eventsrc.model.recorded import CommandMeta
from tests.unit.codec.app import ACCOUNT, VAULT, Close, Deposit, Deposited, pipeline
from tests.unit.codec.test_catalog import CLOSED, COMMAND_META, META


class Registered:
    """A registry that answers from memory; ids from 1 on, by content."""

    def __init__(self) -> None:
        self.schemas: dict[int, Any] = {}
        self.topics: dict[str, set[str]] = {}

    def id_for(self, topic: str, file: SchemaFile) -> int:
        self.topics.setdefault(topic, set()).add(file.node.name)
        number = next((known for known, schema in self.schemas.items() if schema == file.schema), len(self.schemas) + 1)
        self.schemas[number] = file.schema
        return number

    def schema_of(self, schema_id: int) -> Any | None:
        return self.schemas.get(schema_id)


@pytest.fixture
def registered() -> Registered:
    return Registered()


@pytest.fixture
def catalog(registered: Registered) -> Catalog:
    return Catalog(pipeline, None, registered)


def test_events_are_written_with_ids_and_read_in_both_framings(catalog: Catalog) -> None:
    plain = Catalog(pipeline, None)
    for event in (Deposited(5, "é", 2.5), CLOSED):
        value = catalog.event_writer(ACCOUNT, type(event))(*META, event)
        single = plain.event_writer(ACCOUNT, type(event))(*META, event)
        assert value[:1] == b"\0"
        assert value[5:] == single[10:]
        for each in (value, single):
            assert catalog.event_reader(ACCOUNT, prefix_of(each))(each) == (META, event)
            assert catalog.event_reader(ACCOUNT, each[:10])(each) == (META, event)


def test_commands_are_read_in_both_framings_with_one_body(catalog: Catalog) -> None:
    plain = Catalog(pipeline, None)
    value = catalog.command_writer(ACCOUNT, Deposit)(*COMMAND_META, Deposit(7))
    single = plain.command_writer(ACCOUNT, Deposit)(*COMMAND_META, Deposit(7))
    for each in (value, single):
        meta, body_start, command = catalog.command_reader(ACCOUNT, prefix_of(each))(each)
        assert (meta, command, each[body_start:]) == (COMMAND_META, Deposit(7), b"\x0e")
        assert catalog.deciding_reader(ACCOUNT, prefix_of(each))(each)[-1] == Deposit(7)
        assert command_meta_alone(each) == COMMAND_META
    assert catalog.fingerprint_named_by(prefix_of(value)) == catalog.fingerprint_named_by(prefix_of(single))


def test_ids_are_by_topic_and_record(catalog: Catalog, registered: Registered) -> None:
    catalog.event_writer(ACCOUNT, Deposited)
    catalog.event_writer(VAULT, Deposited)
    catalog.command_writer(ACCOUNT, Close)
    catalog.barrier_writer(ACCOUNT)
    catalog.reply_writer()
    assert registered.topics == {
        "my-bank.savings-account.events": {"my_bank.savings_account.Deposited", "eventsrc.Barrier"},
        "my-bank.vault.events": {"my_bank.vault.Deposited"},
        "my-bank.savings-account.commands": {"my_bank.savings_account.Close"},
        "my-bank.replies": {"eventsrc.Reply"},
    }


def test_control_records_are_written_with_ids_and_read(catalog: Catalog) -> None:
    barrier = Barrier("one", "bank-one", "host", "e", "c", 5, 7)
    reply = Reply(b"c" * 16, "ok", 3, [b"framed"], None, {"a": 1})
    for value, record in (
        (catalog.barrier_writer(ACCOUNT)(barrier), barrier),
        (catalog.reply_writer()(reply), reply),
    ):
        assert value[:1] == b"\0"
        assert catalog.control_reader(prefix_of(value))(value) == record


def test_an_id_that_the_registry_does_not_give_is_unknown_and_not_garbage(catalog: Catalog) -> None:
    value = registry_prefix(1234) + b"..."
    with pytest.raises(UnknownSchema, match="the registry's id 1234") as unknown:
        catalog.event_reader(ACCOUNT, prefix_of(value))
    assert unknown.value.fingerprint == value[1:5]


def test_what_is_registered_for_something_else_is_not_this_kind(catalog: Catalog, registered: Registered) -> None:
    of_vault = catalog.event_writer(VAULT, Deposited)(*META, Deposited(5))
    with pytest.raises(NotThisKind):
        catalog.event_reader(ACCOUNT, prefix_of(of_vault))
    registered.schemas[77] = "string"
    registered.schemas[78] = {"type": "record", "name": "Deposited", "namespace": "other", "fields": []}
    for number in (77, 78):
        with pytest.raises(NotThisKind):
            catalog.event_reader(ACCOUNT, registry_prefix(number))


def test_without_a_registry_its_framing_cannot_be_read(catalog: Catalog) -> None:
    value = catalog.event_writer(ACCOUNT, Deposited)(*META, Deposited(5))
    with pytest.raises(DecodingError, match="no schema registry is configured"):
        Catalog(pipeline, None).event_reader(ACCOUNT, prefix_of(value))


def test_an_older_schema_is_resolved_by_its_id(catalog: Catalog, registered: Registered) -> None:
    catalog.event_writer(ACCOUNT, Deposited)
    (schema,) = registered.schemas.values()
    older = {**schema, "fields": [field for field in schema["fields"] if field["name"] in ("meta", "amount")]}
    registered.schemas[9] = older
    written = catalog.event_writer(ACCOUNT, Deposited)(*META, Deposited(5, ""))
    body = written[5 : -(1 + 8)]  # without the note, a length of 0, and the rate
    value = registry_prefix(9) + body
    assert catalog.event_reader(ACCOUNT, prefix_of(value))(value) == (META, Deposited(5))


def test_a_command_cut_short_is_undecodable_in_both_framings(catalog: Catalog) -> None:
    value = catalog.command_writer(ACCOUNT, Deposit)(*CommandMeta(b"i" * 16, None, None, 5, None), Deposit(7))
    with pytest.raises(DecodingError):
        catalog.command_reader(ACCOUNT, prefix_of(value))(value[:-1])
    with pytest.raises(DecodingError):
        catalog.command_reader(ACCOUNT, prefix_of(value))(value + b"\0")

"""`check`: what the code cannot read of what files say was written, field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eventsrc.codec import schema_files
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.compatibility import check, missing
from eventsrc.codec.schema_files import schema_file
from tests.unit.codec.app import pipeline
from tests.unit.codec.test_catalog import older

CATALOG = Catalog(pipeline, None)


def problems(directory: Path, name: str, change: Any) -> list[str]:
    schema_files.export(directory, [older(CATALOG, name, change)])
    return [str(problem) for problem in check(pipeline, directory)]


def field(schema: Any, name: str) -> Any:
    return next(each for each in schema["fields"] if each["name"] == name)


def test_what_was_just_exported_fits_and_nothing_is_missing(tmp_path: Path) -> None:
    assert len(missing(pipeline, tmp_path)) == 9
    schema_files.export(tmp_path, CATALOG.schemas())
    assert check(pipeline, tmp_path) == []
    assert missing(pipeline, tmp_path) == []


def test_no_directory_at_all_fits(tmp_path: Path) -> None:
    assert check(pipeline, tmp_path / "schemas") == []


def test_older_writers_that_are_read_fit(tmp_path: Path) -> None:
    def change(schema: Any) -> None:
        field(schema, "rate")["type"] = "float"
        schema["fields"].append({"name": "removed", "type": {"type": "map", "values": "string"}})

    assert problems(tmp_path, "Deposited", change) == []


def drop(name: str) -> Any:
    return lambda schema: schema["fields"].remove(field(schema, name))


def retype(name: str, schema_type: Any) -> Any:
    return lambda schema: field(schema, name).update(type=schema_type)


def more_channels(schema: Any) -> None:
    field(schema, "channel")["type"] = {**field(schema, "channel")["type"], "symbols": ["WEB", "BRANCH", "POST"]}


def longer_address(schema: Any) -> None:
    address = field(schema, "address")["type"]
    field(schema, "address")["type"] = {**address, "fields": address["fields"][1:]}


def shorter_address(schema: Any) -> None:
    address = field(schema, "address")["type"]
    field(schema, "address")["type"] = {**address, "fields": address["fields"][:1]}


def other_scale(schema: Any) -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 3}
    field(schema, "fees").update(type={"type": "array", "items": decimal})


def other_scale_and_name(schema: Any) -> None:
    other_scale(schema)
    schema["fields"].append({"name": "extra", "type": "int"})


def rename_address(schema: Any) -> None:
    field(schema, "address")["type"] = {**field(schema, "address")["type"], "name": "Place"}


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("Deposited", drop("amount"), "Deposited.amount: the writer has no such field, and it has no default"),
        ("Deposited", retype("amount", "string"), "Deposited.amount: long where the writer has string"),
        ("Deposited", retype("amount", "double"), "Deposited.amount: long where the writer has double"),
        ("Deposited", retype("amount", ["null", "long"]), "Deposited.amount: long where the writer has null"),
        ("Closed", more_channels, "Closed.channel: what was written may hold POST"),
        ("Closed", longer_address, "Closed.address.street: the writer has no such field"),
        ("Closed", rename_address, "Closed.address: my_bank.savings_account.Closed.Address where the writer has"),
        ("Closed", other_scale, "Closed.fees.[]: decimal:2 in the code, decimal:3 in the file"),
        (
            "Closed",
            other_scale_and_name,
            "Closed.fees[items]: bytes (decimal:2) where the writer has bytes (decimal:3)",
        ),
        ("Closed", retype("at", {"type": "long", "logicalType": "timestamp-millis"}), "Closed.at: timestamp-micros"),
        ("Deposited", lambda schema: schema.update(name="Gone"), "Gone: no event of SavingsAccount has this name"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_path(tmp_path: Path, name: str, change: Any, expected: str) -> None:
    found = problems(tmp_path, name, change)
    assert len(found) == 1
    assert expected in found[0]
    assert found[0].startswith("my-bank/savings-account/")


def test_every_field_that_does_not_fit_is_listed(tmp_path: Path) -> None:
    def change(schema: Any) -> None:
        retype("amount", "string")(schema)
        retype("note", "long")(schema)

    assert len(problems(tmp_path, "Deposited", change)) == 2


def test_an_aggregate_that_is_gone_is_named_and_another_pipelines_is_not(tmp_path: Path) -> None:
    deposit = CATALOG.schemas()[0]
    for folder, namespace in (("my-bank/ledger", "my_bank.ledger"), ("shop/cart", "shop.cart")):
        schema = {**deposit.schema, "namespace": namespace}
        schema_files.export(tmp_path, [schema_file(folder, "Deposit", schema)])
    found = [str(problem) for problem in check(pipeline, tmp_path)]
    assert len(found) == 1
    assert "the pipeline has no aggregate 'ledger'" in found[0]


def redefault_rate(schema: Any) -> None:
    field(schema, "rate")["default"] = 2.0


def redefault_city(schema: Any) -> None:
    address = field(schema, "address")["type"]
    city = {**address["fields"][1], "default": "Bonn"}
    field(schema, "address")["type"] = {**address, "fields": [address["fields"][0], city]}


@pytest.mark.parametrize(
    ("name", "changed", "lacking", "expected"),
    [
        ("Deposited", redefault_rate, drop("rate"), "Deposited.rate: the default is 1.0 in the code, 2.0 in the file"),
        ("Closed", redefault_city, shorter_address, 'Closed.address.city: the default is "Berlin" in the code, "Bonn"'),
        ("Deposited", redefault_rate, drop("note"), None),
        ("Deposited", redefault_rate, None, None),
        ("Deposited", lambda schema: None, drop("rate"), None),
    ],
)
def test_a_default_that_old_events_are_read_by_stays(
    name: str, changed: Any, lacking: Any, expected: str | None, tmp_path: Path
) -> None:
    schema_files.export(tmp_path, [older(CATALOG, name, changed)])
    found = problems(tmp_path, name, lacking) if lacking is not None else check(pipeline, tmp_path)
    assert len(found) == (expected is not None)
    assert expected is None or expected in str(found[0])

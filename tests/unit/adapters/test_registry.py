"""The registry's adapter without a registry: addresses, what is kept on disk, who waits for whom."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from eventsrc.adapters.registry import schemas as asking
from eventsrc.adapters.registry.cache import SchemaCache
from eventsrc.adapters.registry.client import RegistryClient
from eventsrc.adapters.registry.schemas import RegistrySchemas, subject_of
from eventsrc.codec.schema_files import SchemaFile, schema_file
from eventsrc.errors import InvalidSettings, SchemaIncompatible, Unreachable
from eventsrc.runtime.settings import Settings
from tests.harness.collect import wait_until

SCHEMA = {"type": "record", "name": "Deposited", "namespace": "bank.account", "fields": []}
FILE: SchemaFile = schema_file("bank/account", "Deposited", SCHEMA)
TOPIC = "bank.account.events"


class FakeRegistry:
    """Ids from 1 on. `away`: nobody answers; `held`: an answer comes when it is set."""

    def __init__(self) -> None:
        self.schemas: dict[int, Any] = {}
        self.asked = 0
        self.away = False
        self.held = threading.Event()
        self.held.set()

    def register(self, subject: str, schema: Any) -> int:
        self._answer()
        self.schemas[len(self.schemas) + 1] = schema
        return len(self.schemas)

    def schema(self, schema_id: int) -> Any | None:
        self._answer()
        return self.schemas.get(schema_id)

    def _answer(self) -> None:
        self.asked += 1
        self.held.wait(60)
        if self.away:
            raise Unreachable("the schema registry does not answer")


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def schemas(registry: FakeRegistry, tmp_path: Path) -> RegistrySchemas:
    return RegistrySchemas(registry, SchemaCache(tmp_path, "http://registry"), wait_s=5)


def test_a_schema_is_registered_once_and_then_known_without_the_registry(
    registry: FakeRegistry, schemas: RegistrySchemas, tmp_path: Path
) -> None:
    assert subject_of(TOPIC, FILE) == "bank.account.events-bank.account.Deposited"
    assert schemas.id_for(TOPIC, FILE) == 1
    registry.away = True
    again = RegistrySchemas(registry, SchemaCache(tmp_path, "http://registry"), wait_s=5)
    assert again.id_for(TOPIC, FILE) == 1
    assert again.schema_of(1) == SCHEMA
    assert registry.asked == 1
    with pytest.raises(Unreachable):
        again.id_for("bank.account.commands", FILE)
    other = RegistrySchemas(registry, SchemaCache(tmp_path, "http://another"), wait_s=5)
    with pytest.raises(Unreachable):
        other.id_for(TOPIC, FILE)


def test_a_schema_by_id_is_asked_for_once_and_kept_on_disk(
    registry: FakeRegistry, schemas: RegistrySchemas, tmp_path: Path
) -> None:
    registry.schemas[7] = SCHEMA
    assert schemas.schema_of(7) == SCHEMA
    assert schemas.schema_of(7) == SCHEMA
    assert RegistrySchemas(registry, SchemaCache(tmp_path, "http://registry"), wait_s=5).schema_of(7) == SCHEMA
    assert registry.asked == 1


def test_a_damaged_file_of_the_cache_is_asked_for_again(
    registry: FakeRegistry, schemas: RegistrySchemas, tmp_path: Path
) -> None:
    registry.schemas[7] = SCHEMA
    cache = SchemaCache(tmp_path, "http://registry")
    cache.keep_schema(7, SCHEMA)
    (cache.directory / "7.avsc").write_text("{ half")
    assert schemas.schema_of(7) == SCHEMA
    assert cache.schema(7) == SCHEMA


def test_a_registry_that_is_away_is_asked_again_later(
    registry: FakeRegistry, schemas: RegistrySchemas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ASK_AGAIN_S", 600.0)
    registry.schemas[7] = SCHEMA
    registry.away = True
    assert schemas.schema_of(7) is None
    assert schemas.schema_of(7) is None
    assert registry.asked == 1  # not for every record
    registry.away = False
    monkeypatch.setattr(asking, "ASK_AGAIN_S", 0.2)
    wait_until(lambda: schemas.schema_of(7) is not None, 30, "it is asked again")


def test_a_loop_is_not_held_up_by_a_registry_that_does_not_answer(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.held.clear()
    registry.schemas[7] = SCHEMA
    schemas = RegistrySchemas(registry, SchemaCache(tmp_path, "http://registry"), wait_s=0.1)
    began_s = time.monotonic()
    for _ in range(1_000):
        assert schemas.schema_of(7) is None
    assert time.monotonic() - began_s < 30  # where it waits each time: 100
    assert registry.asked == 1
    registry.held.set()
    wait_until(lambda: schemas.schema_of(7) is not None, 30, "the answer has come")


def test_credentials_never_stand_in_an_address_or_an_error() -> None:
    client = RegistryClient("http://me:hun%40ter2@127.0.0.1:1/path/", None)
    assert client.address == "http://127.0.0.1:1/path"
    with pytest.raises(Unreachable) as away:
        client.register("subject", SCHEMA)
    shown = Settings(schema_registry_url="http://me:hunter2@host", schema_registry_auth="me:hunter2")
    for text in (str(away.value), repr(away.value.__cause__), repr(shown)):
        assert "hun" not in text
    with pytest.raises(InvalidSettings) as twice:
        RegistryClient("http://me:hunter2@host", "me:hunter2")
    assert "hunter2" not in str(twice.value)


@pytest.mark.parametrize("url", ["", "host:8081", "ftp://host", "http://", "http://host:port", "http://[", "mock://x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="SCHEMA_REGISTRY_URL must be"):
        RegistryClient(url, None)


def test_credentials_without_a_password_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="user:password"):
        RegistryClient("http://host", "token")


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka.schema_registry", None)  # its import fails
    with pytest.raises(InvalidSettings, match=r"eventsrc\[registry\]"):
        RegistryClient("http://127.0.0.1:1", None).schema(1)


@pytest.mark.parametrize(("status", "kind"), [(409, SchemaIncompatible), (422, SchemaIncompatible), (500, Unreachable)])
def test_what_the_registry_answers_becomes_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception]
) -> None:
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    def refuses(*_: Any, **__: Any) -> Any:
        raise SchemaRegistryError(status, status, "the registry's words")

    monkeypatch.setattr(SchemaRegistryClient, "register_schema", refuses)
    with pytest.raises(kind) as refused:
        RegistryClient("http://127.0.0.1:1", None).register("subject", SCHEMA)
    assert "the registry's words" in f"{refused.value} {getattr(refused.value, 'problems', '')}"

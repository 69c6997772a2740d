"""Where settings come from, in which order, and that secrets are never shown."""

from __future__ import annotations

import fcntl
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eventsrc.adapters.kafka.config import PROTECTED, client_config
from eventsrc.errors import InvalidSettings, Unreachable
from eventsrc.runtime.client import _client_settings
from eventsrc.runtime.running_stack import find_running_stack
from eventsrc.runtime.secrets import mask_address
from eventsrc.runtime.settings import Settings, parse_kafka_settings


def write_sources(directory: Path) -> None:
    (directory / ".env").write_text(
        "# comment\nexport EVENTSRC_LOG_LEVEL='debug'\nDATABASE_URL=\"postgresql://env/file\"\nEVENTSRC_STATE_DIR=dotenv # x\n"
    )
    (directory / "pyproject.toml").write_text(
        '[tool.eventsrc]\napp = "bank:pipeline"\nstate-dir = "toml"\nschemas_dir = "avro"\nlog_level = "error"\n'
        'bootstrap_servers = "toml:1"\n[tool.eventsrc.kafka]\n"socket.keepalive.enable" = true\n"linger.ms" = 5\n'
    )


def test_flags_win_over_environment_over_dotenv_over_pyproject(tmp_path: Path) -> None:
    write_sources(tmp_path)
    environ = {"EVENTSRC_STATE_DIR": "environment", "EVENTSRC_KAFKA_LINGER_MS": "7"}
    settings = Settings.resolve({"bootstrap_servers": "flag:1", "log_level": None}, environ, tmp_path)
    assert settings.bootstrap_servers == "flag:1"
    assert settings.state_dir == tmp_path / "environment"
    assert settings.log_level == "debug"
    assert settings.database_url == "postgresql://env/file"
    assert settings.schemas_dir == tmp_path / "avro"
    assert settings.app == "bank:pipeline"
    assert dict(settings.kafka) == {"socket.keepalive.enable": "true", "linger.ms": "7"}


@pytest.mark.parametrize(
    ("variable", "field"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "bootstrap_servers"),
        ("DATABASE_URL", "database_url"),
        ("SCHEMA_REGISTRY_URL", "schema_registry_url"),
    ],
)
def test_plain_names_are_honoured_after_ours(variable: str, field: str, tmp_path: Path) -> None:
    assert getattr(Settings.resolve({}, {variable: "plain"}, tmp_path), field) == "plain"
    both = {variable: "plain", f"EVENTSRC_{field.upper()}": "ours"}
    assert getattr(Settings.resolve({}, both, tmp_path), field) == "ours"


def test_without_any_source_there_are_defaults_and_no_addresses(tmp_path: Path) -> None:
    settings = Settings.resolve({}, {}, tmp_path)
    assert (settings.bootstrap_servers, settings.database_url, settings.app) == (None, None, None)
    assert (settings.state_dir, settings.schemas_dir, settings.log_level) == (
        Path(".eventsrc"),
        Path("schemas"),
        "info",
    )
    with pytest.raises(Unreachable, match="eventsrc dev"):
        settings.require_bootstrap_servers()


@pytest.mark.parametrize("name", ["bootstrap.servers", "metadata.broker.list"])
def test_an_address_within_the_kafka_settings_counts_as_its_source_does(name: str, tmp_path: Path) -> None:
    within = {"kafka": {name: "here:9092"}}
    variable = f"EVENTSRC_KAFKA_{name.upper().replace('.', '_')}"
    for flags, environ, address in (
        (within, {}, "here:9092"),
        (within, {"KAFKA_BOOTSTRAP_SERVERS": "lower:9092"}, "here:9092"),
        ({"bootstrap_servers": "asked:9092"}, {variable: "lower:9092"}, "asked:9092"),
    ):
        settings = Settings.resolve(flags, environ, tmp_path)
        assert settings.require_bootstrap_servers() == address
        assert client_config(settings.require_bootstrap_servers(), settings.kafka)["bootstrap.servers"] == address
        assert name == "bootstrap.servers" or name not in client_config(address, {name: "another"})


def test_a_client_asks_the_address_that_it_was_given(tmp_path: Path) -> None:
    given = replace(Settings.resolve({}, {}, tmp_path), kafka={"bootstrap.servers": "lower:9092", "client.id": "x"})
    made = _client_settings("asked:9092", given, {})
    assert (made.bootstrap_servers, dict(made.kafka)) == ("asked:9092", {"client.id": "x"})
    assert _client_settings(None, given, {}).bootstrap_servers == "lower:9092"
    assert _client_settings(None, given, {"bootstrap_servers": "own:9092"}).bootstrap_servers == "own:9092"


def test_a_mark_at_the_beginning_of_a_file_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfKAFKA_BOOTSTRAP_SERVERS=here:9092\n")
    assert Settings.resolve({}, {}, tmp_path).bootstrap_servers == "here:9092"


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[tool.eventsrc]\nbootstrap = 'x'", "no setting is called 'bootstrap'"),
        ("[tool.eventsrc]\nlog_level = 'loud'", "log_level must be one of"),
        ("[tool.eventsrc]\nstate_dir = 5", "state_dir must be a path"),
        ("[tool.eventsrc]\napp = ''", "app must be text"),
        ("[tool.eventsrc]\nkafka = 'x'", "must be a table"),
        ("[tool]\neventsrc = 1", "must be a table"),
        ("[tool.eventsrc", "cannot be read"),
    ],
)
def test_a_wrong_pyproject_is_named(toml: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(toml)
    with pytest.raises(InvalidSettings, match=message) as caught:
        Settings.resolve({}, {}, tmp_path)
    assert str(tmp_path / "pyproject.toml") in str(caught.value)


@pytest.mark.parametrize("name", sorted(PROTECTED))
def test_protected_settings_are_refused_with_a_reason_from_every_source(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=f"{name} cannot be changed: .+"):
        parse_kafka_settings([f"{name}=x"])
    variable = "EVENTSRC_KAFKA_" + name.upper().replace(".", "_")
    with pytest.raises(InvalidSettings, match=f"{name} cannot be changed"):
        Settings.resolve({}, {variable: "x"}, tmp_path)


def test_kafka_settings_are_split_at_the_first_equals_sign() -> None:
    assert parse_kafka_settings(["a.b=c=d", "empty="]) == {"a.b": "c=d", "empty": ""}


@pytest.mark.parametrize("pair", ["nothing", "=x", " =x"])
def test_a_malformed_kafka_setting_is_refused_without_repeating_it(pair: str) -> None:
    with pytest.raises(InvalidSettings, match="key=value") as caught:
        parse_kafka_settings([pair])
    assert "nothing" not in str(caught.value)


def test_the_repr_shows_no_secret() -> None:
    secrets = {
        "sasl.password": "S1",
        "ssl.key.password": "S2",
        "ssl.key.pem": "S3",
        "sasl.oauthbearer.client.secret": "S4",
    }
    settings = Settings(
        database_url="postgresql://me:S5@host/db?sslpassword=S6",
        schema_registry_url="https://key:S7@registry",
        kafka={**secrets, "sasl.username": "me"},
    )
    shown = repr(settings)
    assert not [secret for secret in ("S1", "S2", "S3", "S4", "S5", "S6", "S7") if secret in shown]
    assert "'sasl.username': 'me'" in shown


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("host=h user=u password=p dbname=d", "host=h user=u password=*** dbname=d"),
        ("host=h password='a b\\' c' user=u", "host=h password=*** user=u"),
        ("postgresql://u:p@ss:w@h:5/d", "postgresql://u:***@h:5/d"),
        ("postgresql://h:5/d", "postgresql://h:5/d"),
        ("postgresql://u@h:5/d", "postgresql://u@h:5/d"),
    ],
)
def test_addresses_are_masked(address: str, masked: str) -> None:
    assert mask_address(address) == masked


def a_stack(state_dir: Path, supervisor: int) -> None:
    (state_dir / "stack").mkdir(parents=True)
    (state_dir / "stack" / "lock").write_text(str(os.getpid()))
    record: dict[str, Any] = {
        "supervisor": supervisor,
        "kafka": {"address": "127.0.0.1:17000"},
        "postgres": {"address": "postgresql:///stack"},
    }
    (state_dir / "stack" / "stack.json").write_text(json.dumps(record))


def test_a_running_stack_gives_the_addresses_that_are_missing(tmp_path: Path) -> None:
    a_stack(tmp_path / ".eventsrc", os.getpid())
    with (tmp_path / ".eventsrc" / "stack" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        settings = Settings.resolve({"state_dir": ".eventsrc", "database_url": "postgresql://mine"}, {}, tmp_path)
    assert (settings.bootstrap_servers, settings.database_url) == ("127.0.0.1:17000", "postgresql://mine")


def test_a_stack_that_is_gone_or_not_ready_gives_nothing(tmp_path: Path) -> None:
    a_stack(tmp_path / "gone", os.getpid())
    assert find_running_stack(tmp_path / "gone") is None
    a_stack(tmp_path / "restarting", os.getpid() + 1)
    with (tmp_path / "restarting" / "stack" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert find_running_stack(tmp_path / "restarting") is None
    assert find_running_stack(tmp_path / "never") is None


def test_where_probes_are_served_is_an_address_from_any_source(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.eventsrc]\nhttp = 9100\nlog-format = 'JSON'\n")
    found = Settings.resolve({}, {"EVENTSRC_HTTP_TOKEN": "let-me-in"}, tmp_path)
    assert (found.http, found.log_format, found.http_token) == ("9100", "json", "let-me-in")
    assert Settings.resolve({"http": "web:1"}, {"EVENTSRC_HTTP": "2"}, tmp_path).http == "web:1"
    assert "let-me-in" not in repr(found)
    assert "let-me-in" in found.secrets
    assert "EVENTSRC_HTTP" not in found.in_environment()
    assert found.in_environment()["EVENTSRC_LOG_FORMAT"] == "json"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"EVENTSRC_HTTP": "nowhere"}, "the environment: http: 'nowhere' is no"),
        ({"EVENTSRC_LOG_FORMAT": "xml"}, "log_format must be one of json, text"),
    ],
)
def test_an_address_or_a_form_that_is_none_is_refused_with_its_source(
    environ: dict[str, str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSettings, match=re.escape(words)):
        Settings.resolve({}, environ, tmp_path)


def test_a_setting_with_an_underscore_of_its_own_reaches_child_processes(tmp_path: Path) -> None:
    given = Settings.resolve({"kafka": {"log_level": "6", "client.id": "x"}}, {}, tmp_path)
    assert dict(Settings.resolve({}, given.in_environment(), tmp_path).kafka) == {"log_level": "6", "client.id": "x"}
    assert _client_settings(None, Settings(), {"log_level": 6}).kafka == {"log_level": "6"}

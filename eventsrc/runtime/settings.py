"""Where a process finds its servers and directories: flag, environment, `.env`, pyproject, in this order.

Imported on the worker's way to the group join, so it stays on the standard library. Knows nothing of pipelines: what
belongs to an application's own code is in its `Pipeline`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from eventsrc.adapters.kafka.config import ADDRESSES, PROTECTED, without_address
from eventsrc.codes import Refusal
from eventsrc.errors import InvalidSettings, Unreachable
from eventsrc.runtime.http_address import HttpAddress
from eventsrc.runtime.running_stack import find_running_stack
from eventsrc.runtime.secrets import MASK, is_secret, mask_address, mask_settings, secrets_within

_Value = TypeVar("_Value")

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")

# The names that other tools already use, honoured after `EVENTSRC_...` of the same source.
_PLAIN_NAMES = {
    "bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS",
    "database_url": "DATABASE_URL",
    "schema_registry_url": "SCHEMA_REGISTRY_URL",
}
_CHOICES = {"log_level": LOG_LEVELS, "log_format": LOG_FORMATS}
_KAFKA_PREFIX = "EVENTSRC_KAFKA_"

_PROTECTED_REASONS = {
    "group.id": "the group is the pipeline's: set group_id on the Pipeline",
    "group.instance.id": "use --instance-id, which also locks it on this host",
    "transactional.id": "it is derived from the instance id, and fencing hangs on it",
    "partitioner": "a command found on another partition than Java's murmur2 gives is dead-lettered",
    "acks": "an acknowledged command must be on every in-sync replica",
    "isolation.level": "events of aborted transactions must never be seen",
    "auto.offset.reset": "a jump to the log's end would skip commands",
}


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """What a worker, a client or a command needs to know about its surroundings.

    Absent addresses are None; `kafka` holds the user's own librdkafka settings; `http` is `[HOST:]PORT`, where probes and
    metrics are served, and `http_token` what other machines must bear to read them. The repr masks secrets.
    """

    app: str | None = None
    bootstrap_servers: str | None = None
    database_url: str | None = None
    schema_registry_url: str | None = None
    schema_registry_auth: str | None = None
    state_dir: Path = Path(".eventsrc")
    schemas_dir: Path = Path("schemas")
    instance_id: str | None = None
    kafka: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    log_level: str = "info"
    log_format: str = "text"
    http: str | None = None
    http_token: str | None = None

    @classmethod
    def resolve(
        cls,
        flags: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Settings:
        """Settings from every source. `flags` has the field names; None there means not given.

        Paths are taken from `cwd`. A local stack running in the state directory gives the addresses that no source
        names. Raises `InvalidSettings`, naming the source.
        """
        environ = os.environ if environ is None else environ
        cwd = Path.cwd() if cwd is None else cwd
        sources = [
            ("the command line", {name: value for name, value in (flags or {}).items() if value is not None}),
            ("the environment", _from_variables(environ)),
            (str(cwd / ".env"), _from_variables(_read_dotenv(cwd / ".env"))),
            (str(cwd / "pyproject.toml"), _from_pyproject(cwd / "pyproject.toml")),
        ]
        known = {each.name for each in fields(cls)}
        values: dict[str, Any] = {}
        for source, found in sources:
            for name, value in found.items():
                if name not in known:
                    raise InvalidSettings(f"{source}: no setting is called {name!r}; there are {_listed(known)}")
                if name != "kafka":
                    values.setdefault(name, _checked(name, value, cwd, source))
            if address := address_within(found.get("kafka", {})):
                values.setdefault("bootstrap_servers", address)
        values["kafka"] = MappingProxyType(_merged_kafka(sources))
        return cls(**values)._with_running_stack()

    def require_bootstrap_servers(self) -> str:
        """The address of Kafka. Raises `Unreachable` where no source names one."""
        if self.bootstrap_servers is None:
            raise Unreachable(
                f"no Kafka address is given and no local stack runs in {self.state_dir}: "
                "start one with `eventsrc dev`, or set KAFKA_BOOTSTRAP_SERVERS",
                Refusal.ADDRESS_MISSING,
            )
        return self.bootstrap_servers

    def require_database_url(self) -> str:
        """The address of Postgres. Raises `Unreachable` where no source names one."""
        if self.database_url is None:
            raise Unreachable(
                f"no Postgres address is given and no local stack runs in {self.state_dir}: "
                "start one with `eventsrc dev`, or set DATABASE_URL",
                Refusal.ADDRESS_MISSING,
            )
        return self.database_url

    @property
    def secrets(self) -> list[str]:
        """What must stand in no line that is printed."""
        found = [value for name, value in self.kafka.items() if is_secret(name)]
        found += secrets_within(self.database_url) + secrets_within(self.schema_registry_url)
        found += [self.schema_registry_auth] if self.schema_registry_auth else []
        return [*found, self.http_token] if self.http_token else found

    def in_environment(self) -> dict[str, str]:
        """As the environment gives them to a child process: secrets stay out of the process list. The application and
        the instance id are not among them, nor the address of probes, which is the parent's."""
        addresses = ("bootstrap_servers", "database_url", "schema_registry_url", "schema_registry_auth")
        names = (*addresses, "state_dir", "schemas_dir", "log_level", "log_format")
        given = {name: getattr(self, name) for name in names}
        return {f"EVENTSRC_{name.upper()}": str(value) for name, value in given.items() if value is not None} | {
            f"{_KAFKA_PREFIX}{name.upper().replace('.', '_')}": value for name, value in self.kafka.items()
        }

    def _with_running_stack(self) -> Settings:
        if self.bootstrap_servers is not None and self.database_url is not None:
            return self
        stack = find_running_stack(self.state_dir)
        if stack is None:
            return self
        return replace(
            self,
            bootstrap_servers=self.bootstrap_servers or stack.bootstrap_servers,
            database_url=self.database_url or stack.database_url,
        )

    def __repr__(self) -> str:
        shown: dict[str, object] = {each.name: getattr(self, each.name) for each in fields(self)}
        for name in ("database_url", "schema_registry_url"):
            if isinstance(address := shown[name], str):
                shown[name] = mask_address(address)
        if self.schema_registry_auth is not None:
            shown["schema_registry_auth"] = MASK
        shown["kafka"] = mask_settings(self.kafka)
        shown["http_token"] = self.http_token and MASK
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def parse_kafka_settings(pairs: Iterable[str]) -> dict[str, str]:
    """`key=value` words (`-X`) as a mapping. Raises `InvalidSettings` for a malformed or a protected one."""
    parsed: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise InvalidSettings("-X wants key=value, for example -X socket.keepalive.enable=true")
        parsed[name.strip()] = value
    refuse_protected(parsed)
    return parsed


def refuse_protected(kafka: Mapping[str, object]) -> None:
    """Raises `InvalidSettings` if one of these librdkafka settings is not the user's to change."""
    for name in kafka:
        if name in PROTECTED:
            reason = _PROTECTED_REASONS.get(name, "exactly-once processing rests on its value")
            raise InvalidSettings(f"the Kafka setting {name} cannot be changed: {reason}", Refusal.SETTING_PROTECTED)


def _checked(name: str, value: Any, cwd: Path, source: str) -> Any:
    if name in ("state_dir", "schemas_dir"):
        if not isinstance(value, str | Path) or not str(value):
            raise InvalidSettings(f"{source}: {name} must be a path, not {value!r}")
        return cwd / Path(value).expanduser()
    if name == "http" and type(value) is int:
        value = str(value)  # a port alone is a number in TOML
    if not isinstance(value, str) or not value.strip():
        raise InvalidSettings(f"{source}: {name} must be text that is not empty")
    if name == "http":
        _check_http(value, source)
    choices = _CHOICES.get(name)
    if choices is not None and value.lower() not in choices:
        raise InvalidSettings(f"{source}: {name} must be one of {_listed(choices)}, not {value!r}")
    return value if choices is None else value.lower()


def _check_http(value: str, source: str) -> None:
    try:
        HttpAddress.parse(value)
    except InvalidSettings as wrong:
        raise InvalidSettings(f"{source}: http: {wrong}") from None


def _merged_kafka(sources: list[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for source, found in reversed(sources):
        table = found.get("kafka", {})
        if not isinstance(table, Mapping):
            raise InvalidSettings(f"{source}: kafka must be a table of librdkafka settings")
        merged.update({name: kafka_text(value) for name, value in table.items()})
    refuse_protected(merged)
    return without_address(merged)  # else it would stand above one that a higher source has


def librdkafka_name(name: str) -> str:
    """The setting that a variable or a keyword names, where a dot cannot stand. One has an underscore of its own."""
    dotted = name.lower().replace("_", ".")
    return "log_level" if dotted == "log.level" else dotted


def kafka_text(value: object) -> str:
    """A value as librdkafka's configuration writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def address_within(kafka: Any) -> str | None:
    """Kafka's address among librdkafka's own settings of one source: as good as that source's `bootstrap_servers`."""
    return next((kafka[name] for name in ADDRESSES if kafka.get(name)), None) if isinstance(kafka, Mapping) else None


def _from_variables(variables: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in fields(Settings):
        value = variables.get(f"EVENTSRC_{each.name.upper()}") or variables.get(_PLAIN_NAMES.get(each.name, ""))
        if value and each.name != "kafka":
            found[each.name] = value
    found["kafka"] = {
        librdkafka_name(name.removeprefix(_KAFKA_PREFIX)): value
        for name, value in variables.items()
        if name.startswith(_KAFKA_PREFIX)
    }
    return found


def _from_pyproject(path: Path) -> dict[str, Any]:
    def parse(text: str) -> dict[str, Any]:
        import tomllib

        table = tomllib.loads(text).get("tool", {}).get("eventsrc", {})
        if not isinstance(table, dict):
            raise InvalidSettings(f"{path}: tool.eventsrc must be a table")
        return {name.replace("-", "_"): value for name, value in table.items()}

    return _read_optional(path, parse)


def _read_dotenv(path: Path) -> dict[str, str]:
    return _read_optional(path, _parse_dotenv)


def _read_optional(path: Path, parse: Callable[[str], dict[str, _Value]]) -> dict[str, _Value]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin with a mark that is no part of it
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path} cannot be read: {error}") from error
    try:
        return parse(text)
    except InvalidSettings:
        raise
    except ValueError as error:
        raise InvalidSettings(f"{path} cannot be read: {error}") from error


def _parse_dotenv(text: str) -> dict[str, str]:
    """`NAME=value` lines; `export` before, quotes around the value, and comments are allowed."""
    variables: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if not equals or name.startswith("#"):
            continue
        variables[name.strip()] = _unquoted(value.strip())
    return variables


def _unquoted(value: str) -> str:
    if value[:1] in ("'", '"') and (end := value.find(value[0], 1)) > 0:
        return value[1:end]
    return value.partition(" #")[0].rstrip()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))

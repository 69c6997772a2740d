"""The schema registry's HTTP, by the client library that goes with Confluent's: registering, and schemas by id.

The library is an extra, and takes as long to import as the rest of a worker: nothing here is imported before something
must be asked.
"""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from eventsrc.errors import EventsrcError, InvalidSettings, NotAuthorized, SchemaIncompatible, Unreachable

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

TIMEOUT_S = 5.0

_NOT_FOUND = frozenset({404})
_REFUSED = frozenset({401, 403})
_INCOMPATIBLE = frozenset({409, 422})


class RegistryClient:
    """`address` never shows the credentials, which may stand in `url` or be given as `auth` (`user:password`)."""

    def __init__(self, url: str, auth: str | None) -> None:
        """Raises `InvalidSettings`."""
        self.address, self._auth = _split(url, auth)

    def register(self, subject: str, schema: Any) -> int:
        """The id. Safe to repeat. Raises `SchemaIncompatible`, `NotAuthorized`, `Unreachable`, `InvalidSettings`."""
        library = _library()
        try:
            with self._connected(library) as client:
                return int(client.register_schema(subject, library.Schema(json.dumps(schema), "AVRO")))
        except Exception as failure:
            raise self._translated(failure, f"registering {subject}") from failure

    def schema(self, schema_id: int) -> Any | None:
        """None where the registry has none of that id. Raises `NotAuthorized`, `Unreachable`, `InvalidSettings`."""
        library = _library()
        try:
            with self._connected(library) as client:
                return json.loads(client.get_schema(schema_id).schema_str or "null")
        except Exception as failure:
            if _status(failure) in _NOT_FOUND:
                return None
            raise self._translated(failure, f"asking for the schema {schema_id}") from failure

    def _connected(self, library: Any) -> SchemaRegistryClient:
        """For one question, after which its connection is closed: a few are asked in a process's life."""
        config: dict[str, Any] = {"url": self.address, "timeout": TIMEOUT_S, "max.retries": 0}
        if self._auth is not None:
            config["basic.auth.user.info"] = self._auth
        client: SchemaRegistryClient = library.SchemaRegistryClient(config)
        return client

    def _translated(self, failure: Exception, what: str) -> EventsrcError:
        status = _status(failure)
        if status in _INCOMPATIBLE:
            return SchemaIncompatible(
                f"the schema registry at {self.address} refuses a schema, {what}",
                [f"{_said(failure)}; compare with `eventsrc schema check`, or change the subject's compatibility"],
            )
        if status in _REFUSED:
            return NotAuthorized(
                f"the schema registry at {self.address} refuses this user, {what}: {_said(failure)}",
                [
                    "check the user and password in SCHEMA_REGISTRY_URL or EVENTSRC_SCHEMA_REGISTRY_AUTH, and their rights"
                ],
            )
        return Unreachable(
            f"the schema registry at {self.address} does not answer, {what}: {_said(failure)}. Check SCHEMA_REGISTRY_URL"
        )


def _library() -> Any:
    try:
        return importlib.import_module("confluent_kafka.schema_registry")
    except ImportError as missing:
        raise InvalidSettings(
            f"SCHEMA_REGISTRY_URL is set, and the registry's client is not installed ({missing}): "
            "pip install 'eventsrc[registry]', or unset it"
        ) from missing


def _split(url: str, auth: str | None) -> tuple[str, str | None]:
    """The address without credentials, and these."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or parts.scheme not in ("http", "https"):
        raise InvalidSettings("SCHEMA_REGISTRY_URL must be http://host:port or https://host:port, of one registry")
    if parts.username is not None:
        if auth is not None:
            raise InvalidSettings(
                "the registry's credentials stand in SCHEMA_REGISTRY_URL and in EVENTSRC_SCHEMA_REGISTRY_AUTH"
            )
        auth = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    elif auth is not None and ":" not in auth:
        raise InvalidSettings("EVENTSRC_SCHEMA_REGISTRY_AUTH must be user:password")
    bracketed = f"[{host}]" if ":" in host else host
    place = bracketed if port is None else f"{bracketed}:{port}"
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", "")), auth


def _status(failure: Exception) -> int | None:
    status = getattr(failure, "http_status_code", None)
    return status if isinstance(status, int) and status > 0 else None


def _said(failure: Exception) -> str:
    return str(getattr(failure, "error_message", None) or failure or type(failure).__name__)

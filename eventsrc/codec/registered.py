"""What a catalog asks of a schema registry. Who answers, and how, is an adapter's."""

from __future__ import annotations

from typing import Protocol

from eventsrc.codec.schema import Json
from eventsrc.codec.schema_files import SchemaFile


class RegisteredSchemas(Protocol):
    """From any thread."""

    def schema_of(self, schema_id: int) -> Json | None:
        """The schema of that id; None where the registry knows none, or does not answer: ask again later."""

    def id_for(self, topic: str, file: SchemaFile) -> int:
        """The id by which records of this schema are written to that topic. Registers it where it is not yet.

        Raises `Unreachable`, `NotAuthorized`; `SchemaIncompatible` where the registry refuses it."""

"""What a registry once said, on disk: schemas by id, and the ids of what was registered. Neither ever changes in a registry.

Files appear whole or not at all; whoever deletes the directory loses nothing but time. Knows no HTTP.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any


class SchemaCache:
    """Of one registry, below a state directory: each address has a directory of its own. Safe for several processes."""

    def __init__(self, state_dir: Path, address: str) -> None:
        self.directory = state_dir / "registry" / hashlib.sha256(address.encode()).hexdigest()[:16]

    def schema(self, schema_id: int) -> Any | None:
        """None where it is not known here."""
        with contextlib.suppress(OSError, ValueError):  # a damaged file: ask the registry again
            return json.loads((self.directory / f"{schema_id}.avsc").read_text(encoding="utf-8"))
        return None

    def id_of(self, subject: str, schema: Any) -> int | None:
        """None where it is not known here that this very schema is registered under the subject."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.directory / _registered(subject, schema)).read_text(encoding="ascii"))
        return None

    def keep_schema(self, schema_id: int, schema: Any) -> None:
        self._write(f"{schema_id}.avsc", json.dumps(schema))

    def keep_id(self, subject: str, schema: Any, schema_id: int) -> None:
        self.keep_schema(schema_id, schema)
        self._write(_registered(subject, schema), str(schema_id))

    def _write(self, name: str, text: str) -> None:
        with contextlib.suppress(OSError):  # a cache that cannot be written costs a question at the next start
            self.directory.mkdir(parents=True, exist_ok=True)
            draft = self.directory / f".{name}.{os.getpid()}.tmp"
            draft.write_text(text, encoding="utf-8")
            draft.replace(self.directory / name)


def _registered(subject: str, schema: Any) -> str:
    digest = hashlib.sha256(f"{subject}\0{json.dumps(schema)}".encode()).hexdigest()[:32]
    return f"{digest}.id"

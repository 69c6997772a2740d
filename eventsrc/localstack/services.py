"""What a local stack tells about itself, and the file it is told in. Must not know processes' lives."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Service:
    """One server: where it is reached, and what a person wants to see of it."""

    address: str
    """Bootstrap servers, or a database URL."""
    origin: str
    """`given`, `shared` (another command's stack) or `started`."""
    version: str | None = None
    ready_s: float | None = None
    """How long its start took."""
    directory: str | None = None


@dataclass(frozen=True, slots=True)
class Services:
    kafka: Service | None
    postgres: Service | None

    def in_environment(self) -> dict[str, str]:
        """The environment variables that pass these addresses to another process."""
        variables = {}
        if self.kafka is not None:
            variables["EVENTSRC_BOOTSTRAP_SERVERS"] = self.kafka.address
        if self.postgres is not None:
            variables["EVENTSRC_DATABASE_URL"] = self.postgres.address
        return variables

    @property
    def bootstrap_servers(self) -> str:
        """Raises `LookupError` if there is no Kafka among them."""
        if self.kafka is None:
            raise LookupError("no Kafka among these services")
        return self.kafka.address

    @property
    def database_url(self) -> str:
        """Raises `LookupError` if there is no Postgres among them."""
        if self.postgres is None:
            raise LookupError("no Postgres among these services")
        return self.postgres.address

    def missing(self, needs: frozenset[str]) -> frozenset[str]:
        here = {name for name in ("kafka", "postgres") if getattr(self, name) is not None}
        return needs - here


@dataclass(frozen=True, slots=True)
class StackRecord:
    """What the supervisor of a running stack writes for everyone else."""

    supervisor: int
    children: list[tuple[int, str]]
    """(pid, start) of each server: the start tells it from a later process with its pid."""
    kafka: Service | None
    postgres: Service | None

    def write(self, path: Path) -> None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=2))
        part.replace(path)


def read_record(path: Path) -> StackRecord | None:
    """None if there is none, or none that can be read."""
    try:
        fields = json.loads(path.read_text())
        return StackRecord(
            supervisor=int(fields["supervisor"]),
            children=[(int(pid), str(start)) for pid, start in fields["children"]],
            kafka=_service(fields["kafka"]),
            postgres=_service(fields["postgres"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _service(fields: dict[str, object] | None) -> Service | None:
    if fields is None:
        return None
    ready_s = fields["ready_s"]
    return Service(
        address=str(fields["address"]),
        origin=str(fields["origin"]),
        version=_text(fields["version"]),
        ready_s=float(ready_s) if isinstance(ready_s, (int, float)) else None,
        directory=_text(fields["directory"]),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)

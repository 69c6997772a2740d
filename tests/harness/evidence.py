"""What the checker judges: records as plain consumers saw them, clients' own histories, committed offsets.

Plain data, no Kafka: a synthetic log is as good as a real one, so the checker itself can be tested with planted bugs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.harness.snapshots import Snapshots
from tests.harness.wire import Schemas

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record, exactly as a consumer of the given isolation level was handed it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int = 0


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """The group's committed offset of one commands partition, with its metadata text as stored."""

    topic: str
    partition: int
    offset: int
    metadata: str = ""


Kind = Literal["invoke", "ok", "rejected", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of a client's history. `at_ns` is a monotonic clock shared by the machine's processes.

    `invoke` begins a command; exactly one of the others may end it. `rejected`: refused by the domain; `failed`:
    dead-lettered; `unknown`: no answer came, so it happened once or not at all. `sequence` and `events` (how many)
    stand as the answer told them; a client that was not told leaves them None.
    """

    kind: Kind
    command_id: str
    aggregate: str
    id: str
    at_ns: int
    name: str = ""
    payload: dict[str, Any] = field(default_factory=dict)
    sequence: int | None = None
    events: int | None = None
    reason: str = ""

    def line(self) -> str:
        return json.dumps(asdict(self), default=str)


@dataclass(frozen=True, slots=True)
class Observation:
    """A state that somebody outside was shown: the fields named must equal the fold at `sequence`."""

    aggregate: str
    id: str
    sequence: int
    state: dict[str, Any]


def read_history(paths: Iterable[Path]) -> list[Operation]:
    """A last line that a killed client left unfinished is no line."""
    operations: list[Operation] = []
    for path in paths:
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                operations.append(Operation(**json.loads(line)))
    return sorted(operations, key=lambda operation: operation.at_ns)


@dataclass
class Evidence:
    """Everything about one pipeline. `committed_view` and `uncommitted_view` hold the records of events topics as read
    at the two isolation levels up to the same last stable offset; `undecided` counts records above it."""

    pipeline: str
    schemas: Schemas
    aggregates: Sequence[str]
    commands: list[LogRecord] = field(default_factory=list)
    committed_view: list[LogRecord] = field(default_factory=list)
    uncommitted_view: list[LogRecord] = field(default_factory=list)
    dead_letters: list[LogRecord] = field(default_factory=list)
    replies: list[LogRecord] = field(default_factory=list)
    history: list[Operation] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    committed: list[CommittedOffset] = field(default_factory=list)
    commit_journal: list[CommittedOffset] = field(default_factory=list)
    commands_end: dict[tuple[str, int], int] = field(default_factory=dict)
    snapshots: Snapshots | None = None
    """None where no database was in use, or what it holds is not to be judged."""
    at_rest: bool = True
    history_complete: bool = True
    """False where commands were sent by somebody who wrote nothing down: then money (I8) cannot be added up."""

    def commands_topic(self, aggregate: str) -> str:
        return f"{self.pipeline}.{aggregate}.commands"

    def events_topic(self, aggregate: str) -> str:
        return f"{self.pipeline}.{aggregate}.events"

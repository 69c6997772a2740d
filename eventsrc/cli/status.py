"""`eventsrc status`: how a pipeline stands, from Kafka, the snapshot store and the workers of this host."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from eventsrc.cli.errors import EXIT_FAILURE, EXIT_UNREACHABLE, UsageError
from eventsrc.cli.render import dump
from eventsrc.cli.session import AsJson, Session, command
from eventsrc.errors import Unreachable

if TYPE_CHECKING:
    from eventsrc.adapters.kafka.group_offsets import GroupOffsetsReader
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.ports import SnapshotStore
    from eventsrc.runtime.group_status import GroupStatus

Words = Annotated[
    list[str] | None, typer.Argument(metavar="[APP] [SECONDS]", help="The pipeline; with --watch, how often.")
]
WATCH_S = 2.0
_CLEAR = "\x1b[H\x1b[J"


def register(app: typer.Typer) -> None:
    command(app, "status")(status)


def status(
    session: Session,
    words: Words = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again every 2 seconds, or as many as given.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show each partition: position, lag, last checkpoint, predicted recovery time against the objective.

    Exit 1 if a partition is halted or the objective is not met; else 3 if Kafka or Postgres does not answer.
    """
    pipeline, rest = session.split(words)
    every_s = _seconds(rest, watch)
    app = words[0] if words and ":" in words[0] else None
    with open_sources(session, pipeline) as sources:
        while True:
            found = sources.look()
            show(found, app, as_json=as_json, clear=watch and not as_json and sys.stdout.isatty())
            if not watch:
                break
            time.sleep(every_s)
    if code := exit_code(found):
        raise typer.Exit(code)


def exit_code(found: GroupStatus) -> int:
    if found.halted or not found.objective_held or "topics" in found.problems:
        return EXIT_FAILURE
    return EXIT_UNREACHABLE if found.problems else 0


def show(found: GroupStatus, app: str | None, *, as_json: bool, clear: bool) -> None:
    from eventsrc.cli.status_text import status_json, status_text

    text = dump(status_json(found)) if as_json else status_text(found, app)
    print(f"{_CLEAR}{text}" if clear else text, flush=True)


def _seconds(rest: list[str], watch: bool) -> float:
    if not rest:
        return WATCH_S
    try:
        (text,) = rest
        every_s = float(text.removesuffix("s"))
    except ValueError:
        every_s = 0.0
    if not watch or not 0.1 <= every_s <= 86_400:
        raise UsageError("write eventsrc status [APP] [--watch [SECONDS]], with at least 0.1 seconds")
    return every_s


class Sources:
    """What `status` asks; each may be missing."""

    def __init__(
        self,
        session: Session,
        pipeline: Pipeline,
        offsets: GroupOffsetsReader | Exception,
        store: SnapshotStore | None,
    ) -> None:
        self.pipeline, self.offsets, self.store = pipeline, offsets, store
        self._settings = session.settings

    def look(self) -> GroupStatus:
        from eventsrc.engine.partition import PartitionKey
        from eventsrc.runtime.group_status import look, put_together
        from eventsrc.runtime.status_file import read_statuses

        of = self.pipeline.settings
        keys = [PartitionKey(name, number) for name in self.pipeline.aggregates for number in range(of.partitions)]
        statuses = read_statuses(self._settings.state_dir, of.group_id)
        told = look(self.offsets, statuses, self.store, keys)
        return put_together(self.pipeline, told, time.time_ns() // 1000)


@contextmanager
def open_sources(session: Session, pipeline: Pipeline) -> Iterator[Sources]:
    with ExitStack() as opened:
        offsets = _offsets(session, pipeline)
        if not isinstance(offsets, Exception):
            opened.callback(offsets.close)
        store = open_store(session, pipeline)
        if store is not None:
            opened.callback(store.close)
        yield Sources(session, pipeline, offsets, store)


def _offsets(session: Session, pipeline: Pipeline) -> GroupOffsetsReader | Exception:
    from eventsrc.adapters.kafka.group_offsets import GroupOffsetsReader

    try:
        address = session.kafka_address
    except Unreachable as error:
        return error
    return GroupOffsetsReader(
        pipeline.name, pipeline.aggregates, pipeline.settings.group_id, address, session.settings.kafka
    )


def open_store(session: Session, pipeline: Pipeline) -> SnapshotStore | None:
    """None where no database is configured. Raises `InvalidSettings` where its address is none."""
    if session.settings.database_url is None:
        return None
    from eventsrc.adapters.postgres.store import PostgresSnapshots

    return PostgresSnapshots(session.settings.database_url, pipeline.name, "cli")

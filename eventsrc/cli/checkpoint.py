"""`eventsrc checkpoint list`, `now`, `verify` and `discard`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventsrc.cli.errors import EXIT_FAILURE, EXIT_UNREACHABLE, UsageError
from eventsrc.cli.finding import find_aggregate
from eventsrc.cli.render import columns, dump, local_time, printable, rfc3339
from eventsrc.cli.session import AsJson, Session, command
from eventsrc.cli.status import open_sources, open_store
from eventsrc.cli.telling import tell
from eventsrc.errors import SnapshotsUnavailable, Unreachable

if TYPE_CHECKING:
    from eventsrc.engine.partition import PartitionKey
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.model.snapshot import DamagedCheckpoint, StoredCheckpoint
    from eventsrc.ports import SnapshotStore
    from eventsrc.runtime.checkpoint_care import Kept, Verdict
    from eventsrc.runtime.group_status import GroupStatus

App = Annotated[list[str] | None, typer.Argument(metavar="[APP]", help="module:attribute of the pipeline.")]
Aggregate = Annotated[str | None, typer.Option("--aggregate", metavar="NAME", help="Only this aggregate's.")]
Partition = Annotated[int | None, typer.Option("--partition", min=0, metavar="NUMBER", help="Only this partition's.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Snapshots of partitions.", no_args_is_help=True, rich_markup_mode=None)
    command(group, "list")(list_kept)
    command(group, "now")(now)
    command(group, "verify")(verify)
    command(group, "discard")(discard)
    app.add_typer(group, name="checkpoint")


def list_kept(
    session: Session, app: App = None, aggregate: Aggregate = None, partition: Partition = None, as_json: AsJson = False
) -> None:
    """List the checkpoints that are kept, each partition's newest first."""
    from eventsrc.runtime.checkpoint_care import kept_of

    with _opened(session, app) as (pipeline, store):
        kept = kept_of(store, _keys(pipeline, aggregate, partition))
    if as_json:
        print(dump({"checkpoints": [_kept_json(of, each) for of in kept for each in of.checkpoints]}))
        return
    rows = [row for of in kept for row in _kept_rows(of)]
    if rows:
        print(columns([("partition", "id", "taken", "position", "states", "size", ""), *rows]))
    else:
        print("no checkpoint is kept: a worker with DATABASE_URL takes them, or eventsrc checkpoint now")


def now(
    session: Session,
    app: App = None,
    aggregate: Aggregate = None,
    partition: Partition = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Ask the workers for a checkpoint of every partition, and wait until they have been taken.

    Exit 1 if one was not. What was asked for stays asked for: the partition's next owner takes it.
    """
    from eventsrc.runtime.checkpoint_care import ask, wait_for

    with _opened(session, app) as (pipeline, store), open_sources(session, pipeline) as sources:
        asked = ask(store, _keys(pipeline, aggregate, partition))
        before = sources.look()
        nobody = {each.key for each in before.partitions if each.owner_known_by is None and before.members is not None}

        def show(key: PartitionKey, taken: StoredCheckpoint) -> None:
            if not as_json:
                print(
                    f"{key}  checkpoint {taken.id} at position {taken.checkpoint.position:,}, {_size(taken)}",
                    flush=True,
                )

        wait_for(store, asked, timeout, time.monotonic, time.sleep, show, nobody)
        status = sources.look() if asked.waiting else None
    missing = {key: _why_missing(key, status, asked.failure, timeout) for key in asked.waiting} if status else {}
    if as_json:
        taken = [
            {**_place(key), "id": str(each.id), "position": each.checkpoint.position}
            for key, each in asked.came.items()
        ]
        waiting = [{**_place(key), "reason": why} for key, why in missing.items()]
        print(dump({"taken": taken, "missing": waiting}))
    else:
        for key, why in missing.items():
            print(printable(f"{key}  none came: {why}"))
    if missing:
        raise typer.Exit(EXIT_UNREACHABLE if asked.failure else EXIT_FAILURE)


def verify(
    session: Session, app: App = None, aggregate: Aggregate = None, partition: Partition = None, as_json: AsJson = False
) -> None:
    """Read every kept checkpoint: its row, its manifest, each of its blocks. Exit 1 if one is damaged.

    A damaged one is never used: recovery takes an older one in its place, or the log.
    """
    from eventsrc.runtime.checkpoint_care import verify as verify_kept

    with _opened(session, app) as (pipeline, store):
        verdicts = list(verify_kept(store, _keys(pipeline, aggregate, partition)))
    damaged = [each for each in verdicts if each.damage is not None]
    if as_json:
        print(
            dump({"ok": not damaged, "verified": len(verdicts), "damaged": [_verdict_json(each) for each in damaged]})
        )
    else:
        for each in damaged:
            print("\n".join(printable(line) for line in _verdict_lines(each)))
        print(f"{len(verdicts)} checkpoints read, {len(damaged)} damaged")
    if damaged:
        raise typer.Exit(EXIT_FAILURE)


def discard(
    session: Session,
    app: App = None,
    aggregate: Aggregate = None,
    partition: Partition = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete all checkpoints of one partition, so that it is recovered from its log.

    An operator's decision, after a halt that says the log was truncated below a checkpoint.
    """
    pipeline, _ = session.split(app)
    if aggregate is None or partition is None:
        raise UsageError("name the partition: eventsrc checkpoint discard [APP] --aggregate NAME --partition NUMBER")
    (key,) = _keys(pipeline, aggregate, partition)
    with _opened(session, app) as (_, store), open_sources(session, pipeline) as sources:
        (kept,) = _kept(store, key)
        tell(_cost(kept, sources.look()))
        if not yes:
            _confirm(key)
        gone = store.discard(key)
    if as_json:
        print(dump({**_place(key), "discarded": gone}))
    else:
        print(f"{gone} checkpoints of {key} discarded; restart its worker if it is halted")


# ---- inside


@contextmanager
def _opened(session: Session, app: list[str] | None) -> Iterator[tuple[Pipeline, SnapshotStore]]:
    """Raises `Unreachable` in the place of SnapshotsUnavailable: to a command it is that."""
    pipeline, rest = session.split(app)
    if rest:
        raise UsageError(f"{rest[0]!r}: options name what is wanted, --aggregate and --partition")
    session.settings.require_database_url()
    store = open_store(session, pipeline)
    assert store is not None
    try:
        with closing(store):
            yield pipeline, store
    except SnapshotsUnavailable as away:
        raise Unreachable(str(away), away.code) from away


def _keys(pipeline: Pipeline, aggregate: str | None, partition: int | None) -> list[PartitionKey]:
    from eventsrc.engine.partition import PartitionKey

    names = [find_aggregate(pipeline, aggregate).name] if aggregate is not None else sorted(pipeline.aggregates)
    count = pipeline.settings.partitions
    if partition is not None and partition >= count:
        raise UsageError(f"--partition {partition}: the pipeline has {count}, from 0 on")
    numbers = range(count) if partition is None else [partition]
    return [PartitionKey(name, number) for name in names for number in numbers]


def _kept(store: SnapshotStore, key: PartitionKey) -> list[Kept]:
    from eventsrc.runtime.checkpoint_care import kept_of

    return kept_of(store, [key])


def _place(key: PartitionKey) -> dict[str, Any]:
    return {"aggregate": key.aggregate, "partition": key.number}


def _size(each: StoredCheckpoint) -> str:
    from eventsrc.cli.status_text import size_text

    return f"{each.states:,} states, {size_text(each.size_bytes)}"


def _kept_rows(of: Kept) -> Iterator[tuple[str, ...]]:
    from eventsrc.cli.status_text import size_text
    from eventsrc.model.snapshot import StoredCheckpoint

    for each in of.checkpoints:
        taken = "?" if each.taken_at is None else local_time(each.taken_at)
        head = "head" if of.head is not None and each.id == of.head.checkpoint else ""
        if isinstance(each, StoredCheckpoint):
            said = each.checkpoint
            numbers = (f"{said.position:,}", f"{each.states:,}", size_text(each.size_bytes))
            yield str(of.key), str(each.id), taken, *numbers, head
        else:
            yield str(of.key), str(each.id), taken, "?", "?", "?", printable(f"{head} DAMAGED: {each.reason}".strip())


def _kept_json(of: Kept, each: StoredCheckpoint | DamagedCheckpoint) -> dict[str, Any]:
    from eventsrc.model.snapshot import StoredCheckpoint

    said = {
        **_place(of.key),
        "id": str(each.id),
        "taken_at": None if each.taken_at is None else rfc3339(each.taken_at),
        "head": of.head is not None and each.id == of.head.checkpoint,
    }
    if not isinstance(each, StoredCheckpoint):
        return said | {"damage": each.reason}
    checkpoint = each.checkpoint
    return said | {
        "damage": None,
        "position": checkpoint.position,
        "seen_position": checkpoint.seen_position,
        "commands_position": checkpoint.commands_position,
        "term": checkpoint.term,
        "events": checkpoint.events,
        "aggregates": checkpoint.aggregates,
        "version": checkpoint.folded_by.version,
        "states": each.states,
        "size_bytes": each.size_bytes,
        "segments": [len(run) for run in each.runs],
    }


def _why_missing(key: PartitionKey, status: GroupStatus, failure: str | None, timeout_s: float) -> str:
    if failure is not None:
        return failure
    each = next((found for found in status.partitions if found.key == key), None)
    if each is None or each.owner_known_by is None:
        if status.members is None:
            return f"not within {timeout_s:g} s, and Kafka does not say whether a worker has it"
        return "no worker runs that has it; it stays asked for, and the next one that takes it over takes it"
    if each.halted:
        return f"the partition is halted: {each.reason}"
    snapshots = next((owner.snapshots for owner in status.owners if owner.instance == each.owner), None)
    if snapshots is not None:
        return f"{each.owner} cannot write it: {snapshots}"
    phase = f", and is {each.phase}" if each.phase not in (None, "open") else ""
    return f"{each.owner} has not taken it within {timeout_s:g} s{phase}; its log says more"


def _verdict_lines(each: Verdict) -> tuple[str, str]:
    head = ", the head" if each.is_head else ""
    instead = "the log" if each.instead is None else f"checkpoint {each.instead}"
    return f"{each.key}  checkpoint {each.id}{head} is damaged: {each.damage}", f"  used instead: {instead}"


def _verdict_json(each: Verdict) -> dict[str, Any]:
    return {
        **_place(each.key),
        "id": str(each.id),
        "head": each.is_head,
        "damage": each.damage,
        "instead": None if each.instead is None else str(each.instead),
    }


def _cost(kept: Kept, status: GroupStatus) -> str:
    """What a discard costs: the log is read from its beginning."""
    from eventsrc.cli.status_text import duration_text
    from eventsrc.engine.cadence import REPLAY_RATE

    lines = [f"{kept.key} has {len(kept.checkpoints)} checkpoints, and will have none."]
    each = next((found for found in status.partitions if found.key == kept.key), None)
    if each is not None and each.events_end is not None and each.events_start is not None:
        events = each.events_end - each.events_start
        lines.append(
            f"Its next recovery reads the whole log: up to {events:,} events, about {duration_text(events / REPLAY_RATE)}."
        )
        if each.events_start > 0:
            lines.append(
                f"The log begins at offset {each.events_start:,}: what stood below is in no log, and lost with the checkpoints."
            )
    else:
        lines.append("Its next recovery reads the whole log.")
    lines.append("What the log does not hold is lost for good, and time travel begins at the log's beginning.")
    if each is not None and each.owner_known_by is not None and not each.halted:
        lines.append(f"Worker {each.owner} has it open: it goes on, and its next checkpoint holds every state.")
    return "\n".join(lines)


def _confirm(key: PartitionKey) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"nothing was discarded: confirm with --yes that {key} is to be recovered from its log")
    if input(f"Discard them? Type {key} to confirm: ").strip() != str(key):
        raise UsageError("nothing was discarded")

"""`eventsrc replay`: the states of the whole pipeline at a past moment, summed up or written to a file."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventsrc.cli.errors import EXIT_FAILURE, UsageError
from eventsrc.cli.finding import find_aggregate
from eventsrc.cli.render import dump, local_time, printable
from eventsrc.cli.session import AsJson, Session, command
from eventsrc.cli.telling import tell
from eventsrc.cli.times import MOMENTS, moment_text
from eventsrc.errors import SnapshotsUnavailable, Unreachable
from eventsrc.model.moments import AtPositions, parse_moment

if TYPE_CHECKING:
    from eventsrc.model.aggregate import AggregateType
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.runtime.replaying import Replayed

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Words = Annotated[list[str] | None, typer.Argument(metavar="[APP]", help="module:attribute of the pipeline.")]


def register(app: typer.Typer) -> None:
    command(app, "replay")(replay)


def replay(
    session: Session,
    words: Words = None,
    until: Annotated[
        str,
        typer.Option(
            "--until",
            metavar="T",
            help=f"{MOMENTS}. A partition that positions do not name is taken to its end.",
        ),
    ] = "end",
    aggregate: Annotated[str | None, typer.Option("--aggregate", metavar="NAME", help="Only these.")] = None,
    aggregate_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Only this one; with --aggregate.")
    ] = None,
    into: Annotated[
        str | None,
        typer.Option("--into", metavar="PATH", help="Write the states: states.jsonl, states.csv or sqlite:before.db."),
    ] = None,
    from_log: Annotated[bool, typer.Option("--from-log", help="Use no checkpoints: fold the whole log.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --into: overwrite.")] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Hold every kept checkpoint against the log; exit 1 at a difference.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild the states of a past moment, from the log and the nearest checkpoints.

    Reads only: workers, topics and checkpoints are left alone. The cut is closed: no command is in it by half, and no
    event without the event that caused it.
    """
    from eventsrc.cli.progress import ProgressBar
    from eventsrc.cli.replay_output import open_output
    from eventsrc.codec import fold_files
    from eventsrc.runtime.replaying import replay as run_replay

    pipeline, rest = session.split(words)
    if rest:
        raise UsageError(f"replay takes no word {rest[0]!r}: write --aggregate NAME --id ID")
    if aggregate_id is not None and aggregate is None:
        raise UsageError("--id needs --aggregate, which says what it is an id of")
    only = None if aggregate is None else find_aggregate(pipeline, aggregate)
    if not from_log:
        for line in fold_files.warnings(pipeline, session.settings.schemas_dir):
            tell(f"warning: {line}; --from-log folds without checkpoints", logging.WARNING)
    if compare:
        if until != "end" or aggregate_id is not None or into is not None or from_log:
            raise UsageError("--compare holds whole checkpoints against the whole log: only --aggregate goes with it")
        _compare(session, pipeline, only, as_json=as_json)
        return
    moment = parse_moment(until, datetime.now(UTC))
    output = None if into is None else open_output(into, [only] if only else list(pipeline.aggregates.values()), force)
    with ProgressBar() as bar:
        replayed = run_replay(
            pipeline, session.settings, moment, aggregate=only, id=aggregate_id, from_log=from_log, progress=bar.show
        )
        digest = replayed.digest()  # first: states that cannot be encoded are not written by half
        if output is not None:
            output.write(replayed.states(), str(moment))
    for note in replayed.notes:
        tell(f"  {printable(note)}")
    if as_json:
        print(dump(summary_object(replayed, digest)))
        return
    print(summary_text(replayed, digest))
    if output is not None:
        print(f"  written to {output.path}")


def _compare(session: Session, pipeline: Pipeline, only: AggregateType | None, *, as_json: bool) -> None:
    from eventsrc.cli.comparison import comparison_object, comparison_text
    from eventsrc.runtime.comparing import compare

    try:
        compared = compare(pipeline, session.settings, aggregate=only)
    except SnapshotsUnavailable as away:
        raise Unreachable(str(away), away.code) from away
    print(dump(comparison_object(compared)) if as_json else comparison_text(compared))
    if compared.first is not None:
        raise typer.Exit(EXIT_FAILURE)


def summary_object(replayed: Replayed, digest: str) -> dict[str, Any]:
    """As the public contract has it."""
    return {
        "until": str(replayed.until),
        "cut": replayed.cut,
        "events": replayed.events,
        "aggregates": replayed.aggregates,
        "digest": digest,
    }


def summary_text(replayed: Replayed, digest: str) -> str:
    last = replayed.last_time
    closed = "cut is empty" if last is None else f"cut closed at {local_time(_moment(last))}"
    lines = [
        f"  until {moment_text(replayed.until)}{_unnamed(replayed)}",
        f"  {_started(replayed)}",
        f"  {replayed.events:,} events, {replayed.aggregates:,} aggregates, {closed}{_moved(replayed)}",
        f"  digest {digest}",
        f"  cut @{','.join(f'{place}:{position}' for place, position in replayed.cut.items())}",
    ]
    return "\n".join(lines)


def _unnamed(replayed: Replayed) -> str:
    if not isinstance(replayed.until, AtPositions):
        return ""
    count = len(replayed.partitions) - len(replayed.until.positions)
    return f" ({count} partition{'s' if count != 1 else ''} not named: to the end)" if count > 0 else ""


def _started(replayed: Replayed) -> str:
    checkpoints = [each.checkpoint.checkpoint for each in replayed.partitions if each.checkpoint is not None]
    if not checkpoints:
        return "from the log's beginning"
    times = sorted(each.anchor.time for each in checkpoints)
    span = " .. ".join(local_time(_moment(time_us)) for time_us in dict.fromkeys((times[0], times[-1])))
    rest = "" if len(checkpoints) == len(replayed.partitions) else "; the others from the log's beginning"
    return f"nearest checkpoints: {len(checkpoints)} of {len(replayed.partitions)}, {span}{rest}"


def _moved(replayed: Replayed) -> str:
    reasons = []
    if replayed.completed:
        reasons.append(f"{replayed.completed:,} finish a command")
    if replayed.caused:
        reasons.append(f"{replayed.caused:,} effects of earlier causes")
    moved = replayed.completed + replayed.caused
    return f" ({moved:,} event{'s' if moved != 1 else ''} later than asked: {', '.join(reasons)})" if moved else ""


def _moment(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_us)

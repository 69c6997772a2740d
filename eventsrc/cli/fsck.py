"""`eventsrc fsck`: topics, group offsets, logs and checkpoints against each other, and the safe repair of what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventsrc.cli.errors import EXIT_FAILURE, EXIT_UNREACHABLE, UsageError
from eventsrc.cli.finding import find_aggregate
from eventsrc.cli.render import dump, printable
from eventsrc.cli.session import AsJson, Session, command

if TYPE_CHECKING:
    from eventsrc.engine.partition import PartitionKey
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.runtime.findings import Finding
    from eventsrc.runtime.fsck import Checked

App = Annotated[list[str] | None, typer.Argument(metavar="[APP]", help="module:attribute of the pipeline.")]


def register(app: typer.Typer) -> None:
    command(app, "fsck")(fsck)


def fsck(
    session: Session,
    app: App = None,
    partition: Annotated[
        list[str] | None,
        typer.Option("--partition", metavar="AGGREGATE/N", help="Only this one; N of the only aggregate. Repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check topics, offsets, logs and checkpoints against each other. Changes nothing; workers may run.

    Each finding says where it is, what is safe, and what to type next. Exit 1 if there is one, 3 if not all could be asked.
    """
    from eventsrc.cli.progress import ProgressBar
    from eventsrc.runtime.fsck import check
    from eventsrc.runtime.replaying import ReplayProgress

    pipeline, rest = session.split(app)
    if rest:
        raise UsageError(f"{rest[0]!r}: one partition is named by --partition AGGREGATE/N")
    keys = [_key(pipeline, word) for word in partition] if partition else None
    named = app[0] if app else None
    with ProgressBar() as bar:
        checked = check(
            pipeline, session.settings, keys, app=named, progress=lambda *told: bar.show(ReplayProgress(*told))
        )
    print(dump(_object(pipeline, checked)) if as_json else "\n".join(_lines(pipeline, checked)))
    if not checked.sound:
        raise typer.Exit(EXIT_FAILURE)
    if checked.problems:
        raise typer.Exit(EXIT_UNREACHABLE)


def _key(pipeline: Pipeline, word: str) -> PartitionKey:
    from eventsrc.engine.partition import PartitionKey

    name, slash, number = word.rpartition("/")
    count = pipeline.settings.partitions
    if not number.isascii() or not number.isdigit() or int(number) >= count:
        raise UsageError(f"--partition {word}: write AGGREGATE/N, with N from 0 to {count - 1}")
    if not slash and len(pipeline.aggregates) != 1:
        known = ", ".join(f"{each}/{number}" for each in sorted(pipeline.aggregates))
        raise UsageError(f"--partition {word}: of which aggregate? {known}")
    return PartitionKey(find_aggregate(pipeline, name).name if slash else next(iter(pipeline.aggregates)), int(number))


def _lines(pipeline: Pipeline, checked: Checked) -> Iterator[str]:
    for each in checked.findings:
        yield from map(printable, _finding_lines(each))
    for name, problem in checked.problems.items():
        yield printable(f"{name}: {problem}")
    for what in checked.unlooked:
        yield printable(f"note: not looked at: {what}")
    yield printable(f"{pipeline.name}: {_scope(checked)}: {_verdict(checked)}")


def _finding_lines(each: Finding) -> Iterator[str]:
    yield f"{each.severity}: {each.subject}: {each.what}"
    yield f"  where  {each.where}"
    yield f"  safe   {each.safe}"
    if each.next is not None:
        yield f"  next   {each.next}"


def _scope(checked: Checked) -> str:
    stored = "" if checked.checkpoints is None else f", {checked.checkpoints:,} checkpoints"
    return f"{checked.topics:,} topics, {checked.partitions:,} partitions, {checked.events:,} events{stored}"


def _verdict(checked: Checked) -> str:
    counts = {
        severity: sum(each.severity == severity for each in checked.findings) for severity in ("error", "warning")
    }
    said = ", ".join(f"{count} {severity}{'s' if count > 1 else ''}" for severity, count in counts.items() if count)
    return said or ("sound, as far as it was looked at" if checked.problems else "sound")


def _object(pipeline: Pipeline, checked: Checked) -> dict[str, Any]:
    return {
        "pipeline": pipeline.name,
        "sound": checked.sound,
        "findings": [each._asdict() for each in checked.findings],
        "topics": checked.topics,
        "partitions": checked.partitions,
        "events": checked.events,
        "checkpoints": checked.checkpoints,
        "problems": checked.problems,
        "not_looked_at": checked.unlooked,
    }

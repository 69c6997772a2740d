"""`eventsrc log`: an aggregate's timeline, with what each event changed."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventsrc.cli.differences import Shown, differences, shown_fields
from eventsrc.cli.errors import EXIT_FAILURE
from eventsrc.cli.finding import aggregate_and_id
from eventsrc.cli.render import changes, dump, exact_local_time, message_text, printable, record_to_json, rfc3339
from eventsrc.cli.session import AsJson, Session, command
from eventsrc.cli.times import MOMENTS, moment_text
from eventsrc.model.moments import parse_moment

if TYPE_CHECKING:
    from eventsrc.model.aggregate import AggregateType
    from eventsrc.model.recorded import EventMeta, Recorded
    from eventsrc.runtime.reading import Step

Words = Annotated[list[str], typer.Argument(metavar="[APP] AGGREGATE ID", help="Which aggregate.")]


def register(app: typer.Typer) -> None:
    command(app, "log")(log)


def log(
    session: Session,
    words: Words,
    diff: Annotated[bool, typer.Option("--diff", help="What each event changed.")] = False,
    until: Annotated[str | None, typer.Option("--until", metavar="T", help=f"Up to a past moment: {MOMENTS}.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show an aggregate's events in order.

    Times are shown in full, so that --at and --until take them as they are. Exit 1 if it never existed.
    """
    from eventsrc.cli.reading import open_reader
    from eventsrc.model.identity import check_aggregate_id

    pipeline, rest = session.split(words)
    aggregate, aggregate_id = aggregate_and_id(pipeline, rest, "log")
    key = check_aggregate_id(aggregate_id)
    moment = parse_moment(until, datetime.now(UTC)) if until is not None else None
    timeline = _Timeline(aggregate, key, diff=diff)
    with open_reader(session, pipeline) as reader:
        for step in reader.steps(aggregate, key, at=moment):
            if as_json:
                print(dump(timeline.as_object(step)))
            else:
                print(timeline.as_line(step))
    if not timeline.length:
        if not as_json:
            before = f" before {moment_text(moment)}" if moment else ""
            print(printable(f"{aggregate.name} {aggregate_id} never existed{before}"))
        raise typer.Exit(EXIT_FAILURE)


class _Timeline:
    """Shows one aggregate's steps; remembers the state before each."""

    def __init__(self, aggregate: AggregateType, key: bytes, *, diff: bool) -> None:
        self._aggregate = aggregate
        self._diff = diff
        new = aggregate.new(key)
        self._before = record_to_json(aggregate.record, new)
        self._shown_before = shown_fields(aggregate.record, new)
        self.length = 0

    def as_object(self, step: Step) -> dict[str, Any]:
        self.length += 1
        shown = event_object(self._aggregate, step.recorded)
        if self._diff:
            after = record_to_json(self._aggregate.record, step.aggregate)
            changed = changes(self._before, after)
            shown["changes"] = {name: {"before": old, "after": new} for name, (old, new) in changed.items()}
            self._before = after
        return shown

    def as_line(self, step: Step) -> str:
        self.length += 1
        recorded = step.recorded
        record = self._aggregate.events[type(recorded.event)].record
        if self._diff:
            after: dict[str, Shown] = shown_fields(self._aggregate.record, step.aggregate)
            what = f"{record.name:<12}  {', '.join(differences(self._shown_before, after)) or 'no change'}"
            self._shown_before = after
        else:
            what = message_text(record, recorded.event)
        return f"{recorded.sequence:>5}  {exact_local_time(recorded.time)}  {what}   {_cause(recorded.meta)}"


def event_object(aggregate: AggregateType, recorded: Recorded) -> dict[str, Any]:
    """An event as one JSON object. Null correlation and causation are given as what they stand for."""
    meta = recorded.meta
    return {
        "sequence": recorded.sequence,
        "time": rfc3339(recorded.time),
        "event": aggregate.events[type(recorded.event)].name,
        "payload": record_to_json(aggregate.events[type(recorded.event)].record, recorded.event),
        "offset": recorded.offset,
        "command_id": str(uuid.UUID(bytes=meta.command_id)),
        "correlation_id": str(uuid.UUID(bytes=meta.correlation_id or meta.command_id)),
        "causation_id": str(uuid.UUID(bytes=meta.causation_id or meta.command_id)),
        "index": meta.index,
        "count": meta.count,
    }


def _cause(meta: EventMeta) -> str:
    if meta.causation_id is not None:
        return f"caused by event {uuid.UUID(bytes=meta.causation_id)}"
    return f"by command {uuid.UUID(bytes=meta.command_id)}"

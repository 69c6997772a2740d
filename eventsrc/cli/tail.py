"""`eventsrc tail`: events (and commands) as they come, decoded."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from eventsrc.cli.errors import UsageError
from eventsrc.cli.finding import find_aggregate
from eventsrc.cli.render import dump, local_time, message_text, printable, record_to_json, rfc3339
from eventsrc.cli.session import AsJson, Session, command
from eventsrc.codec.framing import prefix_of
from eventsrc.codec.keys import parse_event_key
from eventsrc.errors import DecodingError, UnknownSchema
from eventsrc.model.moments import parse_instant
from eventsrc.model.names import commands_topic, events_topic

if TYPE_CHECKING:
    from eventsrc.adapters.kafka.tail import TailedRecord
    from eventsrc.codec.catalog import Catalog
    from eventsrc.model.aggregate import AggregateType
    from eventsrc.model.pipeline import Pipeline

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Words = Annotated[list[str] | None, typer.Argument(metavar="[APP]", help="module:attribute of the pipeline.")]


def register(app: typer.Typer) -> None:
    command(app, "tail")(tail)


def tail(
    session: Session,
    words: Words = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="From this moment on, -15m, or start.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Nothing after this moment.")] = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="AGGREGATE[/ID]", help="Only these; may be repeated.")
    ] = None,
    commands: Annotated[bool, typer.Option("--commands", help="Commands too.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, or end where the log does.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Show events as they come.

    From now on, or from --since on; with --no-follow, what there is. Order holds within a partition.
    """
    from eventsrc.adapters.kafka.tail import TopicTail
    from eventsrc.runtime.catalogs import open_catalog

    pipeline, rest = session.split(words)
    if rest:
        raise UsageError(f"tail takes no word {rest[0]!r}; filter with --where AGGREGATE/ID")
    now = datetime.now(UTC)
    wanted = Selection.read(pipeline, where or [])
    from_start = since == "start" or (since is None and not follow)
    since_ms = _milliseconds(parse_instant(since, now)) if since and not from_start else None
    until_ms = _milliseconds(parse_instant(until, now)) if until else None
    topics = wanted.topics(pipeline, with_commands=commands)
    decoder = RecordDecoder(open_catalog(pipeline, session.settings), topics)
    source = TopicTail(
        list(topics),
        session.kafka_address,
        session.settings.kafka,
        since_ms=since_ms,
        from_beginning=from_start,
    )
    try:
        for record in source.records(follow=follow and until is None):
            if until_ms is None or record.timestamp_ms <= until_ms:
                shown = decoder.decode(record, wanted)
                if shown is not None:
                    print(dump(shown.as_object()) if as_json else shown.as_line(), flush=True)
    finally:
        source.close()


class Selection(NamedTuple):
    """Which aggregates are shown: all ids of one, or some."""

    aggregates: dict[str, AggregateType]
    ids: dict[str, set[str] | None]

    @classmethod
    def read(cls, pipeline: Pipeline, words: list[str]) -> Selection:
        """Words are `aggregate` or `aggregate/id`; none is everything. Raises `UsageError`."""
        if not words:
            return cls(dict(pipeline.aggregates), dict.fromkeys(pipeline.aggregates))
        selection = cls({}, {})
        for word in words:
            name, slash, aggregate_id = word.partition("/")
            aggregate = find_aggregate(pipeline, name)
            selection.aggregates[aggregate.name] = aggregate
            if not slash:
                selection.ids[aggregate.name] = None
            elif (ids := selection.ids.setdefault(aggregate.name, set())) is not None:
                ids.add(aggregate_id)
        return selection

    def topics(self, pipeline: Pipeline, *, with_commands: bool) -> dict[str, tuple[AggregateType, bool]]:
        """Topic -> its aggregate, and whether it holds commands."""
        found: dict[str, tuple[AggregateType, bool]] = {}
        for name, aggregate in self.aggregates.items():
            found[events_topic(pipeline.name, name)] = (aggregate, False)
            if with_commands:
                found[commands_topic(pipeline.name, name)] = (aggregate, True)
        return found

    def includes(self, aggregate: str, aggregate_id: str) -> bool:
        ids = self.ids[aggregate]
        return ids is None or aggregate_id in ids


class Shown(NamedTuple):
    """One record as it is shown; `sequence` is None for a command."""

    kind: str
    name: str
    aggregate: str
    id: str
    sequence: int | None
    time: datetime
    payload: dict[str, Any] | None
    text: str
    command_id: str | None
    partition: int
    offset: int

    def as_object(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "aggregate": self.aggregate,
            "id": self.id,
            "sequence": self.sequence,
            "time": rfc3339(self.time),
            "payload": self.payload,
            "command_id": self.command_id,
            "partition": self.partition,
            "offset": self.offset,
        }

    def as_line(self) -> str:
        place = f"{self.aggregate} {self.id}" + ("" if self.sequence is None else f" sequence {self.sequence}")
        mark = "> " if self.kind == "command" else ""
        return f"{local_time(self.time)}  {printable(place)}  {mark}{self.text}   partition {self.partition} @ {self.offset:,}"


class RecordDecoder:
    """What is not readable is shown as such: a tail shows what is there."""

    def __init__(self, catalog: Catalog, topics: dict[str, tuple[AggregateType, bool]]) -> None:
        self._catalog = catalog
        self._topics = topics

    def decode(self, record: TailedRecord, wanted: Selection) -> Shown | None:
        """None for control records, tombstones, and what the selection leaves out."""
        aggregate, is_command = self._topics[record.topic]
        return self._command(record, aggregate, wanted) if is_command else self._event(record, aggregate, wanted)

    def _event(self, record: TailedRecord, aggregate: AggregateType, wanted: Selection) -> Shown | None:
        parsed = parse_event_key(record.key) if record.key is not None else None
        if parsed is None or record.value is None:
            return None
        aggregate_id = parsed[0].decode(errors="backslashreplace")
        if not wanted.includes(aggregate.name, aggregate_id):
            return None
        return _shown("event", record, aggregate, aggregate_id, parsed[1], self._read_event)

    def _command(self, record: TailedRecord, aggregate: AggregateType, wanted: Selection) -> Shown | None:
        aggregate_id = (record.key or b"").decode(errors="backslashreplace")
        if not wanted.includes(aggregate.name, aggregate_id):
            return None
        return _shown("command", record, aggregate, aggregate_id, None, self._read_command)

    def _read_event(self, aggregate: AggregateType, value: bytes) -> tuple[bytes, Any]:
        meta, event = self._catalog.event_reader(aggregate, prefix_of(value))(value)
        return meta.command_id, event

    def _read_command(self, aggregate: AggregateType, value: bytes) -> tuple[bytes, Any]:
        meta, _, decoded = self._catalog.command_reader(aggregate, prefix_of(value))(value)
        return meta.id, decoded


def _shown(
    kind: str,
    record: TailedRecord,
    aggregate: AggregateType,
    aggregate_id: str,
    sequence: int | None,
    read: Callable[[AggregateType, bytes], tuple[bytes, Any]],
) -> Shown:
    place = (aggregate.name, aggregate_id, sequence, _EPOCH + timedelta(milliseconds=record.timestamp_ms))
    try:
        command_id, decoded = read(aggregate, record.value or b"")
    except (DecodingError, UnknownSchema) as error:
        return Shown(kind, "unreadable", *place, None, f"unreadable: {error}", None, record.partition, record.offset)
    message = (aggregate.events if kind == "event" else aggregate.commands)[type(decoded)]
    payload, text = record_to_json(message.record, decoded), message_text(message.record, decoded)
    command = str(uuid.UUID(bytes=command_id))
    return Shown(kind, message.name, *place, payload, text, command, record.partition, record.offset)


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)

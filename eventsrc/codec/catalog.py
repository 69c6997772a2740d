"""All readers and writers of one pipeline, compiled when they are first asked for.

Owns which schema belongs to which message of which aggregate, and what is said of bytes that name another. Reads
schema files; writes none. Threads may share a catalog: at worst a function is compiled twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from eventsrc.codec import control, schema_files
from eventsrc.codec.framing import MARKER, framing_prefix, parse_prefix, prefix_of, registry_prefix
from eventsrc.codec.metas import with_meta
from eventsrc.codec.nodes import RecordNode, crc64_avro, parse
from eventsrc.codec.reader import Shape, compile_reader
from eventsrc.codec.registered import RegisteredSchemas
from eventsrc.codec.resolution import Unresolvable, build
from eventsrc.codec.schema import Json, message_schema, state_schema
from eventsrc.codec.schema_files import SchemaFile, schema_file
from eventsrc.codec.state_check import compile_state_check
from eventsrc.codec.writer import Shape as WriterShape
from eventsrc.codec.writer import compile_writer
from eventsrc.errors import ClassChanged, DecodingError, EncodingError, InvalidSchema, NotThisKind, UnknownSchema
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.message import MessageKind, MessageType
from eventsrc.model.names import avro_namespace, commands_topic, events_topic, replies_topic
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.recorded import CommandMeta, EventMeta
from eventsrc.model.types import (
    DecimalScaled,
    DictOf,
    FieldType,
    ListOf,
    Primitive,
    RecordOf,
    RecordType,
    SetOf,
    TupleOf,
    UnionOf,
)

EventWriter = Callable[[bytes, bytes | None, bytes | None, int, int, int, int, bytes, Any], bytes]
EventReader = Callable[[bytes], tuple[EventMeta, Any]]
CommandWriter = Callable[[bytes, bytes | None, bytes | None, int, int | None, Any], bytes]
CommandReader = Callable[[bytes], tuple[CommandMeta, int, Any]]
DecidingReader = Callable[[bytes], tuple[bytes, bytes | None, bytes | None, int | None, int, Any]]
ControlReader = Callable[[bytes], Any]
StateWriter = Callable[[Any], bytes]
StateReader = Callable[[bytes, Any], Any]


@dataclass(frozen=True, slots=True)
class _Message:
    """A command or an event as one aggregate writes it."""

    aggregate: AggregateType
    message: MessageType
    file: SchemaFile


class Catalog:
    """Readers and writers of `pipeline`. Schemas of older writers come from the files in `schemas_directory`, which
    are listed now and read when a record names them; `InvalidSchema` for a file that is not one.

    With a `registry`, records are written with its ids: getting a writer may raise what `RegisteredSchemas` does. Records
    of both framings are read."""

    def __init__(
        self, pipeline: Pipeline, schemas_directory: Path | None, registry: RegisteredSchemas | None = None
    ) -> None:
        self._pipeline = pipeline
        self._directory = schemas_directory
        self._registry = registry
        self._by_id: dict[int, SchemaFile] = {}
        self._control_writers: dict[str, Callable[[Any], bytes]] = {}
        self._messages: dict[tuple[str, type], _Message] = {}
        self._writers: dict[tuple[str, type], Callable[..., bytes]] = {}
        self._readers: dict[tuple[str, Shape], dict[bytes, Any]] = {}
        self._controls: dict[bytes, ControlReader] = {}
        self._states: dict[str, tuple[StateWriter, StateReader, int]] = {}
        self._snapshot_writers: dict[tuple[str, WriterShape], StateWriter] = {}
        self._by_fingerprint: dict[int, SchemaFile] | None = None
        self._files: dict[int, Path] = {}
        self.reload()

    def reload(self) -> None:
        """Lists the directory again: a newer version's schemas may have arrived. What is compiled stays."""
        self._files = {} if self._directory is None else schema_files.find(self._directory)

    # ---- events

    def event_writer(self, aggregate: AggregateType, cls: type) -> EventWriter:
        """`write(command_id, correlation_id, causation_id, source_offset, index, count, time, payload_hash, event)`.
        Framed. `EncodingError` names the path to the field."""
        return self._writer(aggregate, cls, "event")

    def event_readers(self, aggregate: AggregateType) -> dict[bytes, EventReader]:
        """By a value's prefix (`framing.prefix_of`): a live dictionary with every schema the code writes, to which
        `event_reader` adds older ones, and those with a registry's id, as they are met."""
        return self._current_readers(aggregate, "event", "meta+value")

    def event_reader(self, aggregate: AggregateType, prefix: bytes) -> EventReader:
        """`read(value) -> (EventMeta, event)`, for the schema that the value's prefix names; its first ten bytes do as well.

        `UnknownSchema`; `NotThisKind` where the schema is of something else; `DecodingError` without framing, or
        where no event of the aggregate can be read from that schema. The function raises `DecodingError` alone.
        """
        return cast(EventReader, self._reader(aggregate, prefix, "event", "meta+value"))

    # ---- commands

    def command_writer(self, aggregate: AggregateType, cls: type) -> CommandWriter:
        """`write(id, correlation_id, causation_id, time, reply_partition, command)`. Framed."""
        return self._writer(aggregate, cls, "command")

    def command_readers(self, aggregate: AggregateType) -> dict[bytes, CommandReader]:
        """As `event_readers`."""
        return self._current_readers(aggregate, "command", "meta+start+value")

    def command_reader(self, aggregate: AggregateType, prefix: bytes) -> CommandReader:
        """`read(value) -> (CommandMeta, where the fields after meta begin, command)`. Errors as `event_reader`."""
        return cast(CommandReader, self._reader(aggregate, prefix, "command", "meta+start+value"))

    def deciding_reader(self, aggregate: AggregateType, prefix: bytes) -> DecidingReader:
        """As `command_reader`, for the hot loop: `read(value) -> (command id, correlation id, causation id, reply
        partition, where the fields after meta begin, command)`. To make a `CommandMeta` takes as long as to read it."""
        return cast(DecidingReader, self._reader(aggregate, prefix, "command", "deciding"))

    # ---- control records

    def control_reader(self, prefix: bytes) -> ControlReader:
        """`read(value) -> Barrier | Pruned | Reply`. `UnknownSchema`, `NotThisKind`, `DecodingError`."""
        prefix = prefix_of(prefix)
        reader = self._controls.get(prefix)
        if reader is None:
            reader = self._controls[prefix] = self._compile_control(prefix)
        return reader

    def barrier_writer(self, aggregate: AggregateType) -> Callable[[control.Barrier], bytes]:
        """`write(barrier)`, for the aggregate's events topic. Framed."""
        return self._control_writer("Barrier", events_topic(self._pipeline.name, aggregate.name))

    def reply_writer(self) -> Callable[[control.Reply], bytes]:
        """`write(reply)`. Framed."""
        return self._control_writer("Reply", replies_topic(self._pipeline.name))

    # ---- state

    def state_writer(self, aggregate: AggregateType) -> StateWriter:
        """`write(instance) -> bytes`, without framing. Canonical: equal states have equal bytes."""
        return self._state(aggregate)[0]

    def snapshot_writer(self, aggregate: AggregateType) -> StateWriter:
        """As `state_writer`, by the same schema, but not canonical: a dict keeps its order, which an `apply` may see."""
        return self._snapshot(aggregate, "value")

    def entry_writer(self, aggregate: AggregateType) -> StateWriter:
        """`write(instance) -> bytes`: the entry of a block, its state as `snapshot_writer` writes it."""
        return self._snapshot(aggregate, "entry")

    def _snapshot(self, aggregate: AggregateType, shape: WriterShape) -> StateWriter:
        write = self._snapshot_writers.get((aggregate.name, shape))
        if write is None:
            node = cast(RecordNode, parse(self.state_schema(aggregate)))
            name = f"the {'state' if shape == 'value' else shape} of {aggregate.cls.__name__}"
            write = self._snapshot_writers[aggregate.name, shape] = compile_writer(name, aggregate.record, node, shape)
        return write

    def state_check(self, aggregate: AggregateType) -> Callable[[Any], bytes | None]:
        """`check(instance)` raises `UnkeepableState` where its state cannot be written. Returns what `snapshot_writer` wrote if
        that was the way to find out: always, unless the state is flat."""
        return compile_state_check(aggregate.cls.__name__, aggregate.record, self.snapshot_writer(aggregate))

    def state_reader(self, aggregate: AggregateType) -> StateReader:
        """`read(state, instance)` sets the instance's fields, or raises `DecodingError` and sets none."""
        return self._state(aggregate)[1]

    def state_fingerprint(self, aggregate: AggregateType) -> int:
        """Of the whole schema by which `state_writer` writes: with logical types, scales and defaults, which Avro's own
        fingerprint leaves out, and without which the same bytes, or no event at all, would be another state."""
        return self._state(aggregate)[2]

    # ---- schemas

    def schemas(self) -> list[SchemaFile]:
        """Everything the code now writes: the pipeline's messages, then the framework's own records."""
        own = [
            self._message(aggregate, message).file
            for aggregate in self._pipeline.aggregates.values()
            for message in (*aggregate.commands.values(), *aggregate.events.values())
        ]
        return own + [schema_file("eventsrc", name, control.control_type(name).schema) for name in control.NAMES]

    def reads(self, aggregate: AggregateType, file: SchemaFile) -> tuple[RecordType, SchemaFile] | None:
        """The class's fields, with meta, that take what was written by `file`'s schema, and the schema they have now;
        None if no class of the aggregate does."""
        found = self._message_for(aggregate, file)
        return None if found is None else (with_meta(found.message.kind, found.message.record), found.file)

    # ---- inside

    def _message(self, aggregate: AggregateType, message: MessageType) -> _Message:
        key = aggregate.name, message.cls
        found = self._messages.get(key)
        if found is None:
            schema = message_schema(
                avro_namespace(self._pipeline.name, aggregate.name),
                message.name,
                message.record,
                message.kind,
                message.aliases,
            )
            file = schema_file(f"{self._pipeline.name}/{aggregate.name}", message.name, schema)
            found = self._messages[key] = _Message(aggregate, message, file)
        return found

    def _writer(self, aggregate: AggregateType, cls: type, kind: MessageKind) -> Callable[..., bytes]:
        key = aggregate.name, cls
        writer = self._writers.get(key)
        if writer is None:
            declared = _declared(aggregate, kind).get(cls)
            if declared is None:
                verb = "handle" if kind == "command" else "apply"
                raise EncodingError(f"{aggregate.cls.__name__} does not {verb} the {kind} {cls.__name__}")
            message = self._message(aggregate, declared)
            node = message.file.node
            topic = (commands_topic if kind == "command" else events_topic)(self._pipeline.name, aggregate.name)
            writer = compile_writer(node.name, declared.record, node, kind, self._written_prefix(topic, message.file))
            self._writers[key] = writer
        return writer

    def _current_readers(self, aggregate: AggregateType, kind: MessageKind, shape: Shape) -> dict[bytes, Any]:
        key = aggregate.name, shape
        readers = self._readers.get(key)
        if readers is None:
            readers = self._readers[key] = {}
            for declared in _declared(aggregate, kind).values():
                message = self._message(aggregate, declared)
                prefix = framing_prefix(message.file.fingerprint)
                readers[prefix] = self._compile(message, message.file, shape, len(prefix))
        return readers

    def _reader(self, aggregate: AggregateType, prefix: bytes, kind: MessageKind, shape: Shape) -> Any:
        readers = self._current_readers(aggregate, kind, shape)
        prefix = prefix_of(prefix)
        reader = readers.get(prefix)
        if reader is None:
            file = self._named_by(prefix)
            if file.kind != kind or file.folder != f"{self._pipeline.name}/{aggregate.name}":
                wanted = f"{'a command' if kind == 'command' else 'an event'} of {aggregate.name}"
                raise NotThisKind(f"{file.node.name} ({file.kind}) where {wanted} was expected")
            message = self._message_for(aggregate, file)
            if message is None:
                raise ClassChanged(f"no class of {aggregate.cls.__name__} reads {file.node.name} any more")
            reader = readers[prefix] = self._compile(message, file, shape, len(prefix))
        return reader

    def _compile(self, message: _Message, file: SchemaFile, shape: Shape, start: int) -> Callable[[bytes], Any]:
        kind = message.message.kind
        record = with_meta(kind, message.message.record)
        try:
            plan = build(record, message.file.node, file.node)
        except Unresolvable as error:
            raise ClassChanged(f"{file.relative_path} cannot be read as {message.message.name}: {error}") from error
        if plan.steps[0].target != 0:
            raise DecodingError(f"{file.relative_path}: its first field is not meta")
        return compile_reader(file.node.name, plan, shape, start)

    def _message_for(self, aggregate: AggregateType, file: SchemaFile) -> _Message | None:
        kind = file.kind
        if kind == "control":
            return None
        declared = _declared(aggregate, kind).values()
        by_name = [message for message in declared if message.name == file.name]
        by_alias = [message for message in declared if file.name in message.aliases]
        return next((self._message(aggregate, message) for message in by_name + by_alias), None)

    def _named_by(self, prefix: bytes) -> SchemaFile:
        """The schema that a value's first bytes name, of whatever it is."""
        named = parse_prefix(prefix)
        if not prefix.startswith(MARKER):
            return self._registered(named)
        number = int.from_bytes(named, "little")
        if self._by_fingerprint is None:
            self._by_fingerprint = {file.fingerprint: file for file in self.schemas()}
        file = self._by_fingerprint.get(number)
        if file is None:
            path = self._files.get(number)
            if path is None or self._directory is None:
                raise UnknownSchema(named)
            file = self._by_fingerprint[number] = schema_files.read(self._directory, path)
        return file

    def _registered(self, named: bytes) -> SchemaFile:
        """By a registry's id. Its own text rules: a fingerprint leaves out logical types."""
        number = int.from_bytes(named, "big")
        if self._registry is None:
            raise DecodingError(f"Confluent framing (schema id {number}), and no schema registry is configured")
        file = self._by_id.get(number)
        if file is None:
            schema = self._registry.schema_of(number)
            if schema is None:
                raise UnknownSchema(named)
            try:
                file = schema_file("", "", schema)
            except InvalidSchema as other:
                raise NotThisKind(f"the registry's schema {number} is not one of ours: {other}") from other
            namespace, _, name = file.node.name.rpartition(".")
            file = self._by_id[number] = replace(file, folder=self._folder_of(namespace), name=name)
        return file

    def _folder_of(self, namespace: str) -> str:
        """Where a schema file of this namespace would stand; a name of no folder for what is not this pipeline's."""
        if namespace == control.NAMESPACE:
            return namespace
        pipeline = self._pipeline.name
        found = (name for name in self._pipeline.aggregates if avro_namespace(pipeline, name) == namespace)
        return next((f"{pipeline}/{name}" for name in found), namespace)

    def fingerprint_named_by(self, prefix: bytes) -> int:
        """The fingerprint of the schema that a prefix names: the same for both framings. Raises as `event_reader`."""
        return self._named_by(prefix).fingerprint

    def _written_prefix(self, topic: str, file: SchemaFile) -> bytes:
        if self._registry is None:
            return framing_prefix(file.fingerprint)
        return registry_prefix(self._registry.id_for(topic, file))

    def _control_writer(self, name: str, topic: str) -> Callable[[Any], bytes]:
        own = control.control_type(name)
        if self._registry is None:
            return own.write
        writer = self._control_writers.get(topic)
        if writer is None:
            prefix = self._written_prefix(topic, schema_file(control.NAMESPACE, name, own.schema))
            writer = self._control_writers[topic] = control.control_writer_with(name, prefix)
        return writer

    def _compile_control(self, prefix: bytes) -> ControlReader:
        file = self._named_by(prefix)
        if file.folder != control.NAMESPACE or file.name not in control.NAMES:
            raise NotThisKind(f"{file.node.name} ({file.kind}) where a control record was expected")
        own = control.control_type(file.name)
        if prefix == framing_prefix(own.fingerprint):
            return own.read
        try:
            return control.control_reader_from(file.name, file.node, len(prefix))
        except Unresolvable as error:
            raise DecodingError(f"{file.relative_path} cannot be read: {error}") from error

    def _state(self, aggregate: AggregateType) -> tuple[StateWriter, StateReader, int]:
        found = self._states.get(aggregate.name)
        if found is None:
            schema = self.state_schema(aggregate)
            node = cast(RecordNode, parse(schema))
            record = aggregate.record
            name = f"the state of {aggregate.cls.__name__}"
            write = compile_writer(name, record, node, "value", canonical=True)
            read = compile_reader(name, build(record, node, node), "into", 0)
            whole = json.dumps(schema, sort_keys=True, separators=(",", ":"))
            found = self._states[aggregate.name] = write, read, crc64_avro(whole.encode())
        return found

    def state_schema(self, aggregate: AggregateType) -> Json:
        """The Avro schema of the aggregate's state, as JSON values."""
        namespace = avro_namespace(self._pipeline.name, aggregate.name)
        return state_schema(namespace, aggregate.record.name, aggregate.record)


def _declared(aggregate: AggregateType, kind: MessageKind) -> Mapping[type, MessageType]:
    return aggregate.commands if kind == "command" else aggregate.events


_NORMALISED = {"datetime", "time"}


def needs_decoded_copy(record: RecordType) -> bool:
    """Whether an event must be applied from its decoded copy: it holds containers or nested values, which the state
    might come to share, or values that come back equal but in another form (a zone becomes UTC, 1.5 becomes 1.50)."""
    return not flat(record) or any(_is_normalised(field.type) for field in record.fields)


def flat(record: RecordType) -> bool:
    """Whether every field is an immutable scalar."""
    return not any(_is_nested(field.type) for field in record.fields)


def _is_nested(declared: FieldType) -> bool:
    if isinstance(declared, UnionOf):
        return any(map(_is_nested, declared.members))
    return isinstance(declared, ListOf | SetOf | DictOf | TupleOf | RecordOf)


def _is_normalised(declared: FieldType) -> bool:
    if isinstance(declared, UnionOf):
        return any(map(_is_normalised, declared.members))
    if isinstance(declared, Primitive):
        return declared.kind in _NORMALISED
    return isinstance(declared, DecimalScaled)

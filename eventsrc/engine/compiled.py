"""Everything the hot loop needs of one aggregate class, looked up once instead of per record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from xxhash import xxh3_64_digest

from eventsrc.codec.catalog import Catalog, needs_decoded_copy
from eventsrc.engine.preimage import Capture, Restore, pre_image_of
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.recorded import CommandMeta


class CompiledCommand(NamedTuple):
    """How to read and decide one kind of command, found by the first ten bytes of its value."""

    read: Callable[[bytes], tuple[CommandMeta, int, Any]]
    handle: Callable[..., Any]
    wants_context: bool
    validate: Callable[[Any], None] | None
    hash_seed: int


class CompiledEvent(NamedTuple):
    """How to write and apply one kind of event. `reread` decodes what was just encoded, for events with containers:
    the aggregate must never share a list with the event that the log keeps."""

    write: Callable[..., bytes]
    apply: Callable[..., None]
    wants_recorded: bool
    reread: Callable[[bytes], tuple[Any, Any]] | None


class CompiledAggregate:
    """Compiled from an AggregateType and a Catalog; immutable but for the cache of command readers."""

    def __init__(self, aggregate: AggregateType, catalog: Catalog) -> None:
        self.type = aggregate
        self.catalog = catalog
        self.new: Callable[[bytes], Any] = aggregate.new
        self.capture: Capture
        self.restore: Restore
        self.capture, self.restore = pre_image_of(aggregate, catalog)
        self.commands: dict[bytes, CompiledCommand] = {}
        self.events: dict[type, CompiledEvent] = {cls: self._event(cls) for cls in aggregate.appliers}

    def command(self, value: bytes) -> CompiledCommand:
        """The way to decide this command. Raises UnknownSchema, NotThisKind, DecodingError."""
        prefix = value[:10]
        found = self.commands.get(prefix)
        if found is None:
            read = self.catalog.command_reader(self.type, prefix)
            _, _, command = read(value)
            found = self.commands[prefix] = self._command(type(command), prefix, read)
        return found

    def _command(self, cls: type, prefix: bytes, read: Callable[[bytes], Any]) -> CompiledCommand:
        handler = self.type.handlers[cls]
        message = self.type.commands[cls]
        validate = message.validate if message.constrained else None
        seed = int.from_bytes(prefix[2:10], "little")
        return CompiledCommand(read, handler.function, handler.wants_context, validate, seed)

    def _event(self, cls: type) -> CompiledEvent:
        applier = self.type.appliers[cls]
        write = self.catalog.event_writer(self.type, cls)
        message = self.type.events[cls]
        reread = self._reread if needs_decoded_copy(message.record) else None
        return CompiledEvent(write, applier.function, applier.wants_recorded, reread)

    def _reread(self, encoded: bytes) -> tuple[Any, Any]:
        return self.catalog.event_reader(self.type, encoded[:10])(encoded)


def payload_hash(value: bytes, body_start: int, seed: int) -> bytes:
    """Of what a caller asked for: the kind of command and its fields, not its meta."""
    return xxh3_64_digest(value[body_start:], seed)

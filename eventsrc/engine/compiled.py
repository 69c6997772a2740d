"""Everything the hot loop needs of one aggregate class, looked up once instead of per record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xxhash import xxh3_64_digest

from eventsrc.codec.catalog import Catalog, DecidingReader, needs_decoded_copy
from eventsrc.codec.control import Barrier
from eventsrc.codec.framing import prefix_of
from eventsrc.engine.preimage import pre_images_of
from eventsrc.model.aggregate import AggregateType

CompiledCommand = tuple[DecidingReader, Callable[..., Any], bool, Callable[[Any], None] | None, int]
"""How to read and decide one kind of command, found by its value's prefix: the reader, the handler, whether
it wants a context, the check of constraints, the seed of its payload hash. A plain tuple, as `CompiledEvent` is: the
loop unpacks one per record, and a named one takes three times as long to unpack."""

CompiledEvent = tuple[Callable[..., bytes], Callable[..., None], bool, Callable[[bytes], tuple[Any, Any]] | None]
"""How to write and apply one kind of event: the writer, the applier, whether it wants `Recorded`, and what decodes again
what was just encoded, for events with containers: the aggregate must never share a list with the event that the log keeps."""


class CompiledAggregate:
    """Compiled from an AggregateType and a Catalog; immutable but for the cache of command readers."""

    def __init__(self, aggregate: AggregateType, catalog: Catalog) -> None:
        self.type = aggregate
        self.catalog = catalog
        self.new: Callable[[bytes], Any] = aggregate.new
        self.capture, self.capture_anew, self.restore, self.check_state = pre_images_of(aggregate, catalog)
        self.write_barrier: Callable[[Barrier], bytes] = catalog.barrier_writer(aggregate)
        self.commands: dict[bytes, CompiledCommand] = {}
        self.events: dict[type, CompiledEvent] = {cls: self._event(cls) for cls in aggregate.appliers}

    def command(self, value: bytes) -> CompiledCommand:
        """The way to decide this command. Raises UnknownSchema, NotThisKind, DecodingError."""
        prefix = prefix_of(value)
        found = self.commands.get(prefix)
        if found is None:
            read = self.catalog.deciding_reader(self.type, prefix)
            command = read(value)[-1]
            found = self.commands[prefix] = self._command(type(command), prefix, read)
        return found

    def _command(self, cls: type, prefix: bytes, read: DecidingReader) -> CompiledCommand:
        handler = self.type.handlers[cls]
        message = self.type.commands[cls]
        validate = message.validate if message.constrained else None
        seed = self.catalog.fingerprint_named_by(prefix)  # not the prefix: a caller may send again by the other framing
        return read, handler.function, handler.wants_context, validate, seed

    def _event(self, cls: type) -> CompiledEvent:
        applier = self.type.appliers[cls]
        write = self.catalog.event_writer(self.type, cls)
        message = self.type.events[cls]
        reread = self._reread if needs_decoded_copy(message.record) else None
        return write, applier.function, applier.wants_recorded, reread

    def _reread(self, encoded: bytes) -> tuple[Any, Any]:
        return self.catalog.event_reader(self.type, prefix_of(encoded))(encoded)


def payload_hash(value: bytes, body_start: int, seed: int) -> bytes:
    """Of what a caller asked for: the kind of command and its fields, not its meta."""
    return xxh3_64_digest(value[body_start:], seed)

"""Aggregates: what `@pipeline.aggregate` makes of a class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from eventsrc.model.aggregate_checks import (
    Declarations,
    check_bases,
    check_given,
    check_methods,
    check_options,
    checked_name,
)
from eventsrc.model.fields import read_fields
from eventsrc.model.given import Aggregate
from eventsrc.model.message import MessageType, check_shape, scope_of
from eventsrc.model.methods import read_methods
from eventsrc.model.mistakes import Mistakes
from eventsrc.model.slotted import slotted_dataclass
from eventsrc.model.types import MISSING, Field, RecordType
from eventsrc.model.values import as_read


@dataclass(frozen=True, slots=True)
class Handler:
    """`function(aggregate, command)`, with a `Context` after it if `wants_context`."""

    function: Callable[..., Any]
    wants_context: bool


@dataclass(frozen=True, slots=True)
class Applier:
    """`function(aggregate, event)`, with a `Recorded` after it if `wants_recorded`."""

    function: Callable[..., Any]
    wants_recorded: bool


@dataclass(frozen=True, slots=True)
class Compensation:
    """`function(aggregate, event)`, with a `Recorded` after it if `wants_recorded`."""

    function: Callable[..., Any]
    wants_recorded: bool


@dataclass(frozen=True, slots=True, eq=False)
class AggregateType:
    """A declared aggregate. `cls` is the slotted class that the decorator returned, `name` its kebab-case name."""

    cls: type
    name: str
    version: int
    deduplicate: int
    record: RecordType
    handlers: Mapping[type, Handler]
    appliers: Mapping[type, Applier]
    compensations: Mapping[type, Compensation]
    commands: Mapping[type, MessageType]
    """Those it handles."""
    events: Mapping[type, MessageType]
    """Those it applies."""
    new: Callable[[bytes], Any]
    """An instance with every default, for the id whose key this is."""


def declare_aggregate(
    cls: type, known: Declarations, frame: FrameType, *, name: str | None, version: int, deduplicate: int
) -> AggregateType:
    """Raises `DeclarationError` with every mistake in the class."""
    mistakes = Mistakes(cls, frame)
    scope = scope_of(frame)
    topic_name = checked_name(cls, name, known, mistakes)
    check_options(version, deduplicate, mistakes)
    check_bases(cls, mistakes)
    check_given(cls, mistakes)
    check_shape(cls, "aggregate", mistakes)
    declared = read_fields(cls, "aggregate", scope, mistakes)
    methods = read_methods(cls, scope, mistakes)
    by_role = check_methods(cls, methods, known, mistakes)
    mistakes.raise_if_any()
    made = slotted_dataclass(cls, Aggregate)
    record = RecordType(made, cls.__name__, declared.fields)
    return AggregateType(
        made,
        topic_name,
        version,
        deduplicate,
        record,
        {m.takes: Handler(m.function, m.takes_more) for m in by_role["handle"]},
        {m.takes: Applier(m.function, m.takes_more) for m in by_role["apply"]},
        {m.takes: Compensation(m.function, m.takes_more) for m in by_role["compensate"]},
        {m.takes: known.commands[m.takes] for m in by_role["handle"]},
        {m.takes: known.events[m.takes] for m in by_role["apply"]},
        _constructor(made, record),
    )


def _factory(field: Field) -> Callable[[], Any]:
    factory = field.default_factory
    if factory is None:
        raise AssertionError(f"{field.name} has no default")
    made = factory()
    return factory if as_read(field.type, made) is made else lambda: as_read(field.type, factory())


def _constructor(cls: type, record: RecordType) -> Callable[[bytes], Any]:
    """One function that fills every slot: the fold makes an instance for each key it meets. Defaults have the form in which they
    come back from a checkpoint, or an @apply method could tell one from the other."""
    scope: dict[str, Any] = {"cls": cls, "make": object.__new__}
    lines = ["def new(key, cls=cls, make=make):", " self = make(cls)"]
    for number, field in enumerate(record.fields):
        made_new = field.default is MISSING
        scope[f"default_{number}"] = _factory(field) if made_new else field.default
        lines.append(f" self.{field.name} = default_{number}{'()' if made_new else ''}")
    lines += [
        ' self._eventsrc_key = key; self._eventsrc_sequence = 0; self._eventsrc_memory = b""',
        " self._eventsrc_known = self._eventsrc_encoded = None",
        " return self",
    ]
    exec("\n".join(lines), scope)  # of field names, which are checked identifiers, and our own text
    new: Callable[[bytes], Any] = scope["new"]
    return new

"""`Pipeline`: the object an application declares its classes on."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform, overload

from eventsrc.codes import MistakeGroup
from eventsrc.errors import DeclarationError, InvalidSettings
from eventsrc.model import names
from eventsrc.model.aggregate import AggregateType, declare_aggregate
from eventsrc.model.aggregate_checks import Declarations
from eventsrc.model.durations import Duration
from eventsrc.model.message import MessageKind, MessageType, declare_message, nearest
from eventsrc.model.mistakes import Mistakes, place
from eventsrc.model.settings import PipelineSettings

if TYPE_CHECKING:
    from typing import Unpack

    from eventsrc.model.settings import SettingsKeywords

T = TypeVar("T")


class Pipeline:
    """Aggregates with their commands and events, which are processed together: one consumer group, one set of topics.

    `name` is in every topic's name: small letters, digits and hyphens. `partitions` never changes once there are events.
    Further settings by keyword: see `PipelineSettings`. Raises `InvalidSettings` with every problem at once. Decorate
    classes with `command`, `event` and `aggregate`, in this order; a class with mistakes raises `DeclarationError`.
    """

    def __init__(
        self,
        name: str,
        *,
        partitions: int = 8,
        recovery_time_objective: Duration = "2s",
        **settings: Unpack[SettingsKeywords],
    ) -> None:
        if not isinstance(name, str) or not names.is_kebab_name(name) or len(name) > 100:
            raise InvalidSettings(
                f"Pipeline({name!r}): the name begins every topic's name; write small letters, digits and "
                'hyphens, a letter first, at most 100 characters, as in "bank" or "order-desk"'
            )
        self.name = name
        self.settings = PipelineSettings.read(
            name, {"partitions": partitions, "recovery_time_objective": recovery_time_objective, **settings}
        )
        self.commands: dict[type, MessageType] = {}
        self.events: dict[type, MessageType] = {}
        self.aggregates: dict[str, AggregateType] = {}

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r}, aggregates={list(self.aggregates)})"

    @overload
    def command(self, cls: type[T], /) -> type[T]: ...
    @overload
    def command(self, /, *, name: str | None = None, aliases: Sequence[str] = ()) -> Callable[[type[T]], type[T]]: ...
    @dataclass_transform(field_specifiers=(dataclasses.field,))
    def command(self, cls: type | None = None, /, *, name: str | None = None, aliases: Sequence[str] = ()) -> Any:
        """Declares a command: a slotted dataclass, positional fields, checked when a client sends it."""
        return self._decorate(cls, lambda of, frame: self._message(of, "command", name, aliases, frame))

    @overload
    def event(self, cls: type[T], /) -> type[T]: ...
    @overload
    def event(self, /, *, name: str | None = None, aliases: Sequence[str] = ()) -> Callable[[type[T]], type[T]]: ...
    @dataclass_transform(field_specifiers=(dataclasses.field,))
    def event(self, cls: type | None = None, /, *, name: str | None = None, aliases: Sequence[str] = ()) -> Any:
        """Declares an event: a slotted dataclass. `aliases` are names under which older writers recorded it."""
        return self._decorate(cls, lambda of, frame: self._message(of, "event", name, aliases, frame))

    @overload
    def aggregate(self, cls: type[T], /) -> type[T]: ...
    @overload
    def aggregate(
        self, /, *, name: str | None = None, version: int = 1, deduplicate: int = 8
    ) -> Callable[[type[T]], type[T]]: ...
    @dataclass_transform(field_specifiers=(dataclasses.field,))
    def aggregate(
        self, cls: type | None = None, /, *, name: str | None = None, version: int = 1, deduplicate: int = 8
    ) -> Any:
        """Declares an aggregate. `name` stands in its topics (the class name in kebab-case by default), `version`
        in checkpoints; `deduplicate` is how many command ids each aggregate remembers."""
        return self._decorate(cls, lambda of, frame: self._aggregate(of, name, version, deduplicate, frame))

    def aggregate_type(self, aggregate: type | str) -> AggregateType:
        """By class, kebab-case name or class name. Raises `LookupError` that names those there are."""
        for declared in self.aggregates.values():
            if aggregate is declared.cls or aggregate in (declared.name, declared.cls.__name__):
                return declared
        text = aggregate.__name__ if isinstance(aggregate, type) else str(aggregate)
        known = [declared.cls.__name__ for declared in self.aggregates.values()]
        near = nearest(text, [*known, *self.aggregates])
        mend = f"did you mean {near}?" if near else f"it has {', '.join(known) or 'none yet'}"
        raise LookupError(f"pipeline {self.name!r} has no aggregate {text}: {mend}")

    def _decorate(self, cls: Any, declare: Callable[[type, FrameType], type]) -> Any:
        if cls is None:
            return lambda decorated: declare(_a_class(decorated, sys._getframe(1)), sys._getframe(1))
        return declare(_a_class(cls, sys._getframe(2)), sys._getframe(2))

    def _message(
        self, cls: type, kind: MessageKind, name: str | None, aliases: Sequence[str], frame: FrameType
    ) -> type:
        self._refuse_second_declaration(cls, frame)
        message = declare_message(cls, kind, name, aliases, frame)
        (self.commands if kind == "command" else self.events)[message.cls] = message
        return message.cls

    def _aggregate(self, cls: type, name: str | None, version: int, deduplicate: int, frame: FrameType) -> type:
        self._refuse_second_declaration(cls, frame)
        known = Declarations(
            self.name, self.commands, self.events, {name: one.cls for name, one in self.aggregates.items()}
        )
        declared = declare_aggregate(cls, known, frame, name=name, version=version, deduplicate=deduplicate)
        self.aggregates[declared.name] = declared
        declared.cls._eventsrc_pipeline = self  # type: ignore[attr-defined]  # of `Aggregate`, which it inherits
        return declared.cls

    def _refuse_second_declaration(self, cls: type, frame: FrameType) -> None:
        was = "command" if cls in self.commands else "event" if cls in self.events else None
        if was is None and any(declared.cls is cls for declared in self.aggregates.values()):
            was = "aggregate"
        if was is not None:
            mistakes = Mistakes(cls, frame)
            article = "a" if was == "command" else "an"
            mistakes.add(
                MistakeGroup.CLASS,
                None,
                f"is {article} {was} of this pipeline already.",
                "keep",
                "one decorator, or write two classes",
            )
            mistakes.raise_if_any()


def _a_class(thing: Any, frame: FrameType) -> type:
    if isinstance(thing, type):
        return thing
    where = place(frame.f_code.co_filename, frame.f_lineno)
    kind = type(thing).__name__
    message = f"@pipeline.command, .event and .aggregate stand above a class, not above a {kind} ({where})"
    raise DeclarationError(message, [message])

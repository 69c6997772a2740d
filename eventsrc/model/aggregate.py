"""Aggregates: what `@pipeline.aggregate` makes of a class."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from eventsrc.model import names
from eventsrc.model.fields import read_fields
from eventsrc.model.message import MessageType, check_shape, scope_of
from eventsrc.model.methods import Method, read_methods
from eventsrc.model.mistakes import Mistakes
from eventsrc.model.scope import own_annotations
from eventsrc.model.slotted import slotted_dataclass
from eventsrc.model.types import MISSING, RecordType

MAX_DEDUPLICATE = 1024


class Aggregate:
    """What every aggregate is. `@pipeline.aggregate` adds it by itself; written out, `class Account(Aggregate)`, it
    shows `self.id` and `self.sequence` to type checkers that do not use `eventsrc.mypy`."""

    __slots__ = ("_eventsrc_key", "_eventsrc_memory", "_eventsrc_sequence")

    _eventsrc_key: bytes
    _eventsrc_sequence: int
    _eventsrc_memory: bytes

    @property
    def id(self) -> str:
        """The aggregate's own id."""
        try:
            return self._eventsrc_key.decode()
        except AttributeError:
            raise _made_by_hand(self) from None

    @property
    def sequence(self) -> int:
        """In `handle`, that of the last applied event (0: none yet); in `apply`, that of the event being applied."""
        try:
            return self._eventsrc_sequence
        except AttributeError:
            raise _made_by_hand(self) from None


def _made_by_hand(aggregate: Aggregate) -> AttributeError:
    name = type(aggregate).__name__
    return AttributeError(
        f"this {name} has neither id nor sequence, because {name}(...) made it; "
        f'pipeline.aggregate_type({name}).new(b"some-id") makes one that has'
    )


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


@dataclass(frozen=True, slots=True)
class Declarations:
    """What one pipeline has declared so far, as an aggregate's methods may use it."""

    pipeline: str
    commands: Mapping[type, MessageType]
    events: Mapping[type, MessageType]
    aggregates: Mapping[str, AggregateType]


def declare_aggregate(
    cls: type, known: Declarations, frame: FrameType, *, name: str | None, version: int, deduplicate: int
) -> AggregateType:
    """Raises `DeclarationError` with every mistake in the class."""
    mistakes = Mistakes(cls, frame)
    scope = scope_of(frame)
    topic_name = _checked_name(cls, name, known, mistakes)
    _check_options(version, deduplicate, mistakes)
    _check_bases(cls, mistakes)
    _check_given(cls, mistakes)
    check_shape(cls, "aggregate", mistakes)
    declared = read_fields(cls, "aggregate", scope, mistakes)
    methods = read_methods(cls, scope, mistakes)
    by_role = _check_methods(cls, methods, known, mistakes)
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


def _constructor(cls: type, record: RecordType) -> Callable[[bytes], Any]:
    """One function that fills every slot: the fold makes an instance for each key it meets."""
    scope: dict[str, Any] = {"cls": cls, "make": object.__new__}
    lines = ["def new(key, cls=cls, make=make):", " self = make(cls)"]
    for number, field in enumerate(record.fields):
        made_new = field.default is MISSING
        scope[f"default_{number}"] = field.default_factory if made_new else field.default
        lines.append(f" self.{field.name} = default_{number}{'()' if made_new else ''}")
    lines += [' self._eventsrc_key = key; self._eventsrc_sequence = 0; self._eventsrc_memory = b""', " return self"]
    exec("\n".join(lines), scope)  # of field names, which are checked identifiers, and our own text
    new: Callable[[bytes], Any] = scope["new"]
    return new


def _checked_name(cls: type, name: Any, known: Declarations, mistakes: Mistakes) -> str:
    topic_name = names.kebab_case(cls.__name__) if name is None else name
    if not isinstance(topic_name, str) or not names.is_kebab_name(topic_name):
        told = f"the class name becomes {topic_name!r}" if name is None else f"name={name!r}"
        problem = f"{told}, which does not fit a topic's name: small letters, digits and hyphens, a letter first."
        mistakes.add(None, problem, "write", '@pipeline.aggregate(name="account")')
        return ""
    longest = names.commands_topic(known.pipeline, topic_name)
    if len(longest) > names.MAX_TOPIC_LENGTH:
        problem = f"the topic {longest[:40]}... has {len(longest)} characters: Kafka takes {names.MAX_TOPIC_LENGTH}."
        mistakes.add(None, problem, "write", '@pipeline.aggregate(name="something-shorter")')
    other = known.aggregates.get(topic_name)
    if other is not None:
        mistakes.add(
            None,
            f"{other.cls.__module__}.{other.cls.__qualname__} has the topic name {topic_name!r} already.",
            "write",
            '@pipeline.aggregate(name="another-name")',
        )
    if not names.is_avro_name(cls.__name__):
        mistakes.add(None, "the class name is not ASCII, as Avro wants.", "rename", "the class")
    return topic_name


def _check_options(version: Any, deduplicate: Any, mistakes: Mistakes) -> None:
    if type(version) is not int or version < 1:
        mistakes.add(None, f"version={version!r} is not a whole number from 1 on.", "write", "version=1")
    if type(deduplicate) is not int or not 1 <= deduplicate <= MAX_DEDUPLICATE:
        mistakes.add(
            None,
            f"deduplicate={deduplicate!r} is not a number of commands from 1 to {MAX_DEDUPLICATE:,}.",
            "write",
            "deduplicate=8",
        )


def _check_bases(cls: type, mistakes: Mistakes) -> None:
    for base in cls.__mro__[1:]:
        if base in (object, Aggregate):
            continue
        if issubclass(base, Aggregate):
            mistakes.add(
                None,
                f"inherits from the aggregate {base.__name__}: their histories would be one or two, depending on whom "
                "you ask.",
                "write",
                f"class {cls.__name__}: with its own fields; share behaviour through functions or a nested dataclass",
            )
            return
        if dataclasses.is_dataclass(base) or "__slots__" not in vars(base):
            mistakes.add(
                None,
                f"inherits from {base.__name__}, which may hold state that is in no schema.",
                "write",
                f"__slots__ = () in {base.__name__} if it only has methods; else its fields here",
            )


def _check_given(cls: type, mistakes: Mistakes) -> None:
    """A field of these names is refused with the fields; a method or property would hide what is given."""
    for name in ("id", "sequence"):
        if name in vars(cls) and name not in own_annotations(cls):
            mistakes.add(name, f"self.{name} is given, and this would hide it.", "rename", "it")
    for name in sorted(getattr(cls, "__abstractmethods__", ())):
        mistakes.add(name, "is abstract: no instance could be made.", "write", f"the body of {name}")


def _check_methods(
    cls: type, methods: list[Method], known: Declarations, mistakes: Mistakes
) -> dict[str, list[Method]]:
    by_role: dict[str, list[Method]] = {"handle": [], "apply": [], "compensate": []}
    for method in methods:
        by_role[method.role].append(method)
    for role, first_methods in by_role.items():
        _check_one_each(first_methods, mistakes)
        for method in first_methods:
            _check_declared(method, "command" if role == "handle" else "event", known, mistakes)
    applied = {method.takes for method in by_role["apply"]}
    for method in by_role["handle"] + by_role["compensate"]:
        _check_returns(method, applied, known, mistakes)
    for method in by_role["compensate"]:
        if method.takes in known.events and method.takes not in applied:
            problem = f"compensates `{method.takes.__name__}`, which no @apply method takes: it never happens here."
            mistakes.add(method.name, problem, "add", _applier(method.takes))
    if not mistakes:
        _check_complete(by_role, mistakes)
        _check_names(cls, by_role, known, mistakes)
    return by_role


def _check_complete(by_role: Mapping[str, list[Method]], mistakes: Mistakes) -> None:
    if not by_role["handle"]:
        mistakes.add(
            None,
            "has no @handle method: no command could ever be sent to it.",
            "add",
            "@handle\ndef open(self, command: Open) -> Opened: ...",
        )
    if not by_role["apply"]:
        mistakes.add(
            None,
            "has no @apply method: nothing could ever happen to it.",
            "add",
            "@apply\ndef opened(self, event: Opened) -> None: ...",
        )


def _check_names(cls: type, by_role: Mapping[str, list[Method]], known: Declarations, mistakes: Mistakes) -> None:
    """All records of an aggregate share a namespace: its state, its commands and its events."""
    taken = {cls.__name__: f"the aggregate {cls.__name__}"}
    for method in [*by_role["handle"], *by_role["apply"]]:
        message = (known.commands if method.role == "handle" else known.events)[method.takes]
        for name in (message.name, *message.aliases):
            owner = f"the {message.kind} {message.cls.__name__}"
            other = taken.setdefault(name, owner)
            if other is not owner:
                problem = f"takes {owner}, whose name or alias {name!r} is that of {other} already."
                mistakes.add(method.name, problem, "write", f'@pipeline.{message.kind}(name="...") with another name')


def _check_one_each(methods: Iterable[Method], mistakes: Mistakes) -> None:
    first: dict[type, Method] = {}
    for method in methods:
        other = first.setdefault(method.takes, method)
        if other is not method:
            verb = {"handle": "handles", "apply": "applies", "compensate": "compensates"}[method.role]
            mistakes.add(
                method.name,
                f"{verb} `{method.takes.__name__}`, which {other.name} {verb} already.",
                "merge",
                f"the two into one method, or let {other.name} call the other",
            )


def _check_declared(method: Method, kind: str, known: Declarations, mistakes: Mistakes) -> None:
    declared, other = (known.commands, known.events) if kind == "command" else (known.events, known.commands)
    if method.takes in declared:
        return
    name = method.takes.__name__
    article = {"command": "a command", "event": "an event"}
    if method.takes in other:
        was = "event" if kind == "command" else "command"
        problem = f"takes `{name}`, which is declared as {article[was]}, not as {article[kind]}."
        mend = ("declare", f"a class of its own under @pipeline.{kind}")
    else:
        problem = f"takes `{name}`, which is not declared as {article[kind]} of pipeline {known.pipeline!r}."
        mend = ("write", f"@pipeline.{kind}\nclass {name}: ...")
    mistakes.add(method.name, problem, *mend)


def _check_returns(method: Method, applied: set[type], known: Declarations, mistakes: Mistakes) -> None:
    for event in method.returns:
        if event in applied:
            continue
        verb = "handles" if method.role == "handle" else "compensates"
        does = f"{verb} `{method.takes.__name__}`, but returns `{event.__name__}`"
        if event in known.events:
            mistakes.add(method.name, f"{does}, which no @apply method takes.", "add", _applier(event))
        else:
            kind = "is a command" if event in known.commands else "is not declared as an event"
            mistakes.add(
                method.name, f"{does}, which {kind}.", "write", f"@pipeline.event\nclass {event.__name__}: ..."
            )


def _applier(event: type) -> str:
    method = names.kebab_case(event.__name__).replace("-", "_")
    return f"@apply\ndef {method}(self, event: {event.__name__}) -> None: ..."

"""What an aggregate may be: its name, its bases, and how its methods, commands and events fit together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from eventsrc.codes import MistakeGroup
from eventsrc.model import names
from eventsrc.model.given import Aggregate
from eventsrc.model.message import MessageType
from eventsrc.model.methods import Method
from eventsrc.model.mistakes import Mistakes
from eventsrc.model.scope import own_annotations

MAX_DEDUPLICATE = 1024


@dataclass(frozen=True, slots=True)
class Declarations:
    """What one pipeline has declared so far, as an aggregate's methods may use it."""

    pipeline: str
    commands: Mapping[type, MessageType]
    events: Mapping[type, MessageType]
    aggregates: Mapping[str, type]
    """By kebab-case name."""


def checked_name(cls: type, name: Any, known: Declarations, mistakes: Mistakes) -> str:
    topic_name = names.kebab_case(cls.__name__) if name is None else name
    if not isinstance(topic_name, str) or not names.is_kebab_name(topic_name):
        told = f"the class name becomes {topic_name!r}" if name is None else f"name={name!r}"
        problem = f"{told}, which does not fit a topic's name: small letters, digits and hyphens, a letter first."
        mistakes.add(MistakeGroup.CLASS, None, problem, "write", '@pipeline.aggregate(name="account")')
        return ""
    longest = names.commands_topic(known.pipeline, topic_name)
    if len(longest) > names.MAX_TOPIC_LENGTH:
        problem = f"the topic {longest[:40]}... has {len(longest)} characters: Kafka takes {names.MAX_TOPIC_LENGTH}."
        mistakes.add(MistakeGroup.CLASS, None, problem, "write", '@pipeline.aggregate(name="something-shorter")')
    other = known.aggregates.get(topic_name)
    if other is not None:
        mistakes.add(
            MistakeGroup.CLASS,
            None,
            f"{other.__module__}.{other.__qualname__} has the topic name {topic_name!r} already.",
            "write",
            '@pipeline.aggregate(name="another-name")',
        )
    if not names.is_avro_name(cls.__name__):
        mistakes.add(MistakeGroup.CLASS, None, "the class name is not ASCII, as Avro wants.", "rename", "the class")
    return topic_name


def check_options(version: Any, deduplicate: Any, mistakes: Mistakes) -> None:
    if type(version) is not int or version < 1:
        mistakes.add(
            MistakeGroup.CLASS, None, f"version={version!r} is not a whole number from 1 on.", "write", "version=1"
        )
    if type(deduplicate) is not int or not 1 <= deduplicate <= MAX_DEDUPLICATE:
        mistakes.add(
            MistakeGroup.CLASS,
            None,
            f"deduplicate={deduplicate!r} is not a number of commands from 1 to {MAX_DEDUPLICATE:,}.",
            "write",
            "deduplicate=8",
        )


def check_bases(cls: type, mistakes: Mistakes) -> None:
    for base in cls.__mro__[1:]:
        if base in (object, Aggregate):
            continue
        if issubclass(base, Aggregate):
            mistakes.add(
                MistakeGroup.CLASS,
                None,
                f"inherits from the aggregate {base.__name__}: their histories would be one or two, depending on whom "
                "you ask.",
                "write",
                f"class {cls.__name__}: with its own fields; share behaviour through functions or a nested dataclass",
            )
            return
        if dataclasses.is_dataclass(base) or "__slots__" not in vars(base):
            mistakes.add(
                MistakeGroup.CLASS,
                None,
                f"inherits from {base.__name__}, which may hold state that is in no schema.",
                "write",
                f"__slots__ = () in {base.__name__} if it only has methods; else its fields here",
            )


def check_given(cls: type, mistakes: Mistakes) -> None:
    """A field of these names is refused with the fields; a method or property would hide what is given."""
    for name in ("id", "sequence"):
        if name in vars(cls) and name not in own_annotations(cls):
            mistakes.add(MistakeGroup.METHOD, name, f"self.{name} is given, and this would hide it.", "rename", "it")
    for name in sorted(getattr(cls, "__abstractmethods__", ())):
        mistakes.add(
            MistakeGroup.METHOD, name, "is abstract: no instance could be made.", "write", f"the body of {name}"
        )


def check_methods(cls: type, methods: list[Method], known: Declarations, mistakes: Mistakes) -> dict[str, list[Method]]:
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
            mistakes.add(MistakeGroup.METHOD, method.name, problem, "add", _applier(method.takes))
    if not mistakes:
        _check_complete(by_role, mistakes)
        _check_names(cls, by_role, known, mistakes)
    return by_role


def _check_complete(by_role: Mapping[str, list[Method]], mistakes: Mistakes) -> None:
    if not by_role["handle"]:
        mistakes.add(
            MistakeGroup.CLASS,
            None,
            "has no @handle method: no command could ever be sent to it.",
            "add",
            "@handle\ndef open(self, command: Open) -> Opened: ...",
        )
    if not by_role["apply"]:
        mistakes.add(
            MistakeGroup.CLASS,
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
                mistakes.add(
                    MistakeGroup.METHOD,
                    method.name,
                    problem,
                    "write",
                    f'@pipeline.{message.kind}(name="...") with another name',
                )


def _check_one_each(methods: Iterable[Method], mistakes: Mistakes) -> None:
    first: dict[type, Method] = {}
    for method in methods:
        other = first.setdefault(method.takes, method)
        if other is not method:
            verb = {"handle": "handles", "apply": "applies", "compensate": "compensates"}[method.role]
            mistakes.add(
                MistakeGroup.METHOD,
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
    mistakes.add(MistakeGroup.METHOD, method.name, problem, *mend)


def _check_returns(method: Method, applied: set[type], known: Declarations, mistakes: Mistakes) -> None:
    for event in method.returns:
        if event in applied:
            continue
        verb = "handles" if method.role == "handle" else "compensates"
        does = f"{verb} `{method.takes.__name__}`, but returns `{event.__name__}`"
        if event in known.events:
            mistakes.add(
                MistakeGroup.METHOD, method.name, f"{does}, which no @apply method takes.", "add", _applier(event)
            )
        else:
            kind = "is a command" if event in known.commands else "is not declared as an event"
            mistakes.add(
                MistakeGroup.METHOD,
                method.name,
                f"{does}, which {kind}.",
                "write",
                f"@pipeline.event\nclass {event.__name__}: ...",
            )


def _applier(event: type) -> str:
    method = names.kebab_case(event.__name__).replace("-", "_")
    return f"@apply\ndef {method}(self, event: {event.__name__}) -> None: ..."

"""The marked methods of an aggregate, read and checked. Owns what a method may look like."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from eventsrc.codes import MistakeGroup
from eventsrc.model.marks import Misused, Role, roles_of
from eventsrc.model.mistakes import Mistakes
from eventsrc.model.scope import Scope, unresolved
from eventsrc.model.spelling import shown

_TAKES = {"handle": "command", "apply": "event", "compensate": "event"}
_THIRD = {"handle": "context: Context", "apply": "recorded: Recorded", "compensate": "recorded: Recorded"}


@dataclass(frozen=True, slots=True)
class Method:
    """A marked method that reads well. `returns` are the classes that its annotation names; `takes` its message's."""

    name: str
    function: Callable[..., Any]
    role: Role
    takes: type
    takes_more: bool
    returns: tuple[type, ...]


def read_methods(cls: type, scope: Scope, mistakes: Mistakes) -> list[Method]:
    """In the order of the class body; those that are mistaken are reported and left out."""
    methods = []
    for name, function, role in _marked(cls, mistakes):
        method = _read_method(name, function, role, scope, mistakes)
        if method is not None:
            methods.append(method)
    return methods


def _marked(cls: type, mistakes: Mistakes) -> Iterator[tuple[str, types.FunctionType, Role]]:
    body: dict[str, Any] = {}
    for owner in reversed(cls.__mro__):
        body |= vars(owner)
    for name, thing in body.items():
        if isinstance(thing, Misused):
            mend = (
                ("write", f"@{thing.role}\ndef {name}(self, ...)") if thing.line is None else ("rename", "one of them")
            )
            mistakes.add(MistakeGroup.METHOD, name, thing.problem, *mend, line=thing.line)
            continue
        inner = thing.__func__ if isinstance(thing, staticmethod | classmethod) else thing
        roles = roles_of(inner) if isinstance(inner, types.FunctionType) else ()
        if not roles:
            continue
        if inner is not thing:
            kind = type(thing).__name__
            mistakes.add(
                MistakeGroup.METHOD, name, f"is a {kind}: it has no aggregate to work on.", "leave", f"@{kind} out"
            )
        elif len(roles) > 1:
            decorators = " and ".join(f"@{role}" for role in roles)
            mistakes.add(
                MistakeGroup.METHOD,
                name,
                f"carries {decorators}: a method has one part to play.",
                "write",
                "a method for each",
            )
        else:
            yield name, inner, roles[0]


def _read_method(
    name: str, function: types.FunctionType, role: Role, scope: Scope, mistakes: Mistakes
) -> Method | None:
    takes = _TAKES[role]
    sound = _runs_at_once(name, function, role, mistakes)
    parameters = _positional(name, function, role, mistakes)
    if parameters is None:
        return None
    annotation = parameters[1].annotation
    if annotation is inspect.Parameter.empty:
        rest = f", {parameters[2].name}" if len(parameters) == 3 else ""
        name_it = f"def {name}(self, {parameters[1].name}: SomeClass{rest})"
        mistakes.add(
            MistakeGroup.METHOD, name, f"{parameters[1].name} has no type, so no {takes} leads here.", "write", name_it
        )
        return None
    method_scope = Scope(function.__globals__, scope.function)
    message = _resolved(name, annotation, method_scope, mistakes)
    returns = _returned(name, function, role, method_scope, mistakes)
    if message is None:
        return None
    if not isinstance(message, type) or get_origin(message) is not None:
        mistakes.add(
            MistakeGroup.METHOD,
            name,
            f"{parameters[1].name} is `{shown(annotation)}`, which is not one class.",
            "write",
            f"a method for each {takes} class",
        )
        return None
    if not sound or returns is None:
        return None
    return Method(name, function, role, message, len(parameters) == 3, returns)


def _runs_at_once(name: str, function: types.FunctionType, role: Role, mistakes: Mistakes) -> bool:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        mistakes.add(
            MistakeGroup.METHOD,
            name,
            "is async: deciding and applying take no time of their own, and a replay cannot wait.",
            "write",
            f"def {name}(...), and leave what waits to the caller or to an effect",
        )
        return False
    if role == "apply" and inspect.isgeneratorfunction(function):
        mistakes.add(
            MistakeGroup.METHOD,
            name,
            "has a yield: calling it would only make a generator, and change nothing.",
            "write",
            f"def {name}(...) -> None, without yield",
        )
        return False
    return True


def _positional(
    name: str, function: types.FunctionType, role: Role, mistakes: Mistakes
) -> list[inspect.Parameter] | None:
    parameters = list(inspect.signature(function).parameters.values())
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    mend = f"def {name}(self, {_TAKES[role]}: ...) or def {name}(self, {_TAKES[role]}: ..., {_THIRD[role]})"
    odd = [parameter for parameter in parameters if parameter.kind not in by_position]
    if odd:
        stars: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
        text = stars.get(odd[0].kind, "keyword-only ") + odd[0].name
        mistakes.add(MistakeGroup.METHOD, name, f"has {text}: everything is given by position.", "write", mend)
        return None
    if len(parameters) not in (2, 3):
        count = "1 parameter" if len(parameters) == 1 else f"{len(parameters)} parameters"
        mistakes.add(MistakeGroup.METHOD, name, f"has {count}: a method under @{role} has 2 or 3.", "write", mend)
        return None
    return parameters


def _resolved(name: str, annotation: Any, scope: Scope, mistakes: Mistakes) -> Any:
    """None, with a mistake, where it cannot be resolved."""
    try:
        return scope.resolve(annotation)
    except Exception as error:  # noqa: BLE001 - evaluating somebody's annotation may raise anything
        mend = "it, or import it, above this class and outside `if TYPE_CHECKING:`"
        mistakes.add(MistakeGroup.METHOD, name, unresolved(annotation, error), "declare", mend)
        return None


def _returned(
    name: str, function: types.FunctionType, role: Role, scope: Scope, mistakes: Mistakes
) -> tuple[type, ...] | None:
    """The classes of the events it returns; none where the annotation is missing, or says `Any`."""
    annotation = function.__annotations__.get("return", Any)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return None
    resolved = _resolved(name, annotation, scope, mistakes)
    if resolved is None:
        return None
    found: list[type] = []
    odd = list(_event_classes(resolved, found))
    if role == "apply":
        if found or odd:
            mistakes.add(
                MistakeGroup.METHOD,
                name,
                f"returns `{shown(annotation)}`: an @apply method only changes the state.",
                "write",
                f"def {name}(...) -> None, and set what it returned as a field",
            )
            return None
        return ()
    if odd:
        mistakes.add(
            MistakeGroup.METHOD,
            name,
            f"returns `{shown(annotation)}`, which does not say which events.",
            "write",
            "the event class, a union of event classes, or Iterable[...] of them; None where there may be none",
        )
        return None
    return tuple(dict.fromkeys(found))


def _event_classes(annotation: Any, found: list[type]) -> Iterator[Any]:
    """Collects event classes into `found`; yields what is neither an event class nor a container of them."""
    if annotation in (None, type(None), Any, typing.NoReturn, typing.Never):
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Union or origin is types.UnionType:
        for argument in arguments:
            yield from _event_classes(argument, found)
    elif isinstance(origin, type) and _is_iterable_of_events(origin):
        is_generator = issubclass(origin, collections.abc.Generator)
        for argument in arguments[:1] if is_generator else arguments:
            if argument is not Ellipsis:
                yield from _event_classes(argument, found)
    elif isinstance(annotation, type) and origin is None and not _is_container_or_value(annotation):
        found.append(annotation)
    else:
        yield annotation


def _is_iterable_of_events(origin: type) -> bool:
    return issubclass(origin, collections.abc.Iterable) and not issubclass(origin, Mapping)


def _is_container_or_value(cls: type) -> bool:
    return cls.__module__ in ("builtins", "collections.abc", "typing")

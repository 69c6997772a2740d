"""Annotations that are no field types: what is wrong with each, and what to write instead."""

from __future__ import annotations

import collections.abc
from collections.abc import Callable
from typing import Any

from eventsrc.model.spelling import shown

# What people write, and what says the same with a type that can be read back exactly.
_INSTEAD: dict[Any, str] = {
    list: "list[str]",
    dict: "dict[str, str]",
    tuple: "tuple[str, ...]",
    set: "set[str]",
    frozenset: "frozenset[str]",
    bytearray: "bytes",
    memoryview: "bytes",
    complex: "tuple[float, float]",
    collections.abc.Sequence: "list[...]",
    collections.abc.Iterable: "list[...]",
    collections.abc.Collection: "list[...]",
    collections.abc.MutableSequence: "list[...]",
    collections.abc.Mapping: "dict[str, ...]",
    collections.abc.MutableMapping: "dict[str, ...]",
    collections.abc.Set: "set[...]",
    collections.abc.MutableSet: "set[...]",
}


class Unreadable(Exception):  # noqa: N818 - never leaves the model: it becomes a mistake with a place
    """An annotation that is no field type. `instead` is an annotation to write in its place, unless `verb` says what
    to do in words. `member` is the field's name where it is one of a nested class."""

    def __init__(self, problem: str, instead: str, verb: str | None = None, member: str | None = None) -> None:
        self.problem = problem
        self.instead = instead
        self.verb = verb
        self.member = member
        super().__init__(problem)


_BARE = (list, dict, tuple, set, frozenset)
_FAMILIES: tuple[tuple[Callable[[type], bool], str, str], ...] = (
    (lambda cls: hasattr(cls, "model_fields"), "a pydantic model", "a dataclass with the same fields"),
    (lambda cls: hasattr(cls, "__attrs_attrs__"), "an attrs class", "a dataclass with the same fields"),
    (lambda cls: issubclass(cls, tuple), "a tuple with names", "a dataclass with the same fields"),
    (lambda cls: issubclass(cls, dict), "a kind of dict", "a dataclass with the same fields, or dict[str, ...]"),
    (
        lambda cls: issubclass(cls, (str, int, float, bytes, list, set)),
        "a subclass, which would come back from the log as its base class",
        "the base class, or a NewType of it",
    ),
    (
        lambda cls: True,
        "neither a type with an Avro form nor a dataclass",
        "another type, or write @dataclass above that class",
    ),
)


def refused(annotation: Any, origin: Any = None) -> Unreadable:
    """`origin` is `list` for `list[int]`, where the annotation has parameters."""
    text, key = shown(annotation), origin or annotation
    instead = _INSTEAD.get(key) if isinstance(key, collections.abc.Hashable) else None
    if instead is not None and origin is None and key in _BARE:
        return Unreadable(f"`{text}` does not say what it holds.", instead)
    if instead is not None:
        return Unreadable(f"`{text}` does not say which class comes back from the log.", instead)
    if annotation is Any or annotation is object:
        problem = f"`{text}` fits every value, and a schema has to name a type."
        return Unreadable(problem, "the type, or a union of types", "name")
    for check, problem, mend in _FAMILIES:
        if isinstance(annotation, type) and check(annotation):
            return Unreadable(f"`{text}` is {problem}.", mend, "use")
    return Unreadable(
        f"`{text}` has no Avro type.",
        "str, int, float, bool, bytes, Decimal, datetime, date, time, timedelta, UUID, an Enum, Literal,\n"
        "list, tuple, set, dict[str, ...], a dataclass, or a union of these",
        "use",
    )

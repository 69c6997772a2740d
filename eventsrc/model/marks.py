"""`@handle`, `@apply`, `@compensate`: they only mark a method. Everything is checked with the whole class."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from eventsrc.model.recorded import Context, Recorded

    H = TypeVar("H", bound=Callable[[Any, Any], object] | Callable[[Any, Any, Context], object])
    A = TypeVar("A", bound=Callable[[Any, Any], None] | Callable[[Any, Any, Recorded], None])
    C = TypeVar("C", bound=Callable[[Any, Any], object] | Callable[[Any, Any, Recorded], object])

Role = Literal["handle", "apply", "compensate"]
D = TypeVar("D", bound=Callable[..., Any])

_MARK = "_eventsrc_roles"


@dataclass(frozen=True, slots=True)
class Misused:
    """Stands in the class body where a decorator was misused, until the whole class is checked. `line` is given only
    where the member's name leads to another."""

    role: Role
    problem: str
    line: int | None = None


def roles_of(function: Any) -> tuple[Role, ...]:
    """The parts that a method's marks give it."""
    roles: tuple[Role, ...] = getattr(function, _MARK, ())
    return roles


def _decorator(described: D) -> D:
    """A decorator of the described name, which forgives misuse until the class is checked as a whole."""
    role: Any = described.__name__

    @functools.wraps(described)
    def mark(*things: Any, **options: Any) -> Any:
        if len(things) != 1 or options:
            return lambda thing: Misused(role, f"@{role} takes no arguments and no parentheses.")
        (thing,) = things
        frame = sys._getframe(1)
        if not isinstance(thing, types.FunctionType):
            return Misused(role, f"@{role} stands above a {type(thing).__name__}, not above a plain method.")
        shadowed = frame.f_locals.get(thing.__name__)
        if isinstance(shadowed, types.FunctionType) and roles_of(shadowed) and shadowed is not thing:
            line = shadowed.__code__.co_firstlineno
            return Misused(role, f"a second method of this name replaces the one of line {line}.", frame.f_lineno)
        setattr(thing, _MARK, (*roles_of(thing), role))
        return thing

    marker: Any = mark
    return marker  # type: ignore[no-any-return]  # the same signature, with the body above


@_decorator
def handle(method: H, /) -> H:
    """Decides on a command: returns nothing, one event or several, or raises `Rejected`. Never changes the state.

    `(self, command: C)`, or `(self, command: C, context: Context)` for time, randomness and ids."""
    return method


@_decorator
def apply(method: A, /) -> A:
    """Changes the state by an event that has happened. Never decides; a replay calls nothing else.

    `(self, event: E)` or `(self, event: E, recorded: Recorded)`."""
    return method


@_decorator
def compensate(method: C, /) -> C:
    """Returns the event, or the events, that take back what `event` did.

    `(self, event: E)` or `(self, event: E, recorded: Recorded)`."""
    return method

"""Resolving annotations: which names they may use, and what they stand for."""

from __future__ import annotations

import builtins
import sys
import typing
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eventsrc.model.spelling import shown

_BUILTINS = vars(builtins)


@dataclass(frozen=True, slots=True)
class Scope:
    """The names an annotation may use: those of the module, and of the function in which the class is declared."""

    module: dict[str, Any]
    function: Mapping[str, Any]

    def of(self, cls: type) -> Scope:
        """The scope of another class's annotations, which may come from another module."""
        module = sys.modules.get(cls.__module__)
        same = module is None or vars(module) is self.module or self.module.get("__name__") == cls.__module__
        return self if same else Scope(vars(module), self.function)

    def resolve(self, annotation: Any, body: Mapping[str, Any] | None = None) -> Any:
        """The object that an annotation, maybe given as text, stands for; `body` is its class's. Raises whatever
        evaluating it raises: `NameError` for a name that is not (yet) known."""

        def holder() -> None: ...

        holder.__annotations__ = {"annotation": annotation}
        # The class's body comes last: a field named like its type (`date: date = ...`) must not hide it.
        # Nor may a method named like a builtin (`def set(self, ...)`).
        known = {
            name: value for name, value in (body or {}).items() if isinstance(value, type) or name not in _BUILTINS
        }
        local = ChainMap(*([dict(self.function)] if self.function else []), self.module, known)
        return typing.get_type_hints(holder, self.module, local, include_extras=True)["annotation"]


def own_annotations(cls: type) -> dict[str, Any]:
    """As written in the class's own body, unresolved where that was asked for."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return dict(vars(cls).get("__annotations__", {}))


def unresolved(annotation: Any, error: Exception) -> str:
    """A sentence on why an annotation cannot be evaluated."""
    text = annotation if isinstance(annotation, str) else shown(annotation)
    if isinstance(error, NameError):
        subject = f"`{text}`" if text == error.name else f"`{text}` uses {error.name or 'a name'}, which"
        return f"{subject} is not known where the class is decorated."
    return f"`{text}` cannot be evaluated ({type(error).__name__}: {error})."

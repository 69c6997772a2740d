"""`@frozen`: what `@dataclass(frozen=True, slots=True)` gives, for a quarter of the time it takes to define.

A worker that is killed is back only after its modules have been imported, and the several dozen classes of plain values
among them were a sixth of that. For classes of our own without inheritance: fields with or without a plain default,
methods and properties. Where `dataclasses.replace`, `fields` or `asdict` is wanted, use a dataclass.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def frozen(cls: type[T]) -> type[T]:
    """The class anew, with slots, and instances that equal others of the class with equal fields."""
    names = tuple(vars(cls).get("__annotations__", ()))
    namespace = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    defaults = {name: namespace.pop(name) for name in names if name in namespace}
    namespace |= {"__slots__": names, "__match_args__": names, "__init__": _initialiser(names, defaults)}
    made: type[T] = type(cls.__name__, cls.__bases__, namespace | _METHODS)
    return made


def _initialiser(names: tuple[str, ...], defaults: dict[str, Any]) -> Any:
    parameters = ", ".join(["self", *(f"{name}=_defaults[{name!r}]" if name in defaults else name for name in names)])
    body = [f"_set(self, {name!r}, {name})" for name in names] or ["pass"]
    scope: dict[str, Any] = {"_set": object.__setattr__, "_defaults": defaults}
    exec("\n    ".join([f"def __init__({parameters}):", *body]), scope)
    return scope["__init__"]


def _values(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self.__slots__])


def _equals(self: Any, other: object) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _values(self) == _values(other)


def _hash(self: Any) -> int:
    return hash(_values(self))


def _shown(self: Any) -> str:
    fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
    return f"{type(self).__qualname__}({fields})"


def _refuse_to_set(self: Any, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _made_from(self: Any) -> tuple[Any, ...]:
    return type(self), _values(self)


_METHODS = {
    "__eq__": _equals,
    "__hash__": _hash,
    "__repr__": _shown,
    "__setattr__": _refuse_to_set,
    "__delattr__": _refuse_to_delete,
    "__reduce__": _made_from,
}

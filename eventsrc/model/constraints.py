"""Simple constraints, compiled into one expression that says yes.

The worker checks every constrained command again, where pydantic would take microseconds. So bounds on numbers, and
on the length of text and lists, become plain comparisons. They only ever say yes: a no, and every constraint that is
not one of these, is pydantic's to decide and to word.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Union, get_args, get_origin

from eventsrc.model.annotations import without_wrapping

_COMPARISONS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_SIZES = {"min_length": ">=", "max_length": "<="}
_UNIONS = (Union, types.UnionType)


def surely_valid(annotations: Mapping[str, Any], constrained: Iterable[str]) -> Callable[[Any], bool] | None:
    """A function that is true only of instances whose `constrained` fields are valid; None where it never could be."""
    limits: dict[str, Any] = {"Decimal": Decimal}
    conditions = [_condition(f"instance.{name}", annotations[name], limits) for name in constrained]
    if None in conditions:
        return None
    code = f"lambda instance: {' and '.join(condition for condition in conditions if condition) or 'True'}"
    check: Callable[[Any], bool] = eval(code, limits)  # of field names, which are checked identifiers, and our own text
    return check


def _condition(value: str, annotation: Any, limits: dict[str, Any]) -> str | None:
    inner, metadata = _split(annotation)
    if get_origin(inner) in _UNIONS:
        others = [argument for argument in get_args(inner) if argument is not type(None)]
        if metadata or len(others) != 1:
            return None
        condition = _condition(value, others[0], limits)
        return condition and f"({value} is None or {condition})"
    if get_origin(inner) is list:
        if not _is_plain(get_args(inner)[0]):
            return None
        inner = list
    if inner not in (int, float, Decimal, str, list):
        return None
    parts = [f"type({value}) is {inner.__name__}"]
    if inner is Decimal:
        parts.append(f"{value}.is_finite()")  # comparing NaN would raise
    for item in metadata:
        for part in item.metadata if type(item).__name__ == "FieldInfo" else [item]:
            text = _bound(value, inner, part, limits)
            if text is None:
                return None
            parts.append(text)
    return f"({' and '.join(parts)})"


def _bound(value: str, inner: Any, part: Any, limits: dict[str, Any]) -> str | None:
    if isinstance(part, str):
        return "True"
    bounds = _attributes(part)
    if len(bounds) != 1:
        return None
    ((name, limit),) = bounds.items()
    placeholder = f"limit_{len(limits)}"
    limits[placeholder] = limit
    if name in _COMPARISONS and inner in (int, float, Decimal) and type(limit) in (int, float, Decimal):
        return f"{value} {_COMPARISONS[name]} {placeholder}"
    if name in _SIZES and inner in (str, list) and type(limit) is int:
        return f"len({value}) {_SIZES[name]} {placeholder}"
    if name == "decimal_places" and inner is Decimal and type(limit) is int:
        return f"{value}.as_tuple().exponent >= -{placeholder}"
    return None


def _attributes(part: Any) -> dict[str, Any]:
    """What a metadata object restricts, by the names that annotated_types and pydantic give it."""
    module = type(part).__module__.partition(".")[0]
    if module == "annotated_types":
        return {name: getattr(part, name) for name in (*_COMPARISONS, *_SIZES) if hasattr(part, name)}
    return dict(vars(part)) if module == "pydantic" and hasattr(part, "__dict__") else {}


def _split(annotation: Any) -> tuple[Any, list[Any]]:
    metadata: list[Any] = []
    annotation = without_wrapping(annotation)
    while get_origin(annotation) is Annotated:
        annotation, *outer = get_args(annotation)
        metadata = outer + metadata
        annotation = without_wrapping(annotation)
    return annotation, metadata


def _is_plain(annotation: Any) -> bool:
    return without_wrapping(annotation) in (int, float, str, bool, bytes)

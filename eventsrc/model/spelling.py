"""Annotations and field types as people write them, for messages."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, Literal, get_args, get_origin

from eventsrc.model.types import (
    DecimalScaled,
    DictOf,
    EnumOf,
    FieldType,
    ListOf,
    LiteralOf,
    Primitive,
    RecordOf,
    SetOf,
    TupleOf,
    UnionOf,
)


def shown(annotation: Any) -> str:
    """An annotation as people write it."""
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, typing.TypeVar):
        return annotation.__name__
    if annotation == tuple[()]:
        return "tuple[()]"
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return "None" if annotation is type(None) else annotation.__name__
    if annotation is Ellipsis:
        return "..."
    origin = get_origin(annotation)
    if origin is typing.Union or origin is types.UnionType:
        return " | ".join(shown(argument) for argument in get_args(annotation))
    if origin is not None and origin is not Literal and origin is not Annotated:
        return (
            f"{getattr(origin, '__name__', origin)}[{', '.join(shown(argument) for argument in get_args(annotation))}]"
        )
    return str(annotation).replace("typing.", "")


def described(field_type: FieldType) -> str:
    """A field type as people would write its annotation."""
    match field_type:
        case Primitive(kind):
            return {"null": "None", "uuid": "UUID", "decimal-text": "Decimal"}.get(kind, kind)
        case DecimalScaled(places):
            return f"Decimal with {places} places"
        case EnumOf(cls):
            return cls.__name__
        case RecordOf(record):
            return record.cls.__name__
        case LiteralOf(values):
            return f"Literal[{', '.join(map(repr, values))}]"
        case ListOf(item):
            return f"list[{described(item)}]"
        case SetOf(item, frozen):
            return f"{'frozenset' if frozen else 'set'}[{described(item)}]"
        case TupleOf(items, variadic):
            return f"tuple[{', '.join(map(described, items))}{', ...' if variadic else ''}]"
        case DictOf(value):
            return f"dict[str, {described(value)}]"
        case UnionOf(members):
            return " | ".join(map(described, members))
        case _:
            return str(field_type)

"""Whether a value is of a field type, exactly: it would come back from the log equal to what it is; and in which form."""

from __future__ import annotations

import copy
import dataclasses
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any
from uuid import UUID

from eventsrc.model.types import (
    DecimalScaled,
    DictOf,
    EnumOf,
    FieldType,
    Fixed,
    ListOf,
    LiteralOf,
    Primitive,
    RecordOf,
    SetOf,
    TupleOf,
    UnionOf,
)

_CLASSES: dict[str, type] = {
    "null": type(None),
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "uuid": UUID,
    "datetime": datetime,
    "date": date,
    "time": time,
    "timedelta": timedelta,
    "decimal-text": Decimal,
}


def is_mutable(value: Any) -> bool:
    """Whether it could be changed by one who shares it, or something in it."""
    if isinstance(value, list | dict | set | bytearray):
        return True
    if isinstance(value, tuple | frozenset):
        return any(map(is_mutable, value))
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return False
    held = (getattr(value, field.name) for field in dataclasses.fields(value))
    return not type(value).__dataclass_params__.frozen or any(map(is_mutable, held))  # type: ignore[attr-defined]


def is_plain_factory(factory: Any) -> bool:
    """What a schema can hold in its place: what it makes is always the same."""
    return factory in (list, dict, set) or (isinstance(factory, type) and dataclasses.is_dataclass(factory))


_EXACT = Context(prec=80)  # more than any decimal that fits has digits


def as_read(field_type: FieldType, value: Any) -> Any:
    """A value that fits, in the form in which it comes back from the log: a decimal with all its places, a time in UTC. Itself
    where that is its form already."""
    read: Any
    match field_type:
        case DecimalScaled(places):
            read = Decimal(int(value.scaleb(places, _EXACT))).scaleb(-places, _EXACT)
            return value if value.as_tuple() == read.as_tuple() else read
        case Primitive("datetime"):
            return value if value.tzinfo is UTC else value.astimezone(UTC)
        case Primitive("time"):
            return value.replace(fold=0) if value.fold else value
        case UnionOf(members):
            return next(as_read(member, value) for member in members if misfit(member, value) is None)
        case TupleOf(items, variadic):
            read = tuple(as_read(items[0 if variadic else place], one) for place, one in enumerate(value))
            return value if all(one is other for one, other in zip(value, read, strict=True)) else read
        case SetOf(item, _):
            read = type(value)(as_read(item, one) for one in value)
            return value if {*map(id, value)} == {*map(id, read)} else read
        case RecordOf(record):
            held = {field.name: getattr(value, field.name) for field in record.fields}
            other = {field.name: as_read(field.type, held[field.name]) for field in record.fields}
            changed = {name: one for name, one in other.items() if one is not held[name]}
            read = copy.copy(value) if changed else value
            for name, one in changed.items():
                object.__setattr__(read, name, one)
            return read
        case _:
            return value


def misfit(field_type: FieldType, value: Any) -> str | None:
    """Why the value does not fit, as the end of a sentence that begins with the value; None if it does."""
    match field_type:
        case Primitive(kind):
            return _primitive_misfit(kind, value)
        case DecimalScaled(places):
            return _decimal_misfit(places, value)
        case Fixed(size):
            return None if type(value) is bytes and len(value) == size else f"is not {size} bytes"
        case EnumOf(cls):
            return None if type(value) is cls else f"is no member of {cls.__name__}"
        case LiteralOf(values):
            fits = any(type(value) is type(one) and value == one for one in values)
            return None if fits else f"is none of {', '.join(map(repr, values))}"
        case RecordOf(record):
            if type(value) is not record.cls:
                return f"is no {record.cls.__name__}"
            return _first(
                (f"holds {field.name}={{}}, which {{}}", field.type, getattr(value, field.name))
                for field in record.fields
            )
        case UnionOf(members):
            reasons = [misfit(member, value) for member in members]
            return (
                None
                if None in reasons
                else next((r for r in reasons if r and r.startswith("has")), "fits no member of the union")
            )
        case _:
            return _container_misfit(field_type, value)


def _first(checks: Any) -> str | None:
    for template, field_type, value in checks:
        reason = misfit(field_type, value)
        if reason is not None:
            return str(template.format(repr(value), reason))
    return None


def _container_misfit(field_type: ListOf | TupleOf | SetOf | DictOf, value: Any) -> str | None:
    match field_type:
        case ListOf(item):
            if type(value) is not list:
                return "is no list"
            return _first(("holds {}, which {}", item, one) for one in value)
        case SetOf(item, frozen):
            if type(value) is not (frozenset if frozen else set):
                return f"is no {'frozenset' if frozen else 'set'}"
            return _first(("holds {}, which {}", item, one) for one in value)
        case DictOf(item):
            if type(value) is not dict:
                return "is no dict"
            keys = (("has the key {}, which {}", Primitive("str"), key) for key in value)
            return _first(keys) or _first(("holds {}, which {}", item, one) for one in value.values())
        case TupleOf(items, variadic):
            if type(value) is not tuple:
                return "is no tuple"
            if not variadic and len(value) != len(items):
                return f"has {len(value)} items instead of {len(items)}"
            return _first(
                ("holds {}, which {}", items[0 if variadic else place], one) for place, one in enumerate(value)
            )


def _primitive_misfit(kind: str, value: Any) -> str | None:
    cls, own_class = _CLASSES[kind], type(value)
    if own_class is not cls:
        return "is not None" if kind == "null" else f"is no {cls.__name__}"
    if kind == "int" and not -(2**63) <= value < 2**63:
        return "has more than 64 bits"
    if kind == "datetime" and value.utcoffset() is None:
        return "has no time zone"
    if kind == "time" and value.tzinfo is not None:
        return "has a time zone, which a time of day does not keep"
    if kind == "decimal-text" and not value.is_finite():
        return "is not finite"
    if kind == "str":
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds a lone surrogate, which UTF-8 refuses"
    return None


def _decimal_misfit(places: int, value: Any) -> str | None:
    if type(value) is not Decimal:
        return "is no Decimal"
    if not value.is_finite():
        return "is not finite"
    _sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # finite
    if -exponent > places and any(digits[exponent + places :]):
        return f"has more than {places} decimal places"
    if len(digits) + exponent + places > 38:
        return "has more than 38 digits"
    return None

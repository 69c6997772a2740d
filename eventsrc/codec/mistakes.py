"""Says which value a writer refused, and why: the slow walk after the fast code found that something is wrong.

Reads values by their declared types; never writes a byte.
"""

from __future__ import annotations

from typing import Any

from eventsrc.codec import scalars
from eventsrc.codec.schema import is_of, python_class, wire_type
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
    RecordType,
    SetOf,
    TupleOf,
    UnionOf,
)

Mistake = tuple[str, str]
"""The path from the record on, beginning with a dot or a bracket, and the reason."""

_SHOWN = 60
_UNSET = object()


def explain(record: RecordType, value: Any, *, check: bool = True) -> Mistake | None:
    """The first mistake in `value`, or None where every value is of its type."""
    if check and type(value) is not record.cls:
        return "", f"{_name(type(value))} where {record.cls.__name__} is declared"
    for field in record.fields:
        own = getattr(value, field.name, _UNSET)
        if own is _UNSET:
            return f".{field.name}", "it is not set"
        found = _value(wire_type(field), own)
        if found is not None:
            return f".{field.name}{found[0]}", found[1]
    return None


def _value(declared: FieldType, value: Any) -> Mistake | None:
    if isinstance(declared, UnionOf):
        return _union(declared, value)
    if isinstance(declared, LiteralOf):
        if is_of(declared, value):
            return None
        return "", f"{_show(value)} is none of {', '.join(map(repr, declared.values))}"
    cls = python_class(declared)
    if type(value) is not cls:
        return "", f"{_name(type(value))} where {_name(cls)} is declared{_mend(cls, value)}"
    if isinstance(declared, RecordOf):
        return explain(declared.record, value)
    if isinstance(declared, Primitive | DecimalScaled | Fixed):
        return _scalar(declared, value)
    if isinstance(declared, EnumOf):
        return None if getattr(value, "name", None) in declared.cls.__members__ else ("", f"{_show(value)} has no name")
    return _container(declared, value)


def _union(declared: UnionOf, value: Any) -> Mistake | None:
    for member in declared.members:
        if is_of(member, value):
            return _value(member, value)
    wanted = " | ".join(_name(python_class(member)) for member in declared.members)
    return "", f"{_name(type(value))} where {wanted} is declared"


def _scalar(declared: Primitive | DecimalScaled | Fixed, value: Any) -> Mistake | None:
    if isinstance(declared, Fixed):
        return None if len(value) == declared.size else ("", f"{len(value)} bytes where {declared.size} are declared")
    if isinstance(declared, DecimalScaled):
        return _decimal(declared, value)
    if declared.kind == "int":
        return None if -(1 << 63) <= value < 1 << 63 else ("", f"{_show(value)} does not fit in 64 bits")
    if declared.kind == "str":
        return _text(value)
    convert = _CHECKS.get(declared.kind)
    if convert is None:
        return None
    try:
        number = convert(value)
    except Exception as error:  # noqa: BLE001 - whatever the conversion raises is the reason
        return "", f"{_show(value)}: {error}"
    if isinstance(number, int) and not -(1 << 63) <= number < 1 << 63:
        return "", f"{_show(value)} in microseconds does not fit in 64 bits"
    return None


_CHECKS: dict[str, Any] = {
    "datetime": scalars.microseconds_of,
    "date": scalars.days_of,
    "time": scalars.time_of_day_of,
    "timedelta": scalars.timedelta_of,
    "decimal-text": scalars.decimal_text_of,
}


def _decimal(declared: DecimalScaled, value: Any) -> Mistake | None:
    try:
        scalars.scaled_bytes(declared.places)(value)
    except Exception:  # noqa: BLE001 - decimal's signals carry no words
        return "", f"{_show(value)} is not a number of at most {declared.places} decimal places and 38 digits"
    return None


def _text(value: str) -> Mistake | None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return "", f"{_show(value)} holds a lone surrogate at {error.start}, which UTF-8 refuses"
    return None


def _container(declared: FieldType, value: Any) -> Mistake | None:
    if isinstance(declared, DictOf):
        return _dict(declared, value)
    if isinstance(declared, SetOf):
        found = (_value(declared.item, item) for item in value)
        return next((("{}" + mistake[0], mistake[1]) for mistake in found if mistake is not None), None)
    if isinstance(declared, TupleOf) and not declared.variadic:
        if len(value) != len(declared.items):
            return "", f"{len(value)} items where {len(declared.items)} are declared"
        types = declared.items
    else:
        assert isinstance(declared, ListOf | TupleOf)
        types = (declared.item if isinstance(declared, ListOf) else declared.items[0],) * len(value)
    for index, (item_type, item) in enumerate(zip(types, value, strict=True)):
        mistake = _value(item_type, item)
        if mistake is not None:
            return f"[{index}]{mistake[0]}", mistake[1]
    return None


def _dict(declared: DictOf, value: dict[Any, Any]) -> Mistake | None:
    for key, item in value.items():
        if type(key) is not str:
            return f"[{_show(key)}]", f"a key of type {_name(type(key))} where str is declared"
        mistake = _text(key) or _value(declared.value, item)
        if mistake is not None:
            return f"[{_show(key)}]{mistake[0]}", mistake[1]
    return None


def _mend(cls: type, value: Any) -> str:
    if cls is float and type(value) is int:
        return f": it would come back as a float; write {_show(value)}.0 or float(...)"
    if isinstance(value, cls):
        return f": the subclass would be lost; convert it to {_name(cls)}"
    return ""


def _name(cls: type) -> str:
    return "None" if cls is type(None) else cls.__qualname__


def _show(value: Any) -> str:
    try:
        text = ascii(value)
    except Exception:  # noqa: BLE001 - a repr may raise anything; int's own does, above 4300 digits
        return f"a value of type {_name(type(value))}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

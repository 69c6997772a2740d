"""Defaults of fields, read and checked: what is shared, what does not fit, what a schema cannot hold."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from eventsrc.codes import MistakeGroup
from eventsrc.model import names
from eventsrc.model.mistakes import Mistakes
from eventsrc.model.spelling import described, shown
from eventsrc.model.types import (
    MISSING,
    DecimalScaled,
    DictOf,
    EnumOf,
    Field,
    FieldType,
    ListOf,
    LiteralOf,
    Primitive,
    RecordOf,
    SetOf,
    TupleOf,
    UnionOf,
)
from eventsrc.model.values import as_read, is_mutable, is_plain_factory, misfit

Kind = Literal["command", "event", "aggregate"]

_WRITTEN_DEFAULTS = {
    "str": '""', "int": "0", "float": "0.0", "bool": "False", "bytes": 'b""', "decimal-text": 'Decimal("0")',
    "datetime": "datetime(1970, 1, 1, tzinfo=UTC)", "date": "date(1970, 1, 1)", "time": "time()",
    "timedelta": "timedelta()", "uuid": "UUID(int=0)", "null": "None",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WrittenField:
    """A field as its class's body has it. `default` is MISSING, a value, or a `dataclasses.Field`."""

    name: str
    annotation: Any
    default: Any
    owner: type


def read_default(written: WrittenField, kind: Kind, field_type: FieldType, mistakes: Mistakes) -> Field | None:
    default, name = written.default, written.name
    factory = None
    aliases: tuple[str, ...] = ()
    if isinstance(default, dataclasses.Field):
        if not _plain_field(default, name, mistakes):
            return None
        aliases = tuple(default.metadata.get("aliases", ()))
        factory = None if default.default_factory is dataclasses.MISSING else default.default_factory
        default = MISSING if default.default is dataclasses.MISSING else default.default
    if default is MISSING and factory is None:
        if kind == "aggregate":
            mistakes.add(
                MistakeGroup.DEFAULT,
                name,
                "has no default, which it needs before the first event is applied.",
                "write",
                f"{name}: {mistakes.written_annotation(name, shown(written.annotation))} = {_default_for(field_type)}",
            )
            return None
    elif factory is not None:
        if not _factory_fits(written, factory, field_type, mistakes):
            return None
    elif _default_fits(written, default, kind, field_type, mistakes):
        default = as_read(field_type, default)
    else:
        return None
    bad_aliases = [alias for alias in aliases if not names.is_avro_name(alias)]
    if bad_aliases:
        mistakes.add(
            MistakeGroup.FIELD,
            name,
            f"the alias {bad_aliases[0]!r} is no Avro name.",
            "write",
            "it with a-z, A-Z, 0-9 and _",
        )
        return None
    return Field(name, field_type, default, factory, aliases)


def _plain_field(field: dataclasses.Field[Any], name: str, mistakes: Mistakes) -> bool:
    if not field.init:
        mistakes.add(
            MistakeGroup.DEFAULT,
            name,
            "init=False: what the constructor does not take, the log cannot bring back.",
            "leave",
            "init out",
        )
        return False
    if field.kw_only is True:
        mistakes.add(
            MistakeGroup.DEFAULT,
            name,
            "kw_only=True is not used: fields are given by position.",
            "leave",
            "kw_only out",
        )
        return False
    if isinstance(field.metadata.get("aliases", ()), str):
        mistakes.add(
            MistakeGroup.DEFAULT,
            name,
            "aliases is a str.",
            "write",
            f'field(metadata={{"aliases": ["{field.metadata["aliases"]}"]}})',
        )
        return False
    return True


def _factory_fits(written: WrittenField, factory: Any, field_type: FieldType, mistakes: Mistakes) -> bool:
    if not is_plain_factory(factory):
        mistakes.add(
            MistakeGroup.DEFAULT,
            written.name,
            "a default_factory is list, dict, set or a nested class: a schema cannot hold other code.",
            "write",
            f"{written.name}: {shown(written.annotation)} = {_default_for(field_type)}",
        )
        return False
    try:
        made = factory()
    except TypeError:
        mistakes.add(
            MistakeGroup.DEFAULT,
            written.name,
            f"default_factory={factory.__name__}, but {factory.__name__} has fields without a default.",
            "give",
            f"every field of {factory.__name__} a default",
        )
        return False
    reason = misfit(field_type, made)
    if reason is not None:
        mistakes.add(
            MistakeGroup.DEFAULT,
            written.name,
            f"default_factory={factory.__name__} does not make a {described(field_type)}: {made!r} {reason}.",
            "write",
            f"{written.name}: {shown(written.annotation)} = {_default_for(field_type)}",
        )
        return False
    return True


def _default_fits(written: WrittenField, default: Any, kind: Kind, field_type: FieldType, mistakes: Mistakes) -> bool:
    name, text = written.name, mistakes.written_annotation(written.name, shown(written.annotation))
    if type(default).__name__ == "FieldInfo":
        mistakes.add(
            MistakeGroup.DEFAULT,
            name,
            "pydantic's Field() stands as the default, and would be its value.",
            "write",
            f"{name}: Annotated[{text}, {mistakes.written_default(name)}]",
        )
        return False
    if is_mutable(default):
        shared = {"aggregate": f"every {written.owner.__name__}"}.get(kind, f"every {written.owner.__name__} {kind}")
        factory = type(default).__name__
        inside = isinstance(default, tuple | frozenset)  # of which there is no factory
        instead = _default_for(field_type) if inside else f"field(default_factory={factory})"
        note = "" if not default or dataclasses.is_dataclass(default) else "   # and fill it in an @apply method"
        mistakes.add(
            MistakeGroup.DEFAULT,
            name,
            f"the default {default!r} would be shared by {shared}.",
            "write",
            f"{name}: {text} = {instead}{note}",
        )
        return False
    reason = misfit(field_type, default)
    if reason is not None:
        mistakes.add(
            MistakeGroup.DEFAULT,
            name,
            f"the default {default!r} {reason}.",
            "write",
            f"{name}: {text} = {_default_for(field_type)}",
        )
        return False
    return True


def _default_for(field_type: FieldType) -> str:
    """A default that fits, as code."""
    match field_type:
        case Primitive(kind) if kind in _WRITTEN_DEFAULTS:
            return _WRITTEN_DEFAULTS[kind]
        case DecimalScaled():
            return 'Decimal("0")'
        case ListOf():
            return "field(default_factory=list)"
        case DictOf():
            return "field(default_factory=dict)"
        case SetOf(_, frozen):
            return "frozenset()" if frozen else "field(default_factory=set)"
        case EnumOf(cls):
            return f"{cls.__name__}.{next(iter(cls)).name}"
        case LiteralOf(values):
            return repr(values[0])
        case TupleOf(items, variadic):
            return "()" if variadic else f"({', '.join(map(_default_for, items))},)"
        case RecordOf(record):
            return f"field(default_factory={record.cls.__name__})"
        case UnionOf(members) if members[0] == Primitive("null"):
            return "None"
        case UnionOf(members):
            return _default_for(members[0])
        case _:
            return "..."

"""The fields of a declared class: its annotations and defaults, read and checked.

Shared by commands, events and aggregates. Changes nothing in the class.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_origin

from eventsrc.model import names
from eventsrc.model.annotations import TypeReader
from eventsrc.model.marks import Misused
from eventsrc.model.mistakes import Mistakes
from eventsrc.model.refusals import Unreadable
from eventsrc.model.scope import Scope, own_annotations, unresolved
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
from eventsrc.model.values import misfit

Kind = Literal["command", "event", "aggregate"]

RESERVED = {
    "id": "every aggregate's own id is given as self.id",
    "sequence": "the number of an aggregate's last event is given as self.sequence",
    "meta": "the first field of every record is named meta",
}

_WRITTEN_DEFAULTS = {
    "str": '""', "int": "0", "float": "0.0", "bool": "False", "bytes": 'b""', "decimal-text": 'Decimal("0")',
    "datetime": "datetime(1970, 1, 1, tzinfo=UTC)", "date": "date(1970, 1, 1)", "time": "time()",
    "timedelta": "timedelta()", "uuid": "UUID(int=0)", "null": "None",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Declared:
    """What was read: `fields` for the schema, `annotations` (resolved, by field) for pydantic, and
    the names of those that carry constraints."""

    fields: tuple[Field, ...]
    annotations: dict[str, Any]
    constrained: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Written:
    """A field as its class's body has it. `default` is MISSING, a value, or a `dataclasses.Field`."""

    name: str
    annotation: Any
    default: Any
    owner: type


def read_fields(cls: type, kind: Kind, scope: Scope, mistakes: Mistakes) -> Declared:
    """Fields that are mistaken are reported and left out."""
    fields: list[Field] = []
    annotations: dict[str, Any] = {}
    constrained: list[str] = []
    optional_since: str | None = None
    named: dict[str, type] = {}
    for written in _written_fields(cls):
        if not _name_allowed(written, kind, mistakes):
            continue
        reader = TypeReader(scope, named)
        annotation, field_type = _read_type(written, scope, reader, mistakes)
        if field_type is None:
            continue
        field = _read_default(written, kind, field_type, mistakes)
        if field is None:
            continue
        fields.append(field)
        annotations[field.name] = annotation
        if reader.constrained:
            constrained.append(field.name)
        if field.default is not MISSING or field.default_factory is not None:
            optional_since = optional_since or field.name
        elif optional_since is not None:
            mistakes.add(
                field.name,
                f"has no default, but follows {optional_since}, which has one.",
                "move",
                f"{field.name} above {optional_since}, or give it a default",
            )
    _check_aliases(fields, mistakes)
    _check_unannotated(cls, mistakes)
    return Declared(tuple(fields), annotations, tuple(constrained))


def _written_fields(cls: type) -> Iterator[_Written]:
    """In the order of the constructor's parameters: those of dataclasses it inherits from come first."""
    found: dict[str, _Written] = {}
    for owner in reversed(cls.__mro__):
        ready: dict[str, dataclasses.Field[Any]] = vars(owner).get("__dataclass_fields__", {})
        if owner is not cls and not ready:
            continue  # a plain base class: a dataclass takes no fields from it either
        for name, annotation in own_annotations(owner).items():
            default = ready[name] if name in ready else vars(owner).get(name, MISSING)
            if name in ready or not _is_class_variable(annotation):
                found[name] = _Written(name, annotation, default, owner)
    yield from found.values()


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.removeprefix("typing.").removeprefix("t.").startswith("ClassVar")
    return annotation is typing.ClassVar or get_origin(annotation) is typing.ClassVar


def _name_allowed(written: _Written, kind: Kind, mistakes: Mistakes) -> bool:
    name = written.name
    if name in RESERVED:
        mistakes.add(name, f"the field name {name} is reserved: {RESERVED[name]}.", "rename", _renamed(name, kind))
    elif name.startswith("_eventsrc"):
        mistakes.add(name, "names that begin with _eventsrc are the framework's own.", "rename", "the field")
    elif not names.is_avro_name(name):
        mistakes.add(name, "the name is not ASCII, as Avro wants.", "rename", "it with a-z, A-Z, 0-9 and _")
    else:
        return True
    return False


def _renamed(name: str, kind: Kind) -> str:
    if kind == "aggregate" and name != "meta":
        return f"it, or leave it out and read self.{name}"
    return {"id": "it after what it identifies, as in order_id", "sequence": "it, as in number"}.get(
        name, "it, as in details"
    )


def _read_type(written: _Written, scope: Scope, reader: TypeReader, mistakes: Mistakes) -> tuple[Any, FieldType | None]:
    try:
        annotation = scope.of(written.owner).resolve(written.annotation, vars(written.owner))
    except Exception as error:  # noqa: BLE001 - evaluating somebody's annotation may raise anything
        mistakes.add(
            written.name,
            unresolved(written.annotation, error),
            "declare",
            "it, or import it, above this class and outside `if TYPE_CHECKING:`",
        )
        return None, None
    if isinstance(annotation, dataclasses.InitVar) or annotation is dataclasses.KW_ONLY:
        name = type(annotation).__name__ if isinstance(annotation, dataclasses.InitVar) else "KW_ONLY"
        mistakes.add(written.name, f"{name} is not used: fields are given by position.", "leave", "it out")
        return None, None
    try:
        return annotation, reader.read(annotation)
    except Unreadable as error:
        code = error.instead if error.verb else f"{error.member or written.name}: {error.instead}"
        mistakes.add(written.name, error.problem, error.verb or "write", code)
        return None, None


def _read_default(written: _Written, kind: Kind, field_type: FieldType, mistakes: Mistakes) -> Field | None:
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
                name,
                "has no default, which it needs before the first event is applied.",
                "write",
                f"{name}: {mistakes.written_annotation(name, shown(written.annotation))} = {_default_for(field_type)}",
            )
            return None
    elif factory is not None:
        if not _factory_fits(written, factory, field_type, mistakes):
            return None
    elif not _default_fits(written, default, kind, field_type, mistakes):
        return None
    bad_aliases = [alias for alias in aliases if not names.is_avro_name(alias)]
    if bad_aliases:
        mistakes.add(name, f"the alias {bad_aliases[0]!r} is no Avro name.", "write", "it with a-z, A-Z, 0-9 and _")
        return None
    return Field(name, field_type, default, factory, aliases)


def _plain_field(field: dataclasses.Field[Any], name: str, mistakes: Mistakes) -> bool:
    if not field.init:
        mistakes.add(
            name, "init=False: what the constructor does not take, the log cannot bring back.", "leave", "init out"
        )
        return False
    if field.kw_only is True:
        mistakes.add(name, "kw_only=True is not used: fields are given by position.", "leave", "kw_only out")
        return False
    if isinstance(field.metadata.get("aliases", ()), str):
        mistakes.add(
            name, "aliases is a str.", "write", f'field(metadata={{"aliases": ["{field.metadata["aliases"]}"]}})'
        )
        return False
    return True


def _factory_fits(written: _Written, factory: Any, field_type: FieldType, mistakes: Mistakes) -> bool:
    allowed = factory in (list, dict, set) or (isinstance(factory, type) and dataclasses.is_dataclass(factory))
    if not allowed:
        mistakes.add(
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
            written.name,
            f"default_factory={factory.__name__}, but {factory.__name__} has fields without a default.",
            "give",
            f"every field of {factory.__name__} a default",
        )
        return False
    reason = misfit(field_type, made)
    if reason is not None:
        mistakes.add(
            written.name,
            f"default_factory={factory.__name__} does not make a {described(field_type)}: {made!r} {reason}.",
            "write",
            f"{written.name}: {shown(written.annotation)} = {_default_for(field_type)}",
        )
        return False
    return True


def _default_fits(written: _Written, default: Any, kind: Kind, field_type: FieldType, mistakes: Mistakes) -> bool:
    name, text = written.name, mistakes.written_annotation(written.name, shown(written.annotation))
    if type(default).__name__ == "FieldInfo":
        mistakes.add(
            name,
            "pydantic's Field() stands as the default, and would be its value.",
            "write",
            f"{name}: Annotated[{text}, {mistakes.written_default(name)}]",
        )
        return False
    if _is_mutable(default):
        shared = {"aggregate": f"every {written.owner.__name__}"}.get(kind, f"every {written.owner.__name__} {kind}")
        factory = type(default).__name__
        note = "" if not default or dataclasses.is_dataclass(default) else "   # and fill it in an @apply method"
        mistakes.add(
            name,
            f"the default {default!r} would be shared by {shared}.",
            "write",
            f"{name}: {text} = field(default_factory={factory}){note}",
        )
        return False
    reason = misfit(field_type, default)
    if reason is not None:
        mistakes.add(
            name, f"the default {default!r} {reason}.", "write", f"{name}: {text} = {_default_for(field_type)}"
        )
        return False
    return True


def _is_mutable(value: Any) -> bool:
    if isinstance(value, list | dict | set | bytearray):
        return True
    return dataclasses.is_dataclass(value) and type(value).__hash__ is None


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


def _check_aliases(fields: list[Field], mistakes: Mistakes) -> None:
    taken = {field.name: field.name for field in fields}
    for field in fields:
        for alias in field.aliases:
            owner = taken.setdefault(alias, field.name)
            if owner != field.name or alias == field.name:
                mistakes.add(field.name, f"the alias {alias!r} is a name of {owner} already.", "leave", "it out")


def _check_unannotated(cls: type, mistakes: Mistakes) -> None:
    """`balance = 0` without a type would be one variable for all instances, and never in the log."""
    annotated = own_annotations(cls)
    for name, value in vars(cls).items():
        constant = name.startswith("_") or name.isupper() or name in annotated
        if constant or isinstance(value, type | Misused) or callable(value) or hasattr(type(value), "__get__"):
            continue
        if isinstance(value, staticmethod | classmethod | property):
            continue
        mistakes.add(
            name,
            "has a value but no type, so it is no field.",
            "write",
            f"{name}: {type(value).__name__} = {value!r}   # or ClassVar[...] for a constant",
        )

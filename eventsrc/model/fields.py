"""The fields of a declared class: its annotations and defaults, read and checked.

Shared by commands, events and aggregates. Changes nothing in the class.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_origin

from eventsrc.codes import MistakeGroup
from eventsrc.model import names
from eventsrc.model.annotations import TypeReader
from eventsrc.model.defaults import Kind, WrittenField, read_default
from eventsrc.model.marks import Misused
from eventsrc.model.mistakes import Mistakes
from eventsrc.model.refusals import Unreadable
from eventsrc.model.scope import Scope, own_annotations, unresolved
from eventsrc.model.types import (
    MISSING,
    Field,
    FieldType,
)

RESERVED = {
    "id": "every aggregate's own id is given as self.id",
    "sequence": "the number of an aggregate's last event is given as self.sequence",
    "meta": "the first field of every record is named meta",
}


@dataclass(frozen=True, slots=True)
class Declared:
    """What was read: `fields` for the schema, `annotations` (resolved, by field) for pydantic, and
    the names of those that carry constraints."""

    fields: tuple[Field, ...]
    annotations: dict[str, Any]
    constrained: tuple[str, ...]


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
        field = read_default(written, kind, field_type, mistakes)
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
                MistakeGroup.FIELD,
                field.name,
                f"has no default, but follows {optional_since}, which has one.",
                "move",
                f"{field.name} above {optional_since}, or give it a default",
            )
    _check_aliases(fields, mistakes)
    _check_unannotated(cls, mistakes)
    return Declared(tuple(fields), annotations, tuple(constrained))


def _written_fields(cls: type) -> Iterator[WrittenField]:
    """In the order of the constructor's parameters: those of dataclasses it inherits from come first."""
    found: dict[str, WrittenField] = {}
    for owner in reversed(cls.__mro__):
        ready: dict[str, dataclasses.Field[Any]] = vars(owner).get("__dataclass_fields__", {})
        if owner is not cls and not ready:
            continue  # a plain base class: a dataclass takes no fields from it either
        for name, annotation in own_annotations(owner).items():
            default = ready[name] if name in ready else vars(owner).get(name, MISSING)
            if name in ready or not _is_class_variable(annotation):
                found[name] = WrittenField(name, annotation, default, owner)
    yield from found.values()


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.removeprefix("typing.").removeprefix("t.").startswith("ClassVar")
    return annotation is typing.ClassVar or get_origin(annotation) is typing.ClassVar


def _name_allowed(written: WrittenField, kind: Kind, mistakes: Mistakes) -> bool:
    name = written.name
    if name in RESERVED:
        mistakes.add(
            MistakeGroup.FIELD,
            name,
            f"the field name {name} is reserved: {RESERVED[name]}.",
            "rename",
            _renamed(name, kind),
        )
    elif name.startswith("_eventsrc"):
        mistakes.add(
            MistakeGroup.FIELD, name, "names that begin with _eventsrc are the framework's own.", "rename", "the field"
        )
    elif not names.is_avro_name(name):
        mistakes.add(
            MistakeGroup.FIELD, name, "the name is not ASCII, as Avro wants.", "rename", "it with a-z, A-Z, 0-9 and _"
        )
    else:
        return True
    return False


def _renamed(name: str, kind: Kind) -> str:
    if kind == "aggregate" and name != "meta":
        return f"it, or leave it out and read self.{name}"
    return {"id": "it after what it identifies, as in order_id", "sequence": "it, as in number"}.get(
        name, "it, as in details"
    )


def _read_type(
    written: WrittenField, scope: Scope, reader: TypeReader, mistakes: Mistakes
) -> tuple[Any, FieldType | None]:
    try:
        annotation = scope.of(written.owner).resolve(written.annotation, vars(written.owner))
    except Exception as error:  # noqa: BLE001 - evaluating somebody's annotation may raise anything
        mistakes.add(
            MistakeGroup.TYPE,
            written.name,
            unresolved(written.annotation, error),
            "declare",
            "it, or import it, above this class and outside `if TYPE_CHECKING:`",
        )
        return None, None
    if isinstance(annotation, dataclasses.InitVar) or annotation is dataclasses.KW_ONLY:
        name = type(annotation).__name__ if isinstance(annotation, dataclasses.InitVar) else "KW_ONLY"
        mistakes.add(
            MistakeGroup.FIELD, written.name, f"{name} is not used: fields are given by position.", "leave", "it out"
        )
        return None, None
    try:
        return annotation, reader.read(annotation)
    except Unreadable as error:
        code = error.instead if error.verb else f"{error.member or written.name}: {error.instead}"
        mistakes.add(MistakeGroup.TYPE, written.name, error.problem, error.verb or "write", code)
        return None, None


def _check_aliases(fields: list[Field], mistakes: Mistakes) -> None:
    taken = {field.name: field.name for field in fields}
    for field in fields:
        for alias in field.aliases:
            owner = taken.setdefault(alias, field.name)
            if owner != field.name or alias == field.name:
                mistakes.add(
                    MistakeGroup.FIELD,
                    field.name,
                    f"the alias {alias!r} is a name of {owner} already.",
                    "leave",
                    "it out",
                )


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
            MistakeGroup.FIELD,
            name,
            "has a value but no type, so it is no field.",
            "write",
            f"{name}: {type(value).__name__} = {value!r}   # or ClassVar[...] for a constant",
        )

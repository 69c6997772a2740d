"""Python annotations -> descriptions of field types.

Owns which annotations may be used and what to write instead of the others. Knows pydantic only by the look of its
constraint objects, so that an application without constraints never imports it.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import types
import typing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args, get_origin
from uuid import UUID

from eventsrc.model import names
from eventsrc.model.refusals import Unreadable, refused
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
    PrimitiveKind,
    RecordOf,
    RecordType,
    SetOf,
    TupleOf,
    UnionOf,
)
from eventsrc.model.values import is_mutable, is_plain_factory, misfit

MAX_DECIMAL_DIGITS = 38

_PRIMITIVES: dict[Any, PrimitiveKind] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    bytes: "bytes",
    UUID: "uuid",
    datetime: "datetime",
    date: "date",
    time: "time",
    timedelta: "timedelta",
    Decimal: "decimal-text",
}


class TypeReader:
    """Reads the annotation of one field. `constrained` becomes true when it carries a constraint. `named` are the
    nested classes met in the same message, by name: one name is one type in a schema."""

    def __init__(self, scope: Scope, named: dict[str, type]) -> None:
        self.constrained = False
        self._scope = scope
        self._open: list[type] = []
        self._named = named

    def read(self, annotation: Any, places: int | None = None) -> FieldType:
        """`annotation` is resolved. Raises `Unreadable`."""
        annotation = without_wrapping(annotation)
        if get_origin(annotation) is Annotated:
            inner, *metadata = get_args(annotation)
            return self.read(inner, self._constraints(metadata, places))
        if annotation is Decimal and places is not None:
            return DecimalScaled(places)
        kind = _PRIMITIVES.get(annotation) if isinstance(annotation, collections.abc.Hashable) else None
        if kind is not None:
            return Primitive(kind)
        origin = get_origin(annotation)
        if origin is typing.Union or origin is types.UnionType:
            return self._union(get_args(annotation), places)
        if origin is Literal:
            return _literal(get_args(annotation))
        if origin is not None:
            return self._generic(annotation, origin, places)
        if isinstance(annotation, type):
            return self._class(annotation)
        raise refused(annotation)

    def _constraints(self, metadata: list[Any], places: int | None) -> int | None:
        for item in metadata:
            if isinstance(item, str) or (isinstance(item, type) and item.__module__ == "builtins"):
                continue  # documentation, or a marker of somebody else's
            if getattr(item, "alias", None) or getattr(item, "validation_alias", None):
                raise Unreadable(
                    "an alias of pydantic's has no meaning in a log.",
                    'field(metadata={"aliases": ["old_name"]}) as the default, for what older writers called it',
                    "write",
                )
            if type(item).__name__ == "FieldInfo" and not item.is_required():
                raise Unreadable(
                    "a default stands inside Annotated.", "the default behind the annotation, after =", "write"
                )
            self.constrained = self.constrained or _is_constraint(item)
            for part in (item, *getattr(item, "metadata", ())):
                places = getattr(part, "decimal_places", places)
        if places is not None and not 0 <= places <= MAX_DECIMAL_DIGITS:
            raise Unreadable(
                f"decimal_places={places} is outside 0..38.", "Annotated[Decimal, Field(decimal_places=2)]"
            )
        return places

    def _generic(self, annotation: Any, origin: Any, places: int | None) -> FieldType:
        arguments = get_args(annotation)
        if origin is list:
            return ListOf(self.read(arguments[0], places))
        if origin in (set, frozenset):
            item = self.read(arguments[0], places)
            if not _is_hashable(item):
                raise Unreadable(
                    f"a {shown(arguments[0])} cannot be in a set: it has no hash.",
                    f"list[{shown(arguments[0])}], or @dataclass(frozen=True) for what it holds",
                    "use",
                )
            return SetOf(item, frozen=origin is frozenset)
        if origin is dict:
            if without_wrapping(arguments[0]) is not str:
                raise Unreadable(
                    f"the keys of a dict are str, not {shown(arguments[0])}.", f"dict[str, {shown(arguments[1])}]"
                )
            return DictOf(self.read(arguments[1], places))
        if origin is tuple and arguments and arguments != ((),):
            variadic = len(arguments) == 2 and arguments[1] is Ellipsis
            items = arguments[:1] if variadic else arguments
            return TupleOf(tuple(self.read(item, places) for item in items), variadic)
        raise refused(annotation, origin)

    def _union(self, arguments: tuple[Any, ...], places: int | None) -> FieldType:
        members: list[FieldType] = []
        for argument in arguments:
            read = self.read(argument, places)
            members.extend(read.members if isinstance(read, UnionOf) else [read])
        members = list(dict.fromkeys(members))
        taken: dict[Any, FieldType] = {}
        for member in members:
            twin = taken.setdefault(_told_apart_by(member), member)
            if twin is not member:
                raise Unreadable(
                    f"a value does not tell which of {described(twin)} and {described(member)} it is.",
                    "a dataclass for each of them, and the union of those classes",
                    "use",
                )
        members.sort(key=lambda member: member != Primitive("null"))
        return members[0] if len(members) == 1 else UnionOf(tuple(members))

    def _class(self, cls: type) -> FieldType:
        if issubclass(cls, enum.Enum):
            self._name_once(cls)
            return _enum(cls)
        if dataclasses.is_dataclass(cls):
            return RecordOf(self.record(cls))
        raise refused(cls)

    def _name_once(self, cls: type) -> None:
        other = self._named.setdefault(cls.__name__, cls)
        if other is not cls:
            raise Unreadable(
                f"{_path(other)} and {_path(cls)} have one name and meet in one message.",
                "another name for one of them: both would be one type in the schema",
                "use",
            )

    def record(self, cls: type) -> RecordType:
        """A nested dataclass. Raises `Unreadable`, for the first field that is none."""
        if cls in self._open:
            raise Unreadable(
                f"{cls.__name__} holds itself.", "the other one's id, or a flat list: a schema has a fixed depth", "use"
            )
        self._name_once(cls)
        if not names.is_avro_name(cls.__name__):
            raise Unreadable(
                f"the class name {cls.__name__} is not ASCII, as Avro wants.", "an ASCII class name", "use"
            )
        self._open.append(cls)
        try:
            fields = tuple(self._nested_field(cls, field) for field in dataclasses.fields(cls))
        finally:
            self._open.pop()
        wanted = [field.name for field in fields]
        if [*inspect.signature(cls).parameters] != wanted:
            raise Unreadable(
                f"{cls.__name__} is not made of its fields by position ({', '.join(wanted)}).",
                "the __init__ of a dataclass, without InitVar", "use",
            )  # fmt: skip
        return RecordType(cls, cls.__name__, fields)

    def _nested_field(self, cls: type, field: dataclasses.Field[Any]) -> Field:
        owner = next(base for base in cls.__mro__ if field.name in own_annotations(base))
        within = f"{cls.__name__}.{field.name}"
        if not field.init or field.kw_only:
            raise Unreadable(f"{within} is not given by position.", "init=False and kw_only out", "leave")
        if not names.is_avro_name(field.name):
            raise Unreadable(f"the name {within} is not ASCII, as Avro wants.", "an ASCII name", "use")
        try:
            resolved = self._scope.of(owner).resolve(own_annotations(owner)[field.name], vars(owner))
            read = self.read(resolved)
        except Unreadable as error:
            member = error.member or field.name
            raise Unreadable(f"in {within}: {error.problem}", error.instead, error.verb, member) from error
        except Exception as error:
            problem = f"in {within}: {unresolved(own_annotations(owner)[field.name], error)}"
            raise Unreadable(problem, f"what {cls.__name__} uses above this class", "declare") from error
        self._check_default(within, field, read)
        return Field(
            field.name,
            read,
            MISSING if field.default is dataclasses.MISSING else field.default,
            None if field.default_factory is dataclasses.MISSING else field.default_factory,
            tuple(field.metadata.get("aliases", ())),
        )

    @staticmethod
    def _check_default(within: str, field: dataclasses.Field[Any], read: FieldType) -> None:
        """As those of the class that holds it: a schema has them, and old records are read by them."""
        default, factory, aliases = field.default, field.default_factory, field.metadata.get("aliases", ())
        if isinstance(aliases, str):
            raise Unreadable(f"the aliases of {within} are a str.", f'metadata={{"aliases": ["{aliases}"]}}', "write")
        if factory is not dataclasses.MISSING and not is_plain_factory(factory):
            raise Unreadable(
                f"the default_factory of {within} is not list, dict, set or a nested class: a schema cannot hold other code.",
                "one of these, or a default", "write",
            )  # fmt: skip
        if default is dataclasses.MISSING:
            return
        if is_mutable(default):
            raise Unreadable(
                f"the default {default!r} of {within} would be shared by all.",
                f"field(default_factory={type(default).__name__})", "write",
            )  # fmt: skip
        if (reason := misfit(read, default)) is not None:
            raise Unreadable(f"the default {default!r} of {within} {reason}.", "one that fits", "write")


def _is_constraint(item: Any) -> bool:
    """Whether pydantic would check something for this metadata: its own validators, and annotated_types."""
    parts = getattr(item, "metadata", None)
    if parts is not None and type(item).__name__ == "FieldInfo":
        return any(_is_constraint(part) for part in parts)
    root = type(item).__module__.partition(".")[0]
    return root in ("pydantic", "annotated_types") or hasattr(item, "__get_pydantic_core_schema__")


def _literal(values: tuple[Any, ...]) -> LiteralOf:
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and kinds <= {str, int, bool}:
        return LiteralOf(tuple(values))
    if any(isinstance(value, enum.Enum) for value in values):
        raise Unreadable("a Literal cannot hold members of an Enum.", "the Enum itself", "use")
    raise Unreadable(
        f"the values of {shown(Literal[values])} are of different kinds: all have to be str, or all int, or all bool.",
        'Literal["a", "b"], with `| None` behind it where it may be absent',
        "write",
    )


def _enum(cls: type[enum.Enum]) -> EnumOf:
    if not list(cls):
        raise Unreadable(f"{cls.__name__} has no members.", f"{cls.__name__} at least one member", "give")
    if issubclass(cls, enum.Flag):
        raise Unreadable(f"{cls.__name__} is a Flag, whose combinations have no name.", "set[...] of an Enum", "use")
    if not names.is_avro_name(cls.__name__):
        raise Unreadable(f"the class name {cls.__name__} is not ASCII, as Avro wants.", "an ASCII class name", "use")
    for name in cls.__members__:
        if not names.is_avro_name(name):
            raise Unreadable(
                f"{cls.__name__}.{name} is no Avro symbol: letters, digits and _, not beginning with a digit.",
                f"{cls.__name__}.{name} in ASCII",
                "spell",
            )
    return EnumOf(cls)


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def without_wrapping(annotation: Any) -> Any:
    """Without what only a type checker sees: NewType, `type X = ...`, Final; `None` as its class."""
    while True:
        if annotation is None:
            return type(None)
        if isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif get_origin(annotation) is typing.Final:
            (annotation,) = get_args(annotation)
        else:
            return annotation


def _is_hashable(declared: FieldType) -> bool:
    """Whether its values may be items of a set."""
    match declared:
        case ListOf() | DictOf():
            return False
        case SetOf():
            return declared.frozen
        case TupleOf():
            return all(map(_is_hashable, declared.items))
        case UnionOf():
            return all(map(_is_hashable, declared.members))
        case RecordOf():
            cls = declared.record.cls
            return cls.__hash__ is not None and all(_is_hashable(field.type) for field in declared.record.fields)
        case _:
            return True


def _told_apart_by(member: FieldType) -> Any:
    """What of a value's class a union goes by. Exactly its class, so bool is not int, and int is not float."""
    match member:
        case Primitive(kind):
            return "decimal" if kind == "decimal-text" else kind
        case DecimalScaled():
            return "decimal"
        case LiteralOf(values):
            return type(values[0]).__name__
        case EnumOf(cls):
            return cls
        case RecordOf(record):
            return record.cls
        case ListOf():
            return "list"
        case SetOf():
            return "frozenset" if member.frozen else "set"
        case TupleOf():
            return "tuple"
        case _:
            return "dict"

"""Constraints of a message, and reading one from JSON: pydantic behind a fast path.

The worker checks every constrained command again, so bounds on plain numbers, text and lists are compiled into one
expression that says yes; whatever it does not say yes to, pydantic decides and words. pydantic is loaded only then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from eventsrc.errors import InvalidCommand
from eventsrc.model.annotations import without_wrapping
from eventsrc.model.types import MISSING, RecordType
from eventsrc.model.values import misfit

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

_COMPARISONS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_SIZES = {"min_length": ">=", "max_length": "<="}


class Validator:
    """Of one message class."""

    def __init__(self, cls: type, kind: str, record: RecordType, annotations: Mapping[str, Any]) -> None:
        self._cls = cls
        self._kind = kind
        self._record = record
        self._annotations = annotations
        self._surely_valid = _compiled(annotations)
        self._adapter: TypeAdapter[dict[str, Any]] | None = None

    def validate(self, instance: Any) -> None:
        """Raises `InvalidCommand` where a constraint is broken."""
        if self._surely_valid is not None and self._surely_valid(instance):
            return
        values = {name: _plain(getattr(instance, name)) for name in self._annotations}
        adapter = self._loaded()
        from pydantic import ValidationError

        try:
            adapter.validate_python(values, strict=True)
        except ValidationError as error:
            raise self._invalid(error) from None

    def from_json(self, obj: Mapping[str, Any]) -> Any:
        """Raises `InvalidCommand` that names every wrong field."""
        name = self._cls.__name__
        if not isinstance(obj, Mapping):
            raise InvalidCommand(f"{name}: expected a JSON object such as {self._example()}, not {json.dumps(obj)}")
        adapter = self._loaded()
        from pydantic import ValidationError

        try:
            values = adapter.validate_json(json.dumps(dict(obj), default=str), strict=True)
        except ValidationError as error:
            raise self._invalid(error) from None
        for field in self._record.fields:
            reason = misfit(field.type, values[field.name]) if field.name in values else None
            if reason is not None:
                raise InvalidCommand(f"{name}.{field.name}: {obj[field.name]!r} {reason}")
        return self._cls(**values)

    def _loaded(self) -> TypeAdapter[dict[str, Any]]:
        if self._adapter is None:
            self._adapter = _adapter(self._cls.__name__, self._record, self._annotations)
        return self._adapter

    def _invalid(self, error: ValidationError) -> InvalidCommand:
        problems = [_worded(self._cls.__name__, item) for item in error.errors(include_url=False)]
        kinds = {item["type"] for item in error.errors(include_url=False)}
        shape = kinds & {"extra_forbidden", "missing"}
        mend = f"; it takes {self._example()}" if shape else ""
        return InvalidCommand("; ".join(problems) + mend)

    def _example(self) -> str:
        parts = []
        for field in self._record.fields:
            optional = field.default is not MISSING or field.default_factory is not None
            parts.append(f'"{field.name}"' + (" (optional)" if optional else ""))
        return "{" + ", ".join(parts) + "}"


def _worded(class_name: str, item: Any) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"])
    match item["type"]:
        case "extra_forbidden":
            return f"{class_name}{path}: there is no such field"
        case "missing":
            return f"{class_name}{path}: missing"
        case _:
            message = str(item["msg"])
            return f"{class_name}{path}: {message[:1].lower()}{message[1:]}, not {_short(item['input'])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(value: Any) -> Any:
    """Nested dataclasses as dicts of their fields: pydantic passes their instances through unchecked."""
    return value


def _adapter(name: str, record: RecordType, annotations: Mapping[str, Any]) -> TypeAdapter[dict[str, Any]]:
    from typing import NotRequired

    from pydantic import ConfigDict, TypeAdapter
    from typing_extensions import TypedDict

    # A TypedDict, not a model: a field may have any name, and the user's class is left as it is.
    required = {
        field.name: annotations[field.name]
        if field.default is MISSING and field.default_factory is None
        else NotRequired[annotations[field.name]]
        for field in record.fields
    }
    make: Any = TypedDict  # a class made at runtime, which no type checker can follow
    typed_dict = make(name, required)
    typed_dict.__pydantic_config__ = ConfigDict(
        extra="forbid",
        strict=True,
        revalidate_instances="always",
        ser_json_bytes="base64",
        val_json_bytes="base64",
        arbitrary_types_allowed=True,
    )
    return TypeAdapter(typed_dict)


@dataclass(frozen=True, slots=True)
class _Bound:
    attribute: str
    limit: Any


def _compiled(annotations: Mapping[str, Any]) -> Callable[[Any], bool] | None:
    """One expression over the fields that carry constraints; None where one of them is not a simple bound."""
    conditions: list[str] = []
    scope: dict[str, Any] = {}
    for name, annotation in annotations.items():
        inner, metadata = _split(annotation)
        bounds = list(_bounds(metadata))
        if None in bounds or (not bounds and _holds_metadata(inner)):
            return None
        if not bounds:
            continue
        condition = _condition(name, inner, [bound for bound in bounds if bound is not None], scope)
        if condition is None:
            return None
        conditions.append(condition)
    code = f"lambda instance: {' and '.join(conditions) or 'True'}"
    check: Callable[[Any], bool] = eval(code, scope)  # of field names, which are checked identifiers, and our own text
    return check


def _condition(name: str, inner: Any, bounds: list[_Bound], scope: dict[str, Any]) -> str | None:
    if inner not in (int, float, str, list):
        return None
    parts = [f"type(instance.{name}) is {inner.__name__}"]
    for bound in bounds:
        limit = f"limit_{len(scope)}"
        scope[limit] = bound.limit
        if bound.attribute in _COMPARISONS and inner in (int, float) and type(bound.limit) in (int, float):
            parts.append(f"instance.{name} {_COMPARISONS[bound.attribute]} {limit}")
        elif bound.attribute in _SIZES and inner in (str, list) and type(bound.limit) is int:
            parts.append(f"len(instance.{name}) {_SIZES[bound.attribute]} {limit}")
        else:
            return None
    return " and ".join(parts)


def _split(annotation: Any) -> tuple[Any, list[Any]]:
    metadata: list[Any] = []
    annotation = without_wrapping(annotation)
    while get_origin(annotation) is Annotated:
        annotation, *outer = get_args(annotation)
        metadata = outer + metadata
        annotation = without_wrapping(annotation)
    origin = get_origin(annotation)
    if origin is list and not _holds_metadata(annotation):
        annotation = list
    return annotation, metadata


def _holds_metadata(annotation: Any) -> bool:
    """Whether a constraint may stand somewhere inside."""
    if get_origin(annotation) is Annotated or is_dataclass(annotation):
        return not is_dataclass(annotation) or _constrained_inside(annotation)
    annotation = without_wrapping(annotation)
    return any(_holds_metadata(argument) for argument in get_args(annotation))


def _constrained_inside(cls: Any) -> bool:
    # Its annotations may be text, and resolving them again is not worth it: pydantic decides.
    return any("Annotated" in str(field.type) or not isinstance(field.type, type) for field in fields(cls))


def _bounds(metadata: list[Any]) -> Iterator[_Bound | None]:
    """Each bound; None for a constraint that is not one."""
    for item in metadata:
        if isinstance(item, str):
            continue
        for part in item.metadata if type(item).__name__ == "FieldInfo" else [item]:
            if type(part).__module__.partition(".")[0] == "annotated_types":
                names = [name for name in (*_COMPARISONS, *_SIZES) if hasattr(part, name)]
                if len(names) == 1:
                    yield _Bound(names[0], getattr(part, names[0]))
                    continue
            yield None

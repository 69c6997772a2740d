"""A message's constraints, and reading a message from JSON, by pydantic: loaded only when it is needed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from eventsrc.errors import DeclarationError, InvalidCommand
from eventsrc.model.constraints import surely_valid
from eventsrc.model.types import MISSING, Field, RecordType
from eventsrc.model.values import misfit

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

_SHAPE = {"extra_forbidden", "unexpected_keyword_argument", "missing"}


class Validator:
    """Of one message class. `annotations` are resolved, by field; `constrained` names those with constraints."""

    def __init__(self, record: RecordType, annotations: Mapping[str, Any], constrained: Iterable[str]) -> None:
        self._cls = record.cls
        self._record = record
        self._annotations = annotations
        self._constrained = tuple(constrained)
        self._surely_valid = surely_valid(annotations, self._constrained)
        self._for_constraints: TypeAdapter[dict[str, Any]] | None = None
        self._for_json: TypeAdapter[dict[str, Any]] | None = None

    def validate(self, instance: Any) -> None:
        """Raises `InvalidCommand` where a constraint is broken."""
        if self._surely_valid is not None and self._surely_valid(instance):
            return
        from pydantic import ValidationError

        adapter = self.prepare()
        try:
            adapter.validate_python({name: getattr(instance, name) for name in self._constrained})
        except ValidationError as error:
            raise self._invalid(error) from None
        except TypeError as error:  # pydantic compares what cannot be compared
            raise self._unfit(error) from error

    def prepare(self) -> TypeAdapter[dict[str, Any]]:
        """What checks the constraints. Raises `DeclarationError` where one does not fit its field."""
        if self._for_constraints is None:
            chosen = [field for field in self._record.fields if field.name in self._constrained]
            try:
                self._for_constraints = _adapter(self._record.name, chosen, self._annotations)
            except Exception as error:  # pydantic's and its core's, of several kinds
                raise self._unfit(error) from error
        return self._for_constraints

    def _unfit(self, error: Exception) -> DeclarationError:
        fields = ", ".join(self._constrained)
        said = " ".join(str(error).split())
        return DeclarationError(
            f"class {self._cls.__name__}: the constraints of {fields} cannot be checked, since one does not fit the type of its "
            f"field: {_short(said)}"
        )

    def from_json(self, obj: Mapping[str, Any]) -> Any:
        """Raises `InvalidCommand` that names every wrong field."""
        from pydantic import ValidationError

        name = self._cls.__name__
        if not isinstance(obj, Mapping):
            raise InvalidCommand(f"{name}: {_short(obj)} is no JSON object; it takes {self._shape()}")
        if self._for_json is None:
            self._for_json = _adapter(self._record.name, self._record.fields, self._annotations)
        try:
            # As text again: only then does pydantic read base64, and sets from lists, while it stays strict.
            values = self._for_json.validate_json(json.dumps(dict(obj), default=str))
        except ValidationError as error:
            raise self._invalid(error) from None
        for field in self._record.fields:
            reason = misfit(field.type, values[field.name]) if field.name in values else None
            if reason is not None:
                raise InvalidCommand(f"{name}.{field.name}: {_short(obj[field.name])} {reason}")
        return self._cls(**values)

    def _invalid(self, error: ValidationError) -> InvalidCommand:
        found = error.errors(include_url=False)
        problems = "; ".join(_worded(self._cls.__name__, item) for item in found)
        misshapen = any(item["type"] in _SHAPE and len(item["loc"]) == 1 for item in found)
        return InvalidCommand(f"{problems}; it takes {self._shape()}" if misshapen else problems)

    def _shape(self) -> str:
        fields = (f'"{field.name}"{" (optional)" if _has_default(field) else ""}' for field in self._record.fields)
        return "{" + ", ".join(fields) + "}"


def _worded(class_name: str, item: Any) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"])
    if item["type"] == "missing":
        return f"{class_name}{path}: missing"
    if item["type"] in _SHAPE:
        return f"{class_name}{path}: there is no such field"
    message = str(item["msg"])
    found = "" if ", not " in message else f", not {_short(item['input'])}"
    return f"{class_name}{path}: {message[:1].lower()}{message[1:]}{found}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _has_default(field: Field) -> bool:
    return field.default is not MISSING or field.default_factory is not None


def _adapter(name: str, fields: Iterable[Field], annotations: Mapping[str, Any]) -> TypeAdapter[dict[str, Any]]:
    from pydantic import ConfigDict, TypeAdapter
    from typing_extensions import NotRequired, TypedDict  # noqa: UP035 - before Python 3.12, pydantic refuses typing's

    keys = {
        field.name: NotRequired[annotations[field.name]] if _has_default(field) else annotations[field.name]
        for field in fields
    }
    # Not a model, where a field may not be named `copy` or `json`; and the user's own class is left as it is.
    make: Any = TypedDict  # a class made at runtime, which no type checker can follow
    typed_dict = make(name, keys)
    typed_dict.__pydantic_config__ = ConfigDict(
        extra="forbid", strict=True, revalidate_instances="always", val_json_bytes="base64"
    )
    return TypeAdapter(typed_dict)

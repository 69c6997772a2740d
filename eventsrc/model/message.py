"""Commands and events: what `@pipeline.command` and `@pipeline.event` make of a class."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from eventsrc.codes import MistakeGroup
from eventsrc.model import names
from eventsrc.model.fields import read_fields
from eventsrc.model.mistakes import Mistakes
from eventsrc.model.scope import Scope
from eventsrc.model.slotted import slotted_dataclass
from eventsrc.model.types import RecordType

if TYPE_CHECKING:
    from eventsrc.model.validation import Validator

MessageKind = Literal["command", "event"]

# Methods that a user may not write, because instances come back from the log without a call to them.
_REFUSED_METHODS = {
    "__init__": "the constructor is derived from the fields",
    "__new__": "the constructor is derived from the fields",
    "__post_init__": "instances come back from the log as they were, and nothing may run or change then",
    "__slots__": "slots are derived from the fields",
    "__setattr__": "fields are slots, written directly",
    "__getattribute__": "fields are slots, read directly",
    "__getstate__": "the encoding is derived from the fields",
    "__setstate__": "the encoding is derived from the fields",
}


@dataclasses.dataclass(eq=False, slots=True)
class MessageType:
    """A declared command or event. `cls` is the slotted class that the decorator returned."""

    cls: type
    name: str
    kind: MessageKind
    record: RecordType
    aliases: tuple[str, ...]
    annotations: Mapping[str, Any]
    """Resolved, by field, with their constraints."""
    constrained_fields: tuple[str, ...]
    _validator: Validator | None = None

    @property
    def constrained(self) -> bool:
        """Whether `validate` has anything to check."""
        return bool(self.constrained_fields)

    def validate(self, instance: Any) -> None:
        """Raises `InvalidCommand` where a constraint is broken. Loads pydantic only for what simple bounds do not
        settle."""
        if self.constrained_fields:
            self._checks().validate(instance)

    def check_constraints(self) -> None:
        """Raises `DeclarationError` where a constraint does not fit its field. Loads pydantic."""
        if self.constrained_fields:
            self._checks().prepare()

    def from_json(self, obj: Mapping[str, Any]) -> Any:
        """An instance from what JSON carries. Raises `InvalidCommand` that names every wrong field."""
        return self._checks().from_json(obj)

    def _checks(self) -> Validator:
        if self._validator is None:
            from eventsrc.model.validation import Validator

            self._validator = Validator(self.record, self.annotations, self.constrained_fields)
        return self._validator


def declare_message(
    cls: type, kind: MessageKind, name: str | None, aliases: Sequence[str], frame: FrameType
) -> MessageType:
    """Raises `DeclarationError` with every mistake in the class."""
    mistakes = Mistakes(cls, frame)
    scope = scope_of(frame)
    _check_name(cls, name, aliases, mistakes)
    check_shape(cls, kind, mistakes)
    declared = read_fields(cls, kind, scope, mistakes)
    mistakes.raise_if_any()
    made = slotted_dataclass(cls)
    full_name = name or cls.__name__
    record = RecordType(made, full_name, declared.fields, tuple(aliases))
    return MessageType(made, full_name, kind, record, tuple(aliases), declared.annotations, declared.constrained)


def scope_of(frame: FrameType) -> Scope:
    """The names known where a class is decorated."""
    return Scope(frame.f_globals, {} if frame.f_locals is frame.f_globals else frame.f_locals)


def check_shape(cls: type, kind: str, mistakes: Mistakes) -> None:
    """What holds for commands, events and aggregates alike: nothing of what the decorator makes is made by hand."""
    made_by_dataclass = "__dataclass_fields__" in vars(cls)
    for method, reason in _REFUSED_METHODS.items():
        if method in vars(cls) and not (made_by_dataclass and method in _MADE_BY_DATACLASS):
            mistakes.add(MistakeGroup.CLASS, method, f"{reason}.", "leave", "it out")
    parameters: Any = vars(cls).get("__dataclass_params__")
    if parameters is not None and (parameters.frozen or not parameters.init):
        what = "frozen=True" if parameters.frozen else "init=False"
        mistakes.add(
            MistakeGroup.CLASS,
            None,
            f"@dataclass({what}) stands below @pipeline.{kind}.",
            "write",
            f"@pipeline.{kind} alone",
        )
    plain: Any = object
    for base in cls.__bases__:
        made_by: Any = base
        foreign = made_by.__init__ is not plain.__init__ or made_by.__new__ is not plain.__new__
        if foreign and not dataclasses.is_dataclass(base):
            mistakes.add(
                MistakeGroup.CLASS,
                None,
                f"inherits from {base.__name__}, which constructs its instances itself.",
                "write",
                f"class {cls.__name__}: with annotated fields",
            )


_MADE_BY_DATACLASS = ("__init__", "__slots__", "__setattr__", "__getstate__", "__setstate__")


def _check_name(cls: type, name: Any, aliases: Any, mistakes: Mistakes) -> None:
    if name is not None and not (isinstance(name, str) and names.is_avro_name(name)):
        mistakes.add(MistakeGroup.CLASS, None, f"name={name!r} is no Avro name.", "write", f'name="{cls.__name__}"')
    elif name is None and not names.is_avro_name(cls.__name__):
        mistakes.add(
            MistakeGroup.CLASS,
            None,
            "the class name is not ASCII, as Avro wants.",
            "write",
            'an ASCII class name, or name="..."',
        )
    if isinstance(aliases, str):
        mistakes.add(MistakeGroup.CLASS, None, "aliases is a str.", "write", f'aliases=["{aliases}"]')
        return
    for alias in aliases:
        if not (isinstance(alias, str) and names.is_avro_name(alias)):
            mistakes.add(
                MistakeGroup.CLASS,
                None,
                f"the alias {alias!r} is no Avro name.",
                "write",
                "it with a-z, A-Z, 0-9 and _",
            )
        elif alias == (name or cls.__name__):
            mistakes.add(MistakeGroup.CLASS, None, f"the alias {alias!r} is the name itself.", "leave", "it out")


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The one of `known` that `name` was probably meant to be."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.6)), None)

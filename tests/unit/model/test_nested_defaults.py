"""Defaults and shapes of nested classes: held to what the class that holds them is held to."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from eventsrc import DeclarationError, Pipeline


@dataclass
class Any_Code:  # noqa: N801 - stands for any
    unique: UUID = field(default_factory=uuid4)


@dataclass
class TextAliases:
    amount: int = field(default=0, metadata={"aliases": "qty"})


@dataclass
class WrongDefault:
    amount: int = None  # type: ignore[assignment]  # that is what is wrong


@dataclass
class WithInitVar:
    amount: int
    more: InitVar[int]


@dataclass
class KeywordOnly:
    amount: int = field(kw_only=True)
    name: str


@dataclass(init=False)
class OwnInit:
    amount: int

    def __init__(self, text: str) -> None:
        self.amount = int(text)


@dataclass(frozen=True)
class Tags:
    items: list[str] = field(default_factory=list)


@dataclass
class Shared:
    tags: Tags = Tags()


@dataclass
class Sound:
    amount: int = field(default=0, metadata={"aliases": ["qty"]})
    tags: Tags = field(default_factory=Tags)
    names: list[str] = field(default_factory=list)


def declare(kind: Any, **more: Any) -> None:
    pipeline = Pipeline("nested")
    made = type("Placed", (), {"__annotations__": {"nested": kind}, **more, "__module__": __name__})
    pipeline.event(made)


@pytest.mark.parametrize(
    ("nested", "said"),
    [
        (Any_Code, "a schema cannot hold other code"),
        (TextAliases, "the aliases of TextAliases.amount are a str"),
        (WrongDefault, "the default None of WrongDefault.amount is no int"),
        (KeywordOnly, "KeywordOnly.amount is not given by position"),
        (WithInitVar, "WithInitVar is not made of its fields by position"),
        (OwnInit, "OwnInit is not made of its fields by position"),
        (Shared, "would be shared by all"),
    ],
)
def test_what_would_not_come_back_is_refused(nested: type, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        declare(nested)


def test_what_is_sound_is_taken() -> None:
    declare(Sound)


@dataclass(eq=False)
class Identity:
    amount: int = 0


@pytest.mark.parametrize(
    ("kind", "default"), [(Tags, Tags()), (tuple[list[int], ...], ([],)), (Identity, Identity()), (Tags, Tags(["x"]))]
)
def test_a_default_that_holds_something_mutable_is_shared(kind: Any, default: Any) -> None:
    with pytest.raises(DeclarationError, match="would be shared by"):
        declare(kind, nested=default)

"""Values made up from types: for commands and events of which nothing but their declaration is known.

Drawn from a generator that is passed in: the same seed makes the same values. Small and often equal, so that ids, names and
amounts meet each other as they do in life.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from eventsrc.errors import EventsrcError
from eventsrc.model.message import MessageType
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

TRIES = 200
_DEEPEST = 4
_WORDS = ("tea", "Ada", "o-1", "red", "lamp", "a", "Zoë", "x" * 12, "open", "paid")
_NUMBERS = ((1, 9), (0, 100), (100, 10_000), (-100, 0))


def made_message(message: MessageType, random: Random) -> Any | None:
    """An instance that meets its constraints; None where none was found."""
    for _ in range(TRIES):
        instance = message.cls(*(made_value(field.type, random) for field in message.record.fields))
        try:
            message.validate(instance)
        except EventsrcError:
            continue
        return instance
    return None


def made_value(declared: FieldType, random: Random, depth: int = 0) -> Any:
    """Of this type. Where types hold themselves, it ends as early as the type lets it."""
    match declared:
        case Primitive(kind):
            return _SCALARS[kind](random)
        case Fixed(size):
            return random.randbytes(size)
        case DecimalScaled(places):
            return Decimal(_number(random)).scaleb(-places)
        case EnumOf(cls):
            return random.choice(list(cls))
        case LiteralOf(values):
            return random.choice(values)
        case ListOf(item):
            return [made_value(item, random, depth + 1) for _ in range(_count(random, depth))]
        case SetOf(item, frozen):
            found = {made_value(item, random, depth + 1) for _ in range(_count(random, depth))}
            return frozenset(found) if frozen else found
        case TupleOf(items, variadic):
            chosen = items * _count(random, depth) if variadic else items
            return tuple(made_value(item, random, depth + 1) for item in chosen)
        case DictOf(item):
            words = random.sample(_WORDS, _count(random, depth))
            return {word: made_value(item, random, depth + 1) for word in words}
        case UnionOf(members):
            return made_value(members[0] if depth >= _DEEPEST else random.choice(members), random, depth + 1)
        case RecordOf(record):
            return record.cls(*(made_value(field.type, random, depth + 1) for field in record.fields))


def _count(random: Random, depth: int) -> int:
    return 0 if depth >= _DEEPEST else random.choice((0, 1, 2, 5))


def _number(random: Random) -> int:
    return random.randint(*random.choice(_NUMBERS))


_SCALARS: dict[str, Callable[[Random], Any]] = {
    "null": lambda random: None,
    "bool": lambda random: random.random() < 0.5,
    "int": _number,
    "float": lambda random: _number(random) / 4,
    "str": lambda random: random.choice(_WORDS),
    "bytes": lambda random: random.choice(_WORDS).encode(),
    "uuid": lambda random: UUID(int=random.randrange(20)),
    "datetime": lambda random: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=random.randrange(100_000_000)),
    "date": lambda random: date(2026, 1, 1) + timedelta(days=random.randrange(1000)),
    "time": lambda random: time(random.randrange(24), random.randrange(60)),
    "timedelta": lambda random: timedelta(seconds=_number(random)),
    "decimal-text": lambda random: Decimal(_number(random)).scaleb(-2),
}

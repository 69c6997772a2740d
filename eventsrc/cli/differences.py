"""What changed between two states, as a person reads it: down into nested values, named by their path."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from eventsrc.cli.render import dump, to_json, value_text

if TYPE_CHECKING:
    from eventsrc.model.types import RecordType

Shown = dict[str, "Shown"] | list["Shown"] | str
"""A value whose leaves are texts: it does not change when the aggregate does."""

_ABSENT = "(none)"
_LONGEST = 80


def shown_fields(record: RecordType, instance: Any) -> dict[str, Shown]:
    """Every declared field."""
    return {field.name: _shown(getattr(instance, field.name)) for field in record.fields}


def differences(before: Mapping[str, Shown], after: Mapping[str, Shown]) -> list[str]:
    """`quantity 0 -> 2`, `lines.tea.price 4.90 -> 5.10`, `history + "paid"`."""
    return [line for name, value in after.items() for line in _between(name, before.get(name), value)]


def _shown(value: Any) -> Shown:
    if isinstance(value, Mapping):
        return {_key(key): _shown(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    if isinstance(value, set | frozenset):
        return [dump(each) for each in to_json(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _shown(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value_text(value)


def _key(key: Any) -> str:
    text = str(to_json(key))
    return text if text.replace("_", "").replace("-", "").isalnum() else dump(text)


def _between(path: str, before: Shown | None, after: Shown | None) -> Iterator[str]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _between(f"{path}.{key}", before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _between_lists(path, before, after)
    else:
        yield f"{path} {_text(before)} -> {_text(after)}"


def _between_lists(path: str, before: list[Shown], after: list[Shown]) -> Iterator[str]:
    if len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _between(f"{path}[{number}]", old, new)
    elif after[: len(before)] == before:
        yield f"{path} + {_cut(', '.join(map(_whole, after[len(before) :])))}"
    elif before[: len(after)] == after:
        yield f"{path} - {_cut(', '.join(map(_whole, before[len(after) :])))}"
    else:
        gone = list(before)
        added = [each for each in after if not _taken(gone, each)]
        if not added:
            yield f"{path} - {_cut(', '.join(map(_whole, gone)))}"
        elif not gone:
            yield f"{path} + {_cut(', '.join(map(_whole, added)))}"
        else:
            yield f"{path} {_text(before)} -> {_text(after)}"


def _taken(values: list[Shown], value: Shown) -> bool:
    """Takes one like it out."""
    if value not in values:
        return False
    values.remove(value)
    return True


def _text(value: Shown | None) -> str:
    return _ABSENT if value is None else _cut(_whole(value))


def _whole(value: Shown) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_whole(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_whole, value)) + "]"
    return value


def _cut(text: str) -> str:
    """Longer ones are for --json."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."

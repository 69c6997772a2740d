"""Where two values part ways: paths into nested values, for the messages of failed expectations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

_MOST = 20


def differences(
    expected: Any, found: Any, path: str = "", *, words: tuple[str, str] = ("expected", "found")
) -> list[str]:
    """`lines[0].price: expected Decimal('4.90'), found Decimal('5.10')`, one line each; none where they are equal. `path`: of
    the values themselves."""
    parted = _between(path, expected, found)
    lines = [f"{where}: {words[0]} {left!r}, {words[1]} {right!r}" for where, left, right in parted]
    return lines if len(lines) <= _MOST else [*lines[:_MOST], f"and {len(lines) - _MOST} more"]


def _between(path: str, expected: Any, found: Any) -> Iterator[tuple[str, Any, Any]]:
    if expected == found or repr(expected) == repr(found) == "nan":  # which is not equal to itself
        return
    if type(expected) is not type(found):
        yield path or "it", expected, found
    elif dataclasses.is_dataclass(expected):
        for field in dataclasses.fields(expected):
            inner = f"{path}.{field.name}" if path else field.name
            yield from _between(inner, getattr(expected, field.name), getattr(found, field.name))
    elif isinstance(expected, Mapping):
        for key in [*expected, *(key for key in found if key not in expected)]:
            yield from _between(f"{path}[{key!r}]", expected.get(key, _ABSENT), found.get(key, _ABSENT))
    elif isinstance(expected, list | tuple):
        for number in range(max(len(expected), len(found))):
            yield from _between(f"{path}[{number}]", _at(expected, number), _at(found, number))
    else:
        yield path or "it", expected, found


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


_ABSENT = _Absent()


def _at(items: Any, number: int) -> Any:
    return items[number] if number < len(items) else _ABSENT

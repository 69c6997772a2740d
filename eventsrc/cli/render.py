"""How values are shown: as JSON for programs, as text for people. Knows field types by their values; no Kafka."""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
import math
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventsrc.model.types import RecordType


def to_json(value: Any) -> Any:
    """What `json.dumps` takes. Decimal as text, datetime as RFC 3339 in UTC, bytes as base64, UUID as text, Enum by
    value (by name where that has no form), timedelta as an ISO 8601 duration, sets as sorted lists, nested classes as objects."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return _enum_to_json(value)
    if isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted((to_json(each) for each in value), key=_sort_key)
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return _scalar(value)


def _enum_to_json(value: enum.Enum) -> Any:
    try:
        return to_json(value.value)
    except TypeError:
        return value.name  # as its schema has it


def _scalar(value: Any) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal | uuid.UUID):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__} has no form in JSON")


def _sort_key(value: Any) -> tuple[str, Any]:
    """Numbers by size, texts by code point, anything else by its JSON."""
    if isinstance(value, str | int | float):
        return ("number" if not isinstance(value, str) else "text", value)
    return "other", json.dumps(value, sort_keys=True)


def _duration(value: timedelta) -> str:
    microseconds = value // timedelta(microseconds=1)
    whole, fraction = divmod(abs(microseconds), 1_000_000)
    tail = f".{fraction:06d}".rstrip("0") if fraction else ""
    return f"{'-' if microseconds < 0 else ''}PT{whole}{tail}S"


def record_to_json(record: RecordType, instance: Any) -> dict[str, Any]:
    """The declared fields of a command, an event or an aggregate, in their order."""
    return {field.name: to_json(getattr(instance, field.name)) for field in record.fields}


def dump(value: Any) -> str:
    """One line of JSON; text stays readable."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def rfc3339(moment: datetime) -> str:
    """In UTC, to the microsecond where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def local_time(moment: datetime) -> str:
    """In the local zone, with its offset, to the millisecond."""
    return _in_local_zone(moment).isoformat(sep=" ", timespec="milliseconds")


def exact_local_time(moment: datetime) -> str:
    """As `local_time`, to the microsecond: what is typed back names the same moment."""
    return _in_local_zone(moment).isoformat(sep=" ", timespec="microseconds")


def _in_local_zone(moment: datetime) -> datetime:
    try:
        return moment.astimezone()
    except OverflowError:  # the first or the last day that there is: in the local zone it would be another
        return moment


def message_text(record: RecordType, instance: Any) -> str:
    """`Placed(sku='tea', quantity=2)`"""
    fields = ", ".join(f"{field.name}={getattr(instance, field.name)!r}" for field in record.fields)
    return f"{record.name}({fields})"


def printable(line: str) -> str:
    """A line with text from outside (ids, reasons): what would move a terminal's cursor or end the line is escaped."""
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def value_text(value: Any) -> str:
    """A value as a person reads it: text in double quotes, numbers and times bare."""
    shown = to_json(value)
    if isinstance(value, Decimal | datetime | date | time | timedelta | uuid.UUID) or (
        isinstance(value, enum.Enum) and isinstance(shown, str)
    ):
        return str(shown)
    return dump(shown)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields whose value is another now, with both."""
    return {name: (before[name], value) for name, value in after.items() if before[name] != value}


def columns(rows: Iterable[Iterable[str]], indent: str = "") -> str:
    """Rows in aligned columns, two spaces between; the last one as long as it likes."""
    cells = [list(row) for row in rows]
    widths: list[int] = []
    for row in cells:
        for number, cell in enumerate(row[:-1]):
            if number == len(widths):
                widths.append(0)
            widths[number] = max(widths[number], len(cell))
    return "\n".join(
        indent + "  ".join([*(cell.ljust(widths[number]) for number, cell in enumerate(row[:-1])), row[-1]]).rstrip()
        for row in cells
    )

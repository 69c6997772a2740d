"""Points of a pipeline's history as people write them: `2026-11-22T10:00:00Z`, `-1h30m`, `@p0:123`, `#17`, `start`, `end`.

Owns the forms and their mistakes. What a moment means for each partition is `engine.cut`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from eventsrc.errors import InvalidMoment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])", re.ASCII)
_AGO = re.compile(rf"-(?:{_PART.pattern})+", re.ASCII)
_PLACE = re.compile(
    r"(?:(?P<aggregate>[A-Za-z0-9][A-Za-z0-9_-]*)/p?|p)(?P<partition>\d{1,9}):(?P<position>\d{1,18})", re.ASCII
)
_SEQUENCE = re.compile(r"#([1-9]\d{0,17})", re.ASCII)

TIME_FORMS = "2026-11-22T10:00:00Z, a local 2026-11-22T10:00, -15m or -1h30m (ms, s, m, h, d, w)"
FORMS = f"{TIME_FORMS}, @p0:123,p1:456 or @account/0:123 (positions), #17 (a sequence of one aggregate), start, end"


@dataclass(frozen=True, slots=True)
class AtTime:
    """Everything up to this hybrid time, inclusive; microseconds since the epoch."""

    time_us: int

    @property
    def moment(self) -> datetime:
        """Aware, UTC. Raises `OverflowError` for a time that a datetime cannot hold."""
        return _EPOCH + timedelta(microseconds=self.time_us)

    def __str__(self) -> str:
        return self.moment.isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class AtSequence:
    """Up to this event of one aggregate."""

    sequence: int

    def __str__(self) -> str:
        return f"#{self.sequence}"


class Place(NamedTuple):
    """An events partition as it is named in positions: `aggregate` None where the pipeline has only one."""

    aggregate: str | None
    partition: int

    def __str__(self) -> str:
        return f"p{self.partition}" if self.aggregate is None else f"{self.aggregate}/{self.partition}"


@dataclass(frozen=True, slots=True)
class AtPositions:
    """Events below a position, per partition. A partition that is not named is taken to its end."""

    positions: Mapping[Place, int]

    def __str__(self) -> str:
        return "@" + ",".join(f"{place}:{position}" for place, position in self.positions.items())


@dataclass(frozen=True, slots=True)
class AtBoundary:
    """Before the first event, or after the last that is committed now."""

    which: Literal["start", "end"]

    def __str__(self) -> str:
        return self.which


Moment = AtTime | AtSequence | AtPositions | AtBoundary

START, END = AtBoundary("start"), AtBoundary("end")


def parse_moment(text: str, now: datetime) -> Moment:
    """A time without an offset is in the local zone; `-15m` is before `now`, which is aware. Raises `InvalidMoment`."""
    text = text.strip()
    if text in ("start", "end"):
        return START if text == "start" else END
    if text.startswith("@"):
        return _positions(text)
    if text.startswith("#"):
        found = _SEQUENCE.fullmatch(text)
        if found is None:
            raise InvalidMoment(f"{text!r} is no sequence: write #17; the first event is #1, before it is `start`")
        return AtSequence(int(found[1]))
    return at_time(_time(text, now, FORMS))


def parse_instant(text: str, now: datetime) -> datetime:
    """Only a time: ISO, `now`, or before now. Aware, UTC. Raises `InvalidMoment`."""
    return _time(text.strip(), now, TIME_FORMS)


def at_time(moment: datetime) -> AtTime:
    """Raises `InvalidMoment` for a naive one: the library does not guess a zone, the command line says which it took."""
    if moment.tzinfo is None:
        raise InvalidMoment(f"the time {moment.isoformat()} names no zone: give an aware datetime")
    return AtTime((moment - _EPOCH) // timedelta(microseconds=1))


def moment_of(at: datetime | str | Moment) -> Moment:
    """What a caller gave as `at`. Raises `InvalidMoment`."""
    if isinstance(at, datetime):
        return at_time(at)
    if isinstance(at, str):
        return parse_moment(at, datetime.now(UTC))
    if not isinstance(at, Moment):
        raise InvalidMoment(f"{at!r} is no moment: give an aware datetime, or a text: {FORMS}")
    return at


def _time(text: str, now: datetime, forms: str) -> datetime:
    try:
        if text == "now":
            return now.astimezone(UTC)
        if _AGO.fullmatch(text):
            ago = sum((float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text)), timedelta())
            return (now - ago).astimezone(UTC)
        written = datetime.fromisoformat(text)
        return written.astimezone(UTC) if written.tzinfo is not None else _local(written)
    except InvalidMoment:
        raise
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidMoment(f"{text!r} is not a time: write {forms}") from error


def _local(written: datetime) -> datetime:
    """A time of the local clock, which at a change of the clocks is shown twice or not at all."""
    first, second = written.replace(fold=0).astimezone(), written.replace(fold=1).astimezone()
    if first.replace(tzinfo=None) != written:
        raise InvalidMoment(
            f"{written.isoformat()} does not exist here: the clocks were put forward over it; write it with an offset, "
            f"for example {max(first, second).isoformat()}"
        )
    if first.utcoffset() != second.utcoffset():
        raise InvalidMoment(
            f"{written.isoformat()} happened twice here: the clocks were put back; write {first.isoformat()} or "
            f"{second.isoformat()}"
        )
    return first.astimezone(UTC)


def _positions(text: str) -> AtPositions:
    found: dict[Place, int] = {}
    for word in text[1:].split(","):
        written = _PLACE.fullmatch(word.strip())
        if written is None:
            raise InvalidMoment(
                f"{word.strip()!r} in {text!r} is no position: write @p0:123,p1:456, or @account/0:123 where the pipeline "
                "has several aggregates"
            )
        place = Place(written["aggregate"], int(written["partition"]))
        if place in found:
            raise InvalidMoment(f"{text!r} names {place} twice")
        found[place] = int(written["position"])
    return AtPositions(found)

"""Logical types: each pair of functions turns a Python value into what Avro writes, and back.

The first of a pair raises `ValueError` or another `Exception` for a value that would not come back equal; the second
for what no value of ours writes. Generated code calls them by name; nothing here knows a schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_MICROS = 86_400_000_000
_UNIT = timedelta(microseconds=1)

_EXACT = Context(prec=38, traps=[Inexact, InvalidOperation])
_WIDE = Context(prec=80, traps=[Inexact, InvalidOperation])
_DECIMAL_LIMIT = 10**38
_DECIMAL_BYTES = 17  # 38 digits take 16; one more is a redundant sign byte
_SAFE_BYTES = 15  # whatever these hold has fewer digits
_DECIMAL_TEXT = re.compile(r"-?[0-9]+(\.[0-9]+)?(E[+-][0-9]+)?")


def microseconds_of(moment: datetime) -> int:
    """Since the epoch. A naive datetime names no moment."""
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError("a datetime without a time zone")
    since = moment - _EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def datetime_from(microseconds: int) -> datetime:
    return _EPOCH + timedelta(0, 0, microseconds)


def days_of(day: date) -> int:
    return day.toordinal() - _EPOCH_DAY


def date_from(days: int) -> date:
    return date.fromordinal(days + _EPOCH_DAY)


def time_of_day_of(clock: time) -> int:
    """Microseconds since midnight. A time's zone would be lost."""
    if clock.tzinfo is not None:
        raise ValueError("a time with a time zone, which time-micros does not keep")
    return ((clock.hour * 60 + clock.minute) * 60 + clock.second) * 1_000_000 + clock.microsecond


def time_from(microseconds: int) -> time:
    if not 0 <= microseconds < _DAY_MICROS:
        raise ValueError("a time of day beyond the day")
    seconds, micros = divmod(microseconds, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return time(hour, minute, second, micros)


def timedelta_of(span: timedelta) -> int:
    return span // _UNIT


def timedelta_from(microseconds: int) -> timedelta:
    return timedelta(0, 0, microseconds)


def uuid_from(text: str) -> UUID:
    """Only the form that `str` gives, in either case: UUID itself takes braces, underscores and more."""
    value = UUID(text)
    if str(value) != text.lower():
        raise ValueError(f"not a UUID: {text!r}")
    return value


def decimal_text_of(number: Decimal) -> str:
    if not number.is_finite():
        raise ValueError("not a finite number")
    return str(number)


def decimal_text_from(text: str) -> Decimal:
    if not _DECIMAL_TEXT.fullmatch(text):
        raise ValueError("not a decimal number")
    return Decimal(text)


def scaled_bytes(places: int) -> Callable[[Decimal], bytes]:
    """Big-endian two's complement of the number times 10**places, as fastavro and Apache avro pad it."""
    unit = Decimal((0, (1,), -places))

    def encode(number: Decimal) -> bytes:
        unscaled = int(number.quantize(unit, None, _EXACT).scaleb(places, _WIDE))
        return unscaled.to_bytes((unscaled.bit_length() + 8) >> 3, "big", signed=True)

    return encode


def scaled_from(places: int) -> Callable[[bytes], Decimal]:
    unit = Decimal((0, (1,), -places))
    multiply = _WIDE.multiply  # bound once, as is int.from_bytes: the look-ups cost as much as the work
    integer = int.from_bytes

    def decode(octets: bytes) -> Decimal:
        unscaled = integer(octets, "big", signed=True)
        if len(octets) > _SAFE_BYTES and (
            len(octets) > _DECIMAL_BYTES or not -_DECIMAL_LIMIT < unscaled < _DECIMAL_LIMIT
        ):
            raise ValueError("a decimal of more than 38 digits")
        return multiply(unscaled, unit)

    return decode

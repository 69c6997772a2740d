"""Generates, from a state's fields, the function that finds out whether it can be written at all.

An @apply method may leave in a field what its type does not hold: an integer beyond 64 bits, a bool where an int is
declared. Such a state can be in no checkpoint, so the command that would make it is refused. Where every field is a plain
scalar this takes comparisons alone; other states are written to find out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventsrc.codec.source import Source, attribute
from eventsrc.errors import EncodingError
from eventsrc.model.types import Field, Primitive, RecordType

_HOLDS = {
    "int": "type({0}) is int and -9223372036854775808 <= {0} < 9223372036854775808",
    "str": "type({0}) is str and ({0}.isascii() or {0}.encode())",
    "bytes": "type({0}) is bytes",
    "float": "type({0}) is float",
    "bool": "({0} is True or {0} is False)",
}


class UnkeepableState(EncodingError):  # noqa: N818 - named as the other errors are
    """An @apply method left in the aggregate what its fields do not hold."""


def compile_state_check(name: str, record: RecordType, write: Callable[[Any], bytes]) -> Callable[[Any], bytes | None]:
    """`check(instance)` raises UnkeepableState where `write` cannot write it. Returns what it wrote to find out, if it did."""

    def explain(instance: Any) -> bytes:
        try:
            return write(instance)
        except EncodingError as wrong:
            raise UnkeepableState(f"an @apply method left in {name} what cannot be kept: {wrong}") from wrong

    tests = [_test(field) for field in record.fields]
    if not all(tests):
        return explain
    source = Source({"explain": explain})
    lines = source.function("check(value)")
    with lines.block("try"):
        lines.add(f"sound = {' and '.join(test for test in tests if test) or 'True'}")
    with lines.block("except Exception"):
        lines.add("sound = False")
    with lines.block("if not sound"):
        lines.add("explain(value)")
    return source.compile("check", f"<eventsrc check of {name}>")


def _test(field: Field) -> str | None:
    holds = _HOLDS.get(field.type.kind) if isinstance(field.type, Primitive) else None
    return None if holds is None else holds.format(f"value.{attribute(field.name)}")

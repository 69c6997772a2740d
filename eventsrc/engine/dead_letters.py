"""What a command that cannot be processed becomes: the original bytes, and in headers why, where from, and the
handler's traceback. Written in the same transaction as everything else of its batch: never lost, never twice."""

from __future__ import annotations

import linecache
import traceback
from typing import TYPE_CHECKING

from eventsrc.codec.framing import prefix_of
from eventsrc.codec.metas import command_meta_alone
from eventsrc.engine.batch import DeadLetter
from eventsrc.engine.records import ConsumedRecord
from eventsrc.errors import DeclarationError, DecodingError, EncodingError, InvalidCommand, NotThisKind
from eventsrc.model.recorded import CommandMeta

if TYPE_CHECKING:
    from eventsrc.engine.compiled import CompiledAggregate

TRACEBACK_BYTES = 4096
MESSAGE_BYTES = 1024
HEADERS_BYTES = 16_384
KEY_BYTES = 1024
CAUSES = 4

ATTEMPT_HEADER = "eventsrc.attempt"
RETRY_OF_HEADER = "eventsrc.retry-of"
"""Of a command that an operator sends again: the how-manieth try it is, and the letter that it was. A letter that comes of
it keeps both; nothing is decided by them."""
_RETRY_HEADER_BYTES = 64


class Refused(Exception):  # noqa: N818 - control flow inside deciding; what is seen outside is the dead letter
    """The command goes to the dead-letter topic. `reason` is the contract's word."""

    def __init__(self, reason: str, message: str, trace: str | None = None, *, deadly: bool = False) -> None:
        """`deadly`: not even decoding it again is safe."""
        super().__init__(message)
        self.reason = reason
        self.trace = trace
        self.deadly = deadly

    @classmethod
    def by_reading(cls, failure: BaseException) -> Refused:
        """A command that never came to its handler."""
        if isinstance(failure, Refused):
            return failure
        reason = next((reason for kind, reason in _REASONS if isinstance(failure, kind)), "undecodable")
        return cls(reason, str(failure))

    @classmethod
    def by_handler(cls, failure: BaseException, attempts: int) -> Refused:
        """A handler that raised, or returned what cannot be written, `attempts` times."""
        said = _exception_only(failure)
        return cls("handler-failed", f"{said.strip()} (after {attempts} attempts)", _traceback_of(failure, said))

    def meta_of(self, record: ConsumedRecord, compiled: CompiledAggregate) -> CommandMeta | None:
        """The command's meta, where it can still be read: then its caller can be told."""
        if self.reason in ("null-value", "undecodable", "unknown-schema", "not-a-command"):
            return None
        value = record.value()
        if value is None:
            return None
        if self.deadly:
            return command_meta_alone(value)
        try:
            return compiled.catalog.command_reader(compiled.type, prefix_of(value))(value)[0]
        except Exception:  # noqa: BLE001 - it is dead-lettered all the same: then nobody is told
            return None


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (NotThisKind, "not-a-command"),
    (DecodingError, "undecodable"),
    (InvalidCommand, "constraint"),
    (DeclarationError, "constraint"),  # one that does not fit its field
    (EncodingError, "handler-failed"),  # of the aggregate's state: an @apply method left in it what cannot be kept
)


def dead_letter(record: ConsumedRecord, topic: str, refusal: Refused, most_bytes: int) -> DeadLetter:
    """`partition` of the result is the source partition; the producer takes it modulo the topic's count.

    Of a key and value above `most_bytes` the beginning is kept, and `eventsrc.key-bytes` and `eventsrc.value-bytes` say
    how long they were: a compressed record that the broker took may be too large for any topic once it is unpacked."""
    number, offset = record.partition() or 0, record.offset() or 0
    key, value = record.key(), record.value()
    headers: list[tuple[str, bytes | None]] = [
        ("eventsrc.reason", refusal.reason.encode()),
        ("eventsrc.message", _cut(str(refusal), MESSAGE_BYTES)),
        ("eventsrc.topic", topic.encode()),
        ("eventsrc.partition", b"%d" % number),
        ("eventsrc.offset", b"%d" % offset),
    ]
    if refusal.trace is not None:
        headers.append(("eventsrc.traceback", _cut(refusal.trace, TRACEBACK_BYTES, end=True)))
    if len(key or b"") + len(value or b"") > most_bytes:
        headers.append(("eventsrc.key-bytes", b"%d" % len(key or b"")))
        headers.append(("eventsrc.value-bytes", b"%d" % len(value or b"")))
        key = None if key is None else key[:KEY_BYTES]
        value = None if value is None else value[: most_bytes - KEY_BYTES]
    of_retry, original = _carried_headers(record)
    return DeadLetter(number, key, value, (*headers, *of_retry, *original))


def read_number(text: bytes | None) -> int | None:
    """Of a header, in decimal ASCII; None where it is none."""
    return int(text) if text is not None and len(text) <= 19 and text.isdigit() else None


_Headers = list[tuple[str, bytes | None]]


def _carried_headers(record: ConsumedRecord) -> tuple[_Headers, _Headers]:
    """What a retry said of itself, and the original headers."""
    try:
        headers = record.headers() or ()
    except Exception:  # noqa: BLE001 - the client library fails on a name that is not UTF-8; the letter is sent without
        return [], []
    if not headers:
        return [], []
    of_retry = [
        (name, value)
        for name, value in headers
        if name in (ATTEMPT_HEADER, RETRY_OF_HEADER) and len(value or b"") <= _RETRY_HEADER_BYTES
    ]
    kept = [(name, value) for name, value in headers if not name.startswith("eventsrc.")]
    size = sum(len(name.encode(errors="replace")) + len(value or b"") for name, value in kept)
    return of_retry[:2], kept if size <= HEADERS_BYTES else []


def _traceback_of(failure: BaseException, said: str, depth: int = 0) -> str:
    """As Python prints it, but for the carets under each line: finding those parses the source, which at one poisoned
    command in a hundred would cost more than all the others."""
    earlier = failure.__cause__ or (None if failure.__suppress_context__ else failure.__context__)
    lines = []
    if earlier is not None and depth < CAUSES:
        lines.append(_traceback_of(earlier, _exception_only(earlier), depth + 1))
        lines.append("\nDuring handling of the above exception:\n\n")
    lines.append("Traceback (most recent call last):\n")
    for frame, number in traceback.walk_tb(failure.__traceback__):
        code = frame.f_code
        source = linecache.getline(code.co_filename, number, frame.f_globals).strip()
        lines.append(f'  File "{code.co_filename}", line {number}, in {code.co_name}\n    {source}\n')
    lines.append(said)
    return "".join(lines)


_PRINTED_OTHERWISE = (SyntaxError, BaseExceptionGroup, NameError, AttributeError, ImportError)
"""With source, parts or suggestions."""


def _exception_only(failure: BaseException) -> str:
    """The last lines of a traceback, also where its own __str__ fails. The standard library's way to them takes as long as
    several commands: it is left to exceptions that are more than a class and a message."""
    if isinstance(failure, _PRINTED_OTHERWISE) or getattr(failure, "__notes__", None):
        return "".join(traceback.format_exception_only(failure))
    cls = type(failure)
    name = cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"
    try:
        said = str(failure)
    except Exception:  # noqa: BLE001 - a handler's exception may be anything
        said = "<exception str() failed>"
    return f"{name}: {said}\n" if said else f"{name}\n"


def _cut(text: str, size: int, *, end: bool = False) -> bytes:
    """At most `size` bytes of valid UTF-8; of a traceback the end tells most."""
    data = text.encode(errors="backslashreplace")
    if len(data) <= size:
        return data
    return (data[-size:] if end else data[:size]).decode(errors="ignore").encode()

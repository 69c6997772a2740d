"""The dead-letter topic read back: the commands that were set aside, and what operators did about them.

A letter stays where it is for as long as the topic keeps it. What becomes of it is told by a further record in its own
partition: an audit record, with the header `eventsrc.audit`, the letter's place as its key, and JSON. A letter without
one waits. How letters are written is `dead_letters`'; what may be retried is `retrying`'s.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from eventsrc.engine.dead_letters import ATTEMPT_HEADER, RETRY_OF_HEADER, read_number

AUDIT_HEADER = "eventsrc.audit"

Action = Literal["retried", "dropped"]
ACTIONS: tuple[Action, ...] = "retried", "dropped"
Headers = Sequence[tuple[str, bytes | None]]


class LetterPlace(NamedTuple):
    """Of a record in the dead-letter topic; written `3@17`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}"


class Source(NamedTuple):
    """Of a command in its topic."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition} offset {self.offset}"


@dataclass(frozen=True, slots=True)
class Letter:
    """A command that was set aside. `headers`: its own. `whole`: no byte of key and value was cut. `attempt`: 1, and one more
    with each retry that failed again; `retry_of`: the place of the letter before."""

    place: LetterPlace
    time_ms: int
    key: bytes | None
    value: bytes | None
    source: Source
    reason: str
    message: str
    traceback: str | None
    headers: tuple[tuple[str, bytes | None], ...]
    whole: bool
    attempt: int
    retry_of: str | None


@dataclass(frozen=True, slots=True)
class Audit:
    """What was done about a letter: by whom, when, why. `sent`: where the command went that was retried. `origin`: where it
    stood first, before any retry."""

    place: LetterPlace
    action: Action
    by: str
    at: datetime
    why: str
    origin: Source
    sent: Source | None = None

    @property
    def key(self) -> bytes:
        return str(self.place).encode()

    @property
    def headers(self) -> list[tuple[str, bytes | None]]:
        return [(AUDIT_HEADER, self.action.encode())]

    def value(self) -> bytes:
        """JSON, for any reader."""
        said: dict[str, Any] = {
            "letter": str(self.place),
            "action": self.action,
            "by": self.by,
            "at": self.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "why": self.why,
            "origin": self.origin._asdict(),
            "sent": None if self.sent is None else self.sent._asdict(),
        }
        return json.dumps(said, ensure_ascii=False).encode(errors="backslashreplace")


@dataclass(slots=True)
class Letters:
    """Of a whole dead-letter topic; feed the records of each partition in order. `foreign`: places of records that are
    neither letters nor audit records."""

    by_place: dict[LetterPlace, Letter] = field(default_factory=dict)
    audits: dict[LetterPlace, Audit] = field(default_factory=dict)
    foreign: list[LetterPlace] = field(default_factory=list)
    _origins: dict[Source, Source] = field(default_factory=dict)
    _by_source: dict[Source, Letter] = field(default_factory=dict)

    def feed(
        self, place: LetterPlace, time_ms: int, key: bytes | None, value: bytes | None, headers: Headers | None
    ) -> None:
        named = dict(reversed(headers or ()))  # the first of a name wins: ours come before the originals
        if AUDIT_HEADER in named and "eventsrc.reason" not in named:
            audit = _read_audit(value)
            if audit is None:
                self.foreign.append(place)
            else:
                self.audits.setdefault(audit.place, audit)
                if audit.sent is not None:
                    self._origins[audit.sent] = audit.origin
            return
        letter = _read_letter(place, time_ms, key, value, headers or (), named)
        if letter is None:
            self.foreign.append(place)
        else:
            self.by_place[place] = self._by_source[letter.source] = letter

    def waiting(self) -> list[Letter]:
        """Those that nothing was done about."""
        return [letter for place, letter in self.by_place.items() if place not in self.audits]

    def from_source(self, source: Source) -> Letter | None:
        """The letter of the command that stood there."""
        return self._by_source.get(source)

    def origin(self, source: Source) -> Source:
        """Where that command stood first: its own place, unless it is a retry."""
        return self._origins.get(source, source)


def _read_letter(
    place: LetterPlace,
    time_ms: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    named: dict[str, bytes | None],
) -> Letter | None:
    partition, offset = read_number(named.get("eventsrc.partition")), read_number(named.get("eventsrc.offset"))
    reason, topic = named.get("eventsrc.reason"), named.get("eventsrc.topic")
    if partition is None or offset is None or not reason or not topic:
        return None
    trace, retry_of = named.get("eventsrc.traceback"), named.get(RETRY_OF_HEADER)
    return Letter(
        place,
        time_ms,
        key,
        value,
        Source(_text(topic), partition, offset),
        _text(reason),
        _text(named.get("eventsrc.message")),
        None if trace is None else _text(trace),
        tuple((name, content) for name, content in headers if not name.startswith("eventsrc.")),
        "eventsrc.value-bytes" not in named,
        read_number(named.get(ATTEMPT_HEADER)) or 1,
        None if retry_of is None else _text(retry_of),
    )


def _read_audit(value: bytes | None) -> Audit | None:
    try:
        said = json.loads(value or b"")
        partition, _, offset = said["letter"].partition("@")
        sent = said["sent"]
        if said["action"] not in ACTIONS:
            return None
        return Audit(
            LetterPlace(int(partition), int(offset)),
            said["action"],
            str(said["by"]),
            datetime.fromisoformat(said["at"]),
            str(said["why"]),
            _source(said["origin"]),
            None if sent is None else _source(sent),
        )
    except (ValueError, KeyError, TypeError, AttributeError):  # another program's: it settles nothing
        return None


def _source(said: dict[str, Any]) -> Source:
    return Source(str(said["topic"]), int(said["partition"]), int(said["offset"]))


def _text(content: bytes | None) -> str:
    return (content or b"").decode(errors="backslashreplace")

"""Every error of eventsrc, named by what whoever catches it must do next.

One tree under `EventsrcError`. The upper half is raised to applications (client, declaration, command line);
the lower half is internal to a worker: adapters translate a driver's errors into it at their boundary, by one
table each, and nothing above an adapter sees a driver's exception.
Messages say what happened, to which key, partition and offset, and what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

from eventsrc.codes import HaltCode, MistakeGroup, Refusal


class EventsrcError(Exception):
    """The base of every error that eventsrc raises. Its message says what happened, where, and what to do next."""


# ---- to applications


class Rejected(EventsrcError):
    """Raised by a handler: the command is refused. No event, the command is done, the caller is told why.

    `details` are JSON scalars; anything else is turned into text by `str`.
    """

    reason: str = "no reason was given"  # both stand here for a subclass that does not call this one's __init__
    details: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, reason: str, **details: Any) -> None:
        self.reason = reason
        self.details = details
        super().__init__(reason)

    def __str__(self) -> str:
        if not self.details:
            return self.reason
        return f"{self.reason} ({', '.join(f'{name}={value}' for name, value in self.details.items())})"


class DeclarationError(EventsrcError):
    """A class was declared with mistakes. Fix the class; `mistakes` lists each with its place and mend."""

    def __init__(self, message: str, mistakes: Sequence[str] = (), code: MistakeGroup | None = None) -> None:
        super().__init__(message)
        self._code = code
        self.mistakes = tuple(mistakes)


class InvalidCommand(EventsrcError, ValueError):
    """A command breaks a constraint of its class, or cannot be encoded. Nothing was sent."""


class InvalidId(EventsrcError, ValueError):
    """An aggregate id is not 1-255 bytes of UTF-8 without NUL. Nothing was sent."""


class CommandFailed(EventsrcError):
    """The command was dead-lettered. `reason` is the dead letter's word; `dead_letter` names topic, partition and
    source offset as text."""

    def __init__(self, reason: str, dead_letter: str, message: str = "") -> None:
        self.reason = reason
        self.dead_letter = dead_letter
        super().__init__(f"{reason}: {message} ({dead_letter})" if message else f"{reason} ({dead_letter})")


class IdempotencyConflict(EventsrcError):
    """The idempotency key was used before with another payload. Nothing was applied."""


class OutcomeUnknown(EventsrcError, TimeoutError):
    """No answer came in time. Send again with the same idempotency key: it takes effect at most once."""


class InvalidSettings(EventsrcError, ValueError):
    """A setting is wrong, or two settings contradict each other. Nothing was begun; the message names each."""

    def __init__(self, message: str, code: Refusal | None = None) -> None:
        super().__init__(message)
        self._code = code


class InvalidMoment(EventsrcError, ValueError):
    """A point in time is not written as one, or the history does not have it. Nothing was read, or nothing is shown."""


class SchemaIncompatible(EventsrcError):
    """A schema cannot read what was written before. `problems` has one line each, with the path to the field."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class TopicsInvalid(EventsrcError):
    """A topic is missing or configured so that guarantees would not hold. `problems` has one line each."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class NotAuthorized(EventsrcError):
    """Kafka refuses this user something. Grant it what `problems` lists, one line for each right, and start again."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class Unreachable(EventsrcError):
    """Kafka or Postgres does not answer. Nothing was changed."""

    def __init__(self, message: str, code: Refusal | None = None) -> None:
        super().__init__(message)
        self._code = code


# ---- codec


class EncodingError(EventsrcError, ValueError):
    """A value would not decode to itself. The message names the path to the field."""


class DecodingError(EventsrcError, ValueError):
    """Bytes are not what their schema says: truncated, trailing, too deep, too large."""


class ClassChanged(DecodingError):
    """A record is sound, and the class that reads it cannot take it any more: a field without a default is new, a type is
    another, or no class has its name. Mend the class: a default, or the old name as an alias."""


class NotThisKind(DecodingError):
    """A well-framed record names a schema that is known, but of something else: an event or a control record where a
    command should be, or another aggregate's."""


class InvalidSchema(EventsrcError, ValueError):
    """A schema is not Avro, or not one that is supported. Restore or mend the file it came from."""


class UnknownSchema(EventsrcError, LookupError):
    """A well-framed record names a schema that is not known here: a newer version's, not garbage.

    `fingerprint`: the bytes that name it; of a registry's framing the four of its id."""

    def __init__(self, fingerprint: bytes, message: str = "") -> None:
        self.fingerprint = fingerprint
        super().__init__(message or f"no schema with {self.name_of(fingerprint)} is known here")

    @staticmethod
    def name_of(fingerprint: bytes) -> str:
        if len(fingerprint) == 4:
            return f"the registry's id {int.from_bytes(fingerprint, 'big')}"
        return f"fingerprint {int.from_bytes(fingerprint, 'little'):016x}"


# ---- inside a worker


class WorkerError(EventsrcError):
    """The base of what adapters raise to the runtime."""


class Retriable(WorkerError):
    """Repeat the identical call."""


class AbortRequired(WorkerError):
    """Abort the transaction: it did not take effect. Then restore, rewind and process again."""


class OutcomeInDoubt(WorkerError):
    """Whether the transaction took effect is not known. Drop the producer and everything that depends on it;
    a new producer with the same transactional id waits the outcome out; rebuild from the log."""


class TransactionOutlived(OutcomeInDoubt):
    """The broker aborted the transaction because it was open for longer than its timeout. As OutcomeInDoubt, and make
    the next one smaller."""


class AccessDenied(WorkerError):
    """Kafka refuses a right, and asking again does not help. End, and name the right: `kind` is that of its resource."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class Fenced(WorkerError):
    """Another holder of this identity took over. Drop everything; write nothing."""


class LogInconsistent(WorkerError):
    """The log of a partition contradicts itself. Halt the partition; never repair silently."""

    def __init__(self, message: str, code: HaltCode) -> None:
        super().__init__(message)
        self.code = self._code = code


class SnapshotsUnavailable(WorkerError):
    """The snapshot store does not answer, or is not prepared. Go on without it, and try again later."""

    def __init__(self, message: str, code: Refusal | None = None) -> None:
        super().__init__(message)
        self.code = self._code = code


class SnapshotSuperseded(WorkerError):
    """The head row is not what this writer extends: another owner claimed the partition, or the database is an older copy.
    Nothing was written; claim again before the next checkpoint, which then holds every state."""


class SnapshotDamaged(WorkerError):
    """A segment is missing, or its bytes are not those that were written. Use an older checkpoint, or the log.

    `segment`: the one, where it is known."""

    def __init__(self, message: str, segment: UUID | None = None) -> None:
        super().__init__(message)
        self.segment = segment

"""What ends a command with a failure: exit codes by error, and how an error is shown. Never a traceback, unless asked."""

from __future__ import annotations

import os
import sys
import traceback

from eventsrc.cli import telling
from eventsrc.codes import code_of, see
from eventsrc.errors import (
    DeclarationError,
    EventsrcError,
    InvalidCommand,
    InvalidId,
    InvalidMoment,
    InvalidSettings,
    NotAuthorized,
    SchemaIncompatible,
    TopicsInvalid,
    Unreachable,
)

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_SCHEMA = 5


class UsageError(EventsrcError):
    """The command line, or the application it names, is wrong. Nothing was done."""


_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (UsageError, EXIT_USAGE),
    (DeclarationError, EXIT_USAGE),
    (InvalidSettings, EXIT_USAGE),
    (InvalidCommand, EXIT_USAGE),
    (InvalidId, EXIT_USAGE),
    (InvalidMoment, EXIT_USAGE),
    (Unreachable, EXIT_UNREACHABLE),
    (SchemaIncompatible, EXIT_SCHEMA),
    (EventsrcError, EXIT_FAILURE),
)


def exit_code_of(error: Exception) -> int:
    if _refused_setting(error) is not None:
        return EXIT_USAGE
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), EXIT_FAILURE)


def show_error(error: Exception, *, debug: bool) -> None:
    """On stderr: the sentence with its next step, and where it is explained; with `debug`, where it was raised."""
    code = code_of(InvalidSettings) if _refused_setting(error) is not None else code_of(error)
    if telling.logs_are_json():
        telling.logger.error("%s", error_text(error), extra={"code": code}, exc_info=error if debug else None)
        return
    if debug:
        traceback.print_exception(error)
    print(f"error: {error_text(error)}\n{see(code)}", file=sys.stderr)


def error_text(error: Exception) -> str:
    if isinstance(error, TopicsInvalid | SchemaIncompatible | NotAuthorized) and error.problems:
        return "\n".join([str(error), *(f"  {problem}" for problem in error.problems)])
    if isinstance(error, EventsrcError):
        return str(error)
    refused = _refused_setting(error)
    if refused is not None:
        return f"a Kafka setting is refused: {refused}; see -X, EVENTSRC_KAFKA_..., and kafka in pyproject.toml"
    return f"unexpected {type(error).__name__}: {error}. Run it again with --debug to see where"


def _refused_setting(error: Exception) -> str | None:
    """The client library's words on a setting that it does not take, which it tells only when a client is made."""
    if "confluent_kafka" not in sys.modules:
        return None
    from confluent_kafka import KafkaError, KafkaException

    if not isinstance(error, KafkaException) or error.args[0].code() != KafkaError._INVALID_ARG:
        return None
    return str(error.args[0].str())


def silence_stdout() -> None:
    """After the reader of stdout went away: the interpreter's own flush must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

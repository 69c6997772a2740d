"""How log lines look: text for people, or one JSON object a line. Secrets are taken out of both.

Imported on a worker's way to its group join: the standard library alone. What a line is about (partition, offset, code, ...)
comes as `extra` where it is logged; what every line of a process has (pipeline, instance) is bound once.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TextIO

from eventsrc.runtime.secrets import MASK

_SHORTEST_SECRET = 4
"""A shorter one stands in too many words to be taken out of them."""
_URL_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*:)[^\s/@]+(?=@)")
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_bound: dict[str, str] = {}


def bind(**fields: str) -> None:
    """Every JSON line from now on has these."""
    _bound.update(fields)


class _Masking(logging.Formatter):
    def __init__(self, secrets: Iterable[str], form: str | None = None) -> None:
        super().__init__(form)
        self._secrets = [each for each in secrets if len(each) >= _SHORTEST_SECRET]

    def mask(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _URL_PASSWORD.sub(rf"\1{MASK}", text) if "://" in text else text


class TextLines(_Masking):
    """`2026-11-22 10:00:00,123 WARNING eventsrc.worker  ...`, local time."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__(secrets, "%(asctime)s %(levelname)-7s %(name)s  %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return self.mask(super().format(record))


class JsonLines(_Masking):
    """`{"time", "level", "logger", "message", ...}`: UTC with microseconds; what was bound, then what the line is about; of an
    exception the traceback, as a string."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_bound,
            **{name: value for name, value in vars(record).items() if name not in _OWN},
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            told["stack"] = record.stack_info
        return json.dumps(self._masked(told), default=str)

    def _masked(self, told: dict[str, Any]) -> dict[str, Any]:
        """Before it is JSON, whose escapes would hide a secret."""
        return {name: self.mask(value) if isinstance(value, str) else value for name, value in told.items()}


def configure(level: str, form: str, secrets: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """All logs of this process go to stderr so; in JSON what Python itself prints there too: warnings, and exceptions that end
    a thread."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(secrets) if form == "json" else TextLines(secrets))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(form == "json")
    threading.excepthook = _log_thread_end if form == "json" else threading.__excepthook__


def is_json() -> bool:
    """Whether this process was configured so: then nothing but such lines belongs on stderr."""
    return any(isinstance(each.formatter, JsonLines) for each in logging.getLogger().handlers)


def rfc3339(seconds: float) -> str:
    """UTC, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _log_thread_end(ended: threading.ExceptHookArgs) -> None:
    name = "?" if ended.thread is None else ended.thread.name
    failure = ended.exc_value or ended.exc_type()
    logging.getLogger("eventsrc").error(
        "thread %s ended", name, exc_info=(ended.exc_type, failure, ended.exc_traceback)
    )

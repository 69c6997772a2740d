"""One finding about the surroundings: what was looked at, what was seen, what to do. Must not know any server."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    """Works, but something will go wrong or slow later."""
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    """Nobody answered: nothing is known about it."""
    SKIPPED = "skipped"
    """Not looked at, because of an earlier failure or because it is not needed here."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    verdict: Verdict
    text: str
    mend: str | None = None
    """What to do about it. None only where nothing is to be done."""


def ok(name: str, text: str) -> Check:
    return Check(name, Verdict.OK, text)


def warning(name: str, text: str, mend: str) -> Check:
    return Check(name, Verdict.WARNING, text, mend)


def failed(name: str, text: str, mend: str) -> Check:
    return Check(name, Verdict.FAILED, text, mend)


def unreachable(name: str, text: str, mend: str) -> Check:
    return Check(name, Verdict.UNREACHABLE, text, mend)


def skipped(name: str, text: str) -> Check:
    return Check(name, Verdict.SKIPPED, text)

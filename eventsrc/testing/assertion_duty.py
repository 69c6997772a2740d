"""A scenario that never asserts would pass whatever the code does: it is told when it is dropped, and where it was written."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_TOOLKIT = str(Path(__file__).parent)


class UnassertedScenario(UserWarning):
    """A scenario ended without a `then...`: it tested nothing."""


class Place(NamedTuple):
    file: str
    line: int


def warn(message: str, place: Place) -> None:
    warnings.warn_explicit(message, UnassertedScenario, place.file, place.line)


on_unasserted: Callable[[str, Place], None] = warn
"""What is done with one; the pytest plugin fails the test."""


class Duty:
    """Of one step of a scenario: it has to be met, by an assertion or by handing it on to a next step."""

    __slots__ = ("_met", "_place", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._place = _caller()
        self._met = False

    def meet(self) -> None:
        self._met = True

    def __del__(self) -> None:
        if not getattr(self, "_met", True):
            on_unasserted(f"{self._what} asserts nothing: end it with .then(...) or another then_...", self._place)


def _caller() -> Place:
    """The innermost frame that is not the toolkit's."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_TOOLKIT) and frame.f_back is not None:
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno)

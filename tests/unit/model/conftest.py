"""Declares a source as an application's module would, and gives back the report of its mistakes."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventsrc import DeclarationError


class Text(str):
    """Compares without the indentation that a test's source gives it."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and textwrap.dedent(str(other)).strip() == str(self)

    __hash__ = str.__hash__


Report = Callable[..., Text]


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Report]:
    """`report(source, future=False)`: the message of the `DeclarationError` that importing the source raises."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def import_it(source: str, *, future: bool = False) -> Text:
        first = "from __future__ import annotations; " if future else ""
        text = f"{first}from tests.unit.model.declared import *\n{textwrap.dedent(source).lstrip()}"
        (tmp_path / "app.py").write_text(text, encoding="utf-8")
        with pytest.raises(DeclarationError) as raised:
            importlib.import_module("app")
        return Text(raised.value)

    # Each test has a pipeline of its own: the module that declares it is imported anew.
    for module in ("app", "tests.unit.model.declared"):
        sys.modules.pop(module, None)
    importlib.invalidate_caches()
    yield import_it
    for module in ("app", "tests.unit.model.declared"):
        sys.modules.pop(module, None)

"""docs/errors.md explains every error, halt and refusal that has a name, and nothing else."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import eventsrc
from eventsrc.codes import UNEXPECTED, HaltCode, MistakeGroup, Refusal, code_of, see
from eventsrc.errors import EventsrcError, InvalidSettings, Rejected
from tests.unit.docs.reading import ROOT, code, rows

PAGE = ROOT / "docs" / "errors.md"
OPERATIONS = ROOT / "docs" / "operations.md"


def sections() -> dict[str, str]:
    """The text below each heading of the third level."""
    parts = re.split(r"^### (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], (re.split(r"^## ", part, flags=re.MULTILINE)[0] for part in parts[2::2]), strict=True))


def error_classes() -> Iterator[type[EventsrcError]]:
    for module in pkgutil.walk_packages(eventsrc.__path__, "eventsrc."):
        if not module.name.endswith("__main__") and ".scaffold" not in module.name:
            importlib.import_module(module.name)
    waiting: list[type[EventsrcError]] = [EventsrcError]
    while waiting:
        each = waiting.pop()
        waiting += each.__subclasses__()
        if each.__module__.startswith("eventsrc."):
            yield each


def test_every_name_is_explained_and_no_explanation_is_orphaned() -> None:
    classes = {code_of(each) for each in error_classes()}
    assert {"rejected", "topics-invalid", "stack-unavailable", "usage-error"} <= classes
    dead_letters = {word for row in rows(OPERATIONS, "## Dead letters") for word in code(row[0])}
    assert len(dead_letters) == 10
    assert sections().keys() == {*classes, *HaltCode, *Refusal, *MistakeGroup, *dead_letters, UNEXPECTED}


def test_an_explanation_says_what_to_do() -> None:
    for name, text in sections().items():
        assert len(re.findall(r"[.:]\s", text)) >= 2, name


def test_a_narrower_name_goes_before_the_classs_and_an_applications_subclass_has_its_parents() -> None:
    class Overdrawn(Rejected):
        pass

    assert code_of(Overdrawn("no", code="a detail")) == "rejected"
    assert code_of(InvalidSettings("no")) == "invalid-settings"
    assert code_of(InvalidSettings("no", Refusal.SETTING_PROTECTED)) == "setting-protected"
    assert code_of(KeyError("no")) == UNEXPECTED
    assert see(HaltCode.SEQUENCE_TWICE) == "see: docs/errors.md#sequence-twice"

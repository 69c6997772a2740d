"""What the pages tell readers to type can be typed: every command, option and number of words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.docs.reading import PAGES, ROOT
from tests.unit.docs.shell import mentioned_commands, problem_of, problem_of_mention, typed_commands

PLACES = sorted([*PAGES, *(ROOT / "examples").rglob("*.md"), *(ROOT / "eventsrc").rglob("*.md.template")])
MADE = ROOT / "docs" / "cli.md"  # its blocks are usage lines, of the same parser


@pytest.mark.parametrize(
    "page", [page for page in PLACES if page != MADE], ids=lambda page: str(page.relative_to(ROOT))
)
def test_commands_can_be_typed(page: Path) -> None:
    problems = [problem_of(words) for words in typed_commands(page)]
    problems += [problem_of_mention(span) for span in mentioned_commands(page)]
    assert not [problem for problem in problems if problem]


def test_enough_commands_are_found() -> None:
    assert len(list(typed_commands(ROOT / "README.md"))) >= 8
    assert len(list(typed_commands(ROOT / "docs" / "runbook.md"))) >= 7
    assert len(list(mentioned_commands(ROOT / "docs" / "operations.md"))) >= 10
    assert len(list(typed_commands(ROOT / "eventsrc" / "cli" / "scaffold" / "README.md.template"))) >= 8


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("eventsrc replay app:pipeline --untl -1s", "No such option"),
        ("eventsrc replya app:pipeline", "no such command"),
        ("eventsrc checkpoint lst", "no such command"),
        ("eventsrc init", "Missing"),
        ("eventsrc run app:pipeline --workers many", "valid integer"),
        ("eventsrc doctor everything", "unexpected extra argument"),
    ],
)
def test_mistakes_are_found(line: str, said: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Text.\n\n1. In a list:\n\n    ```\n    cd shop && {line}   # a comment, isn't it\n    ```\n")
    (words,) = typed_commands(page)
    assert said in (problem_of(words) or "")


def test_mentions_are_held_against_names_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`eventsrc tail [--since T]`, `eventsrc show [APP] --al`, `eventsrc shw`, `eventsrc db`")
    problems = [problem_of_mention(span) for span in mentioned_commands(page)]
    assert problems == [None, "eventsrc show [APP] --al: no such option: --al", "no such command: eventsrc shw", None]

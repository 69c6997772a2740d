"""The pages that are made of the code, or have to name all of something."""

from __future__ import annotations

import re
import tomllib

import pytest

import eventsrc
import eventsrc.testing
from tests.unit.docs.reading import ROOT, code, rows
from tools import cli_reference
from tools.site_hooks import FROM_ROOT, relink

DOCS = ROOT / "docs"


def test_the_command_lines_page_is_current() -> None:
    assert cli_reference.PAGE.read_text() == cli_reference.page(), (
        "docs/cli.md is out of date: run `make docs`, commit it"
    )


def test_the_command_lines_page_has_every_command_and_option() -> None:
    text = cli_reference.PAGE.read_text()
    commands = list(cli_reference.leaves(cli_reference.tree()))
    assert len(commands) >= 20
    for path, command in commands:
        assert f"\n## {' '.join(path)}\n" in text
        for option in command.params:
            assert all(f"`{name}`" in text for name in option.opts if name.startswith("-") and name != "--help")


def test_the_api_page_has_every_public_name() -> None:
    shown = re.findall(r"^::: eventsrc\.(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(eventsrc.__all__), (
        "docs/api.md has one line `::: eventsrc.NAME` for each public name"
    )


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [code(cell)[0] for cell, *_ in rows(DOCS / "index.md", "## Installing")] == list(
        project["optional-dependencies"]
    )


def test_figures_are_those_of_the_benchmarks() -> None:
    """What is measured anew is written anew everywhere."""
    results = (DOCS / "benchmarks.md").read_text().split("\n## Results\n")[1]
    told = [row[1] for row in rows(ROOT / "README.md", "## Figures")]
    told += [" ".join(row[1:]) for row in rows(DOCS / "recovery.md", "## How long it takes")]
    told += [" ".join(row[1:]) for row in rows(DOCS / "comparison.md", "## Measured") if row[0].startswith("eventsrc")]
    told += [row[1] for row in rows(DOCS / "sizing.md", "## Workers") + rows(DOCS / "sizing.md", "## Memory")]
    numbers = [number for cell in told for number in re.findall(r"\d[\d,.]*\d|\d{2,}", cell)]
    assert len(numbers) >= 20
    assert not [number for number in numbers if number not in results]


def test_every_halt_has_a_procedure() -> None:
    runbook = " ".join((DOCS / "runbook.md").read_text().split())
    for cell, *_ in rows(DOCS / "operations.md", "## Halts"):
        for span in code(cell):
            assert any(len(piece.strip()) > 7 and piece.strip() in runbook for piece in re.split(r"\.\.\.", span)), span


@pytest.mark.parametrize(
    ("source", "page", "before", "after"),
    [
        ("docs/guide.md", "guide.md", "[a](api.md#errors)", "[a](api.md#errors)"),
        ("docs/adr/0001-x.md", "adr/0001-x.md", "[a](../guide.md)", "[a](../guide.md)"),
        ("docs/guide.md", "guide.md", "[adrs](adr)", "[adrs](adr/README.md)"),
        ("docs/guide.md", "guide.md", "[a](#here) [b](https://example.org/x)", "[a](#here) [b](https://example.org/x)"),
        ("docs/benchmarks.md", "benchmarks.md", "see [the ledger](../benchmarks/ledger.py).", "see the ledger."),
        ("docs/index.md", "index.md", "[c](../CONTRIBUTING.md#tests)", "[c](contributing.md#tests)"),
        ("CHANGELOG.md", "changelog.md", "[d](docs/snapshots.md)", "[d](snapshots.md)"),
        ("docs/guide.md", "guide.md", "```\n[a](../x.py)\n```", "```\n[a](../x.py)\n```"),
    ],
)
def test_links_are_right_on_the_site(source: str, page: str, before: str, after: str) -> None:
    assert relink(before, source, page) == after


def test_pages_of_the_root_are_on_the_site() -> None:
    assert all((ROOT / source).exists() and not (DOCS / page).exists() for source, page in FROM_ROOT.items())

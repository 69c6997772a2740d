"""Reads the project's Markdown: blocks of code, tables, links."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of each fenced block, those within lists too."""
    return [(language, textwrap.dedent(text)) for _, language, text in _BLOCK.findall(page.read_text())]


def python_blocks(page: Path) -> list[str]:
    return [text for language, text in blocks(page) if language == "python"]


def prose(page: Path) -> str:
    """Without its blocks of code."""
    return _BLOCK.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Targets inside the project."""
    return [target for target in _LINK.findall(prose(page)) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """Its headings, as a link names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of every table under one heading (deeper headings too), without the tables' heads."""
    level = heading.count("#")
    text = page.read_text().split(f"\n{heading}\n", 1)[1]
    text = re.split(rf"\n#{{1,{level}}} ", text, maxsplit=1)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {number - 1 for number, line in enumerate(lines) if set(line) <= set("|- ")}
    wanted = [line for number, line in enumerate(lines) if number not in heads and number - 1 not in heads]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in wanted]


def code(cell: str) -> list[str]:
    """The code spans of a cell."""
    return re.findall(r"`([^`]+)`", cell)

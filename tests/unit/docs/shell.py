"""Finds what the pages tell readers to type, and asks the command line's own parser whether it can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.unit.docs.reading import blocks, code, prose
from tools.cli_reference import leaves, tree

SHELL_LANGUAGES = ("", "sh", "bash", "shell", "console")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*$")
_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]+|-[a-zA-Z])(?![\w-])")
_LINE = re.compile(r"(.*&& *)?([A-Z_]+=\S* +)*eventsrc\s")
_INDENTED = re.compile(r"^ {4,}(\S.*)$", re.MULTILINE)  # Markdown's other form of a block
_COMMENT = re.compile(r"\s#\s.*$")
_SEPARATORS = ("&&", "||", ";", "|", "&")

COMMANDS: dict[tuple[str, ...], Any] = dict(leaves(tree()))
GROUPS = {path[:length] for path in COMMANDS for length in range(1, len(path))}


def typed_commands(page: Path) -> Iterator[list[str]]:
    """Each `eventsrc ...` of the page's shell blocks, as words. Where a block has prompts, only lines after a prompt."""
    for language, text in blocks(page):
        if language in SHELL_LANGUAGES:
            yield from _commands(text)
    yield from _commands("\n".join(_INDENTED.findall(prose(page))))


def _commands(text: str) -> Iterator[list[str]]:
    lines = text.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    for line in lines:
        if _LINE.match(line.lstrip()):
            yield from _in_line(_COMMENT.sub("", line))


def _in_line(line: str) -> Iterator[list[str]]:
    words: list[str] = []
    for word in [*_split(line), "&&"]:
        if word not in _SEPARATORS:
            words.append(word)
            continue
        while words and _ASSIGNMENT.match(words[0]):
            words.pop(0)
        if words[:1] == ["eventsrc"]:
            yield words
        words = []


def _split(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


def mentioned_commands(page: Path) -> Iterator[str]:
    """Each code span of the prose that begins with `eventsrc `: a mention, with brackets around what may be left out."""
    yield from (span for span in code(prose(page)) if span.startswith("eventsrc ") and "\n" not in span)


def problem_of(words: list[str]) -> str | None:
    """What the command line would say against it; None where it can be typed."""
    path, rest = _named(words)
    if path is None:
        return f"no such command: {' '.join(words[:3])}"
    if path not in COMMANDS:
        return None if not rest or all(word.startswith("-") for word in rest) else f"no such command: {' '.join(words)}"
    if "--help" in rest:
        return None
    try:
        COMMANDS[path].make_context(path[-1], list(rest))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what a reader would be told
        return f"{' '.join(words)}: {error}"
    return None


def problem_of_mention(span: str) -> str | None:
    """As `problem_of`, but of names alone: a mention leaves words out."""
    words = re.sub(r"[\[\]]", " ", span).split()
    path, rest = _named(words)
    if words[1].isupper():
        return None  # `eventsrc COMMAND --help`: any of them
    if path is None:
        return f"no such command: {span}"
    if path not in COMMANDS:
        return None
    known = {name for each in COMMANDS[path].params for name in (*each.opts, *each.secondary_opts)} | {"--debug"}
    unknown = [name for name in _OPTION.findall(" ".join(rest)) if name not in known]
    return f"{span}: no such option: {', '.join(unknown)}" if unknown else None


def _named(words: list[str]) -> tuple[tuple[str, ...] | None, list[str]]:
    """The command's or the group's name, and the words after it."""
    path, rest = tuple(words[:1]), words[1:]
    while path in GROUPS and rest and not rest[0].startswith("-"):
        path, rest = (*path, rest[0]), rest[1:]
    return (path if path in COMMANDS or path in GROUPS else None), rest

"""Mistakes in a declared class: collected while it is read, then reported all at once with their places in the source.

Owns how a report looks and how a place is found; what counts as a mistake is decided where it is read.
"""

from __future__ import annotations

import ast
import linecache
import os
import sys
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from eventsrc.codes import MistakeGroup
from eventsrc.errors import DeclarationError


@dataclass(frozen=True, slots=True)
class Mistake:
    """`member` is None for the class itself. `problem` is a sentence; `mend` begins with a verb (`write`, `add`), and
    its code follows in `code`, any number of lines."""

    group: MistakeGroup
    member: str | None
    problem: str
    mend: str
    code: str = ""
    line: int | None = None
    """Only where the member's name does not lead to its line."""


class Mistakes:
    """Those of one class."""

    def __init__(self, cls: type, frame: FrameType) -> None:
        self._cls = cls
        self._source = _Source(cls, frame)
        self._found: list[Mistake] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(
        self,
        group: MistakeGroup,
        member: str | None,
        problem: str,
        mend: str,
        code: str = "",
        line: int | None = None,
    ) -> None:
        self._found.append(Mistake(group, member, problem, mend, code, line))

    def written_annotation(self, member: str, resolved: str) -> str:
        """A field's annotation as its author wrote it; `resolved` where the source is not at hand."""
        statement = self._source.annotated(member)
        return resolved if statement is None else ast.unparse(statement.annotation)

    def written_default(self, member: str) -> str:
        statement = self._source.annotated(member)
        return "..." if statement is None or statement.value is None else ast.unparse(statement.value)

    def raise_if_any(self) -> None:
        """Raises `DeclarationError` with every mistake found so far, in the order of the source."""
        if self._found:
            self._raise()

    def _raise(self) -> NoReturn:
        placed = sorted(((self._line_of(mistake), mistake) for mistake in self._found), key=lambda pair: pair[0])
        count = "a mistake" if len(placed) == 1 else f"{len(placed)} mistakes"
        items = []
        text = f"class {self._cls.__name__} ({self._source.place(self._source.class_line)}) has {count}"
        for line, mistake in placed:
            place = self._source.place(line)
            subject = mistake.member or "the class"
            text += f"\n  {subject} ({place}): {mistake.problem}{_indented(mistake)}"
            name = f"{self._cls.__name__}.{mistake.member}" if mistake.member else self._cls.__name__
            items.append(f"{name} ({place}): {mistake.problem}{_indented(mistake)}")
        groups = {mistake.group for mistake in self._found}
        raise DeclarationError(text, items, groups.pop() if len(groups) == 1 else None)

    def _line_of(self, mistake: Mistake) -> int:
        if mistake.line is not None:
            return mistake.line
        return self._source.member_line(mistake.member)


def _indented(mistake: Mistake) -> str:
    first, *rest = mistake.code.splitlines() or [""]
    head = f"{mistake.mend}  {first}".rstrip()
    return "".join(f"\n      {line}" for line in [head, *(" " * (len(mistake.mend) + 2) + line for line in rest)])


def place(file: str, line: int) -> str:
    """As terminals and editors take it; below the working directory, from there."""
    path = file if file.startswith("<") else os.path.relpath(file)
    return f"{file if path.startswith('..') else path}:{line}"


class _Source:
    """Where a class and its members stand. Reads and parses the file only when asked."""

    def __init__(self, cls: type, frame: FrameType) -> None:
        self._name = cls.__name__
        self._decorated_line = frame.f_lineno
        self._file = frame.f_code.co_filename
        if frame.f_globals.get("__name__") != cls.__module__:  # decorated from elsewhere: look in the class's own file
            self._file = getattr(sys.modules.get(cls.__module__), "__file__", None) or self._file
        self._node: ast.ClassDef | None = None
        self._parsed = False

    @property
    def class_line(self) -> int:
        node = self._class_node()
        return self._decorated_line if node is None else node.lineno

    def member_line(self, member: str | None) -> int:
        node = self._class_node()
        line = self.class_line
        for statement in node.body if node is not None and member is not None else ():
            if member in _names_bound(statement):
                line = statement.lineno
        return line

    def annotated(self, member: str) -> ast.AnnAssign | None:
        node = self._class_node()
        for statement in node.body if node is not None else ():
            if isinstance(statement, ast.AnnAssign) and member in _names_bound(statement):
                return statement
        return None

    def place(self, line: int) -> str:
        return place(self._file, line)

    def _class_node(self) -> ast.ClassDef | None:
        if not self._parsed:
            self._parsed = True
            try:
                tree = ast.parse("".join(linecache.getlines(self._file)))
            except SyntaxError:
                return None  # not the file the class came from: the decorator's line has to do
            nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == self._name]
            # Several classes of one name: the decorator's line tells which.
            self._node = min(nodes, key=lambda node: abs(node.lineno - self._decorated_line), default=None)
        return self._node


def _names_bound(statement: ast.stmt) -> tuple[str, ...]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return (statement.name,)
    if isinstance(statement, ast.AnnAssign):
        return (statement.target.id,) if isinstance(statement.target, ast.Name) else ()
    if isinstance(statement, ast.Assign):
        return tuple(target.id for target in statement.targets if isinstance(target, ast.Name))
    return ()

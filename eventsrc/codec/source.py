"""Generated Python source: lines, names bound to values, compilation.

Every value reaches the code through the namespace; only names made here and checked attribute names stand in the
text. Each unit is registered with `linecache`, so that a traceback shows its lines. Knows nothing of Avro.
"""

from __future__ import annotations

import keyword
import linecache
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from eventsrc.codec.nodes import NAME
from eventsrc.errors import DeclarationError


class Source:
    """The functions of one compilation unit and the names they share."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = dict(names)
        self._bound: dict[int, str] = {}
        self._counter = 0
        self._functions: list[list[str]] = []

    def fresh(self, prefix: str) -> str:
        self._counter += 1
        return f"{prefix}{self._counter}"

    def constant(self, value: Any, prefix: str = "K") -> str:
        """The name under which the code finds `value`."""
        name = self._bound.get(id(value))
        if name is None:
            name = self._bound[id(value)] = self.fresh(prefix)
            self.names[name] = value  # which also keeps the id taken
        return name

    def function(self, signature: str) -> Lines:
        lines: list[str] = [f"def {signature}:"]
        self._functions.append(lines)
        return Lines(lines)

    def compile(self, name: str, filename: str) -> Callable[..., Any]:
        text = "\n".join("\n".join(lines) for lines in self._functions) + "\n"
        exec(compile(text, filename, "exec"), self.names)
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        function: Callable[..., Any] = self.names[name]
        return function


class Lines:
    """One function's body as it grows."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self.depth = 1

    def add(self, text: str) -> None:
        self._lines.append("    " * self.depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.add(f"{head}:")
        self.depth += 1
        before = len(self._lines)
        yield
        if len(self._lines) == before:
            self.add("pass")
        self.depth -= 1


def attribute(name: str) -> str:
    """`name`, once it is certain that it can stand in source text as an attribute."""
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise DeclarationError(f"{name!r} cannot be the name of a field")
    return name

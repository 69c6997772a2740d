from __future__ import annotations

import ast
import inspect

import pytest

import eventsrc


def test_every_public_name_is_there_and_documented() -> None:
    for name in eventsrc.__all__:
        assert inspect.getdoc(getattr(eventsrc, name)), name


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(inspect.getsource(eventsrc))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("eventsrc.")
        for alias in node.names
    }
    assert imported == set(eventsrc.__all__)


def test_names_are_listed_and_others_refused() -> None:
    assert set(eventsrc.__all__) <= set(dir(eventsrc))
    with pytest.raises(AttributeError, match="has no attribute 'Pipelin'"):
        eventsrc.Pipelin  # noqa: B018 - the misspelling is the point

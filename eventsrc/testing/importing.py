"""Where another process imports a pipeline from, and how: the same interpreter, the same path."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from eventsrc.model.pipeline import Pipeline


def where_imported(pipeline: Pipeline) -> str | None:
    """`module:attribute`, where it is a global of a module that declares one of its aggregates; None elsewhere."""
    for aggregate in pipeline.aggregates.values():
        name = aggregate.cls.__module__
        if name == "__main__" or name not in sys.modules:
            continue
        for attribute, value in vars(sys.modules[name]).items():
            if value is pipeline:
                return f"{name}:{attribute}"
    return None


def imported(app: str) -> Pipeline:
    module, _, attribute = app.partition(":")
    found: Any = importlib.import_module(module)
    for name in attribute.split("."):
        found = getattr(found, name)
    if not isinstance(found, Pipeline):
        raise TypeError(f"{app} is a {type(found).__name__}, not a Pipeline")
    return found


def environment(**more: str) -> dict[str, str]:
    """Of such a process."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}

"""An application once more, as a module of its own: its pipeline's name and settings come from the environment."""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType
from unittest.mock import patch


def load_application(module: str, **environment: str) -> ModuleType:
    """Under these variables, which are gone again when it returns."""
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    name = f"{module.replace('.', '_')}_{environment['EVENTSRC_TEST_PIPELINE'].replace('-', '_')}"
    spec = importlib.util.spec_from_file_location(name, found.origin)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    with patch.dict(os.environ, environment):
        spec.loader.exec_module(loaded)
    return loaded

"""Testing applications: scenarios of one aggregate, a whole pipeline in memory, determinism. See docs/testing.md.

Each name is loaded when it is first asked for. `eventsrc.testing.pytest_plugin` has fixtures for real services.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventsrc.testing.assertion_duty import UnassertedScenario
    from eventsrc.testing.deciding import UnsoundFold
    from eventsrc.testing.determinism import DeterminismReport, check_determinism
    from eventsrc.testing.memory.pipeline import DeadLettered, MemoryPipeline
    from eventsrc.testing.observed import ImpureHandler
    from eventsrc.testing.running import RunningPipeline
    from eventsrc.testing.scenarios import Decided, MisusedScenario, Scenario, scenario

__all__ = [
    "DeadLettered",
    "Decided",
    "DeterminismReport",
    "ImpureHandler",
    "MemoryPipeline",
    "MisusedScenario",
    "RunningPipeline",
    "Scenario",
    "UnassertedScenario",
    "UnsoundFold",
    "check_determinism",
    "scenario",
]

_HOMES = {
    "eventsrc.testing.assertion_duty": ("UnassertedScenario",),
    "eventsrc.testing.deciding": ("UnsoundFold",),
    "eventsrc.testing.determinism": ("DeterminismReport", "check_determinism"),
    "eventsrc.testing.memory.pipeline": ("DeadLettered", "MemoryPipeline"),
    "eventsrc.testing.observed": ("ImpureHandler",),
    "eventsrc.testing.running": ("RunningPipeline",),
    "eventsrc.testing.scenarios": ("Decided", "MisusedScenario", "Scenario", "scenario"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'eventsrc.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Named places in the worker where a test may end or stop the process, at exactly the n-th passing.

Owns nothing at run time: unless `EVENTSRC_TEST_FAULT` is set when this module is imported, `reach` compares one name
with None and returns. Must not know what happens at a point. Meant for the fault tests; never set it in production.

`EVENTSRC_TEST_FAULT="after-produce:3"` sends SIGKILL to its own process when `after-produce` is reached for the third
time; `"after-produce:3:stop"` sends SIGSTOP instead, once. Several stand separated by commas.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from typing import Final

SNAPSHOT_STATEMENTS: Final = (
    "claim",
    *(f"segments-{statement}" for statement in ("begin", "copy", "commit")),
    *(f"commit-{statement}" for statement in ("begin", "lock", "insert", "move", "commit")),
    *(f"collect-{statement}" for statement in ("begin", "lock", "checkpoints", "segments", "commit")),
)
"""Every statement by which the snapshot store changes something, named by what it belongs to."""
SNAPSHOT_POINTS: Final = (
    *(f"snapshot-{when}-{statement}" for statement in SNAPSHOT_STATEMENTS for when in ("before", "after")),
    "snapshot-mid-segments-copy",  # each time that a block has been handed to the client library
)
POINTS: Final = frozenset(
    {
        *SNAPSHOT_POINTS,
        "before-produce",  # a batch is decided, its transaction not begun
        "mid-produce",  # some records of a transaction are produced
        "after-produce",  # all records are produced, offsets not sent
        "after-send-offsets",  # offsets accepted, EndTxn not sent
        "after-commit",  # the commit is acknowledged, memory not yet told
        "after-barrier",  # a takeover's barrier is committed, its snapshot not asked for
        "before-reading",  # a snapshot is loaded, or there is none; no event is read yet
        "during-recovery",  # some of the events are read
        "letters-after-produce",  # commands and audit records of a chunk of dead letters are delivered, not committed
        "letters-after-commit",  # the chunk is committed, the operator not yet told
    }
)
_ACTIONS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}

_hook: Callable[[str], None] | None = None


def reach(name: str) -> None:
    """Marks a place. Callable from any thread."""
    if _hook is not None:
        _hook(name)


def arm(text: str) -> None:
    """Installs what `EVENTSRC_TEST_FAULT` describes; an empty text disarms. Raises `ValueError` on a point or action
    that does not exist: a fault that silently never happens would let a test pass for nothing."""
    global _hook  # noqa: PLW0603 - the one switch: a module attribute, so that an unarmed `reach` costs one comparison
    _hook = _armed([_parse(part) for part in text.split(",")]) if text else None


def _parse(part: str) -> tuple[str, int, signal.Signals]:
    name, _, rest = part.strip().partition(":")
    passing, _, action = rest.partition(":")
    if name not in POINTS or not passing.isdecimal() or int(passing) < 1 or (action or "kill") not in _ACTIONS:
        points = ", ".join(sorted(POINTS))
        raise ValueError(f"EVENTSRC_TEST_FAULT {part!r}: write <point>:<n> or <point>:<n>:stop; points: {points}")
    return name, int(passing), _ACTIONS[action or "kill"]


def _armed(faults: list[tuple[str, int, signal.Signals]]) -> Callable[[str], None]:
    passings = {name: itertools.count(1) for name, _, _ in faults}

    def hook(name: str) -> None:
        if name not in passings:
            return
        passing = next(passings[name])
        for point, at, action in faults:
            if (point, at) == (name, passing):
                os.write(2, f"fault point {name} reached {passing}: {action.name}\n".encode())
                os.kill(os.getpid(), action)

    return hook


arm(os.environ.get("EVENTSRC_TEST_FAULT", ""))

"""The child's side of a supervised worker: its life is tied to its supervisor's, and it gets its slot from there.

One environment variable passes both: the supervisor's pid, and the inherited descriptor of the slot's lock. It is taken
out of the environment when it is read, so that programs which the worker starts are not taken for workers.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import MutableMapping

from eventsrc.adapters.local.child import tie_to_parent

VARIABLE = "EVENTSRC_SUPERVISED"


def supervision(supervisor: int, slot_lock: int) -> dict[str, str]:
    """What a supervisor adds to its worker's environment. It must hold the other end of the worker's standard input."""
    return {VARIABLE: f"{supervisor}:{slot_lock}"}


def accept_supervision(environ: MutableMapping[str, str]) -> int | None:
    """The slot's lock, where a supervisor started this process; None where none did.

    From then on this process is killed when the supervisor ends, however it ends: by the kernel, and where it has no such
    service by the end of standard input. A kill is safe at any time, and frees the slot for the supervisor's next life
    at once; a drain without it might hang. Ends the process where the supervisor is gone already.
    """
    text = environ.pop(VARIABLE, None)
    if text is None:
        return None
    supervisor, _, slot_lock = text.partition(":")
    if not tie_to_parent(int(supervisor), signal.SIGKILL):
        sys.exit("the supervisor ended meanwhile")
    threading.Thread(target=_end_with_input, name="eventsrc-supervised", daemon=True).start()
    return int(slot_lock)


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)

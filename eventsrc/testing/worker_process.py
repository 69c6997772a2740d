"""`python -m eventsrc.testing.worker_process APP NAME`: the worker of a test, which ends with it.

Runs the application's pipeline under another name. Settings come from the environment.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

from eventsrc.adapters.local.child import tie_to_parent
from eventsrc.runtime.settings import Settings
from eventsrc.runtime.worker import run_worker
from eventsrc.testing.importing import imported
from eventsrc.testing.running import renamed


def main(app: str, name: str) -> None:
    if not tie_to_parent(os.getppid(), signal.SIGKILL):
        sys.exit("the test ended meanwhile")
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s  %(message)s"
    )
    code = run_worker(renamed(imported(app), name), Settings.resolve({}))
    sys.stderr.flush()
    os._exit(code)  # as `eventsrc run` ends: the client library's threads may still be in a call


if __name__ == "__main__":
    main(*sys.argv[1:])

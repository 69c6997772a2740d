"""Runs a worker, or the supervisor of several: what `eventsrc run` does once its words are understood. Imports no more than
a worker needs."""

from __future__ import annotations

import logging
import os
import sys

from eventsrc.cli.errors import UsageError
from eventsrc.cli.loading import load_pipeline
from eventsrc.runtime.settings import Settings
from eventsrc.runtime.supervised import accept_supervision


def work(app: str | None, settings: Settings, workers: int) -> int:
    """The exit code of the worker that this process becomes; of several, of their supervisor. Raises `UsageError`,
    `DeclarationError`, `InvalidSettings`, `Unreachable`, `TopicsInvalid`."""
    if workers < 1:
        raise UsageError(f"--workers {workers}: at least 1")
    if workers > 1:
        from eventsrc.cli.supervise import supervise

        settings.require_bootstrap_servers()
        return supervise(app, settings, workers)
    slot_lock = accept_supervision(os.environ)
    pipeline = load_pipeline(app or settings.app)
    settings.require_bootstrap_servers()
    from eventsrc.runtime.worker import run_worker

    return run_worker(pipeline, settings, slot_lock)


def configure_logging(level: str) -> None:
    """Logs go to stderr, one line each. The client library's own lines are shown from `info` on: what matters of them
    is reported as an error with its next step."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s  %(message)s",
        force=True,
    )
    if level in ("warning", "error"):
        logging.getLogger("eventsrc.kafka").setLevel(logging.CRITICAL)

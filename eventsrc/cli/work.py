"""Runs a worker: what `eventsrc run` does once its words are understood. Imports no more than the worker needs."""

from __future__ import annotations

import logging
import sys

from eventsrc.cli.errors import UsageError
from eventsrc.cli.loading import load_pipeline
from eventsrc.runtime.settings import Settings


def work(app: str | None, settings: Settings, workers: int) -> int:
    """The worker's exit code. Raises `UsageError`, `DeclarationError`, `Unreachable`, `TopicsInvalid`."""
    if workers != 1:
        raise UsageError(
            "--workers takes 1 in this version: start further workers as further `eventsrc run` commands, each takes "
            "the next free slot on this host"
        )
    pipeline = load_pipeline(app or settings.app)
    settings.require_bootstrap_servers()
    from eventsrc.runtime.worker import run_worker

    return run_worker(pipeline, settings)


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

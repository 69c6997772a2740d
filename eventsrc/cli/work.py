"""Runs a worker, or the supervisor of several: what `eventsrc run` does once its words are understood. Imports no more than
a worker needs."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
from dataclasses import replace
from typing import NoReturn

from eventsrc.cli.errors import UsageError
from eventsrc.cli.loading import load_pipeline
from eventsrc.runtime import logs
from eventsrc.runtime.settings import Settings
from eventsrc.runtime.supervised import accept_supervision


def work(app: str | None, settings: Settings, workers: int) -> int:
    """Becomes a worker, and ends the process with it. Of several workers: the exit code of their supervisor. Raises
    `UsageError`, `DeclarationError`, `InvalidSettings`, `Unreachable`, `TopicsInvalid`."""
    if workers < 1:
        raise UsageError(f"--workers {workers}: at least 1")
    if workers > 1:
        from eventsrc.cli.supervise import supervise

        settings.require_bootstrap_servers()
        return supervise(app, settings, workers)
    slot_lock = accept_supervision(os.environ)
    if slot_lock is not None:
        settings = replace(settings, http=None)  # the supervisor serves one address for all
    pipeline = load_pipeline(app or settings.app)
    settings.require_bootstrap_servers()
    from eventsrc.runtime.worker import run_worker

    return _end_process(run_worker(pipeline, settings, slot_lock))


def _end_process(code: int) -> NoReturn:
    """Without taking the interpreter down. What leaving did not wait for (docs/adr/0012) may still be answered, and the
    client library's threads then enter an interpreter that is no more: a completed drain ended as a crash."""
    atexit._run_exitfuncs()  # an application's own, and logging's
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def configure_logging(settings: Settings, level: str | None = None) -> None:
    """Logs go to stderr, one line each. The client library's own lines are shown from `info` on: what matters of them
    is reported as an error with its next step. `level`: another than the settings'."""
    level = level or settings.log_level
    logs.configure(level, settings.log_format, settings.secrets)
    logging.getLogger("eventsrc.cli").setLevel(
        logging.INFO
    )  # what a command itself has to say, however quiet the rest is
    if level in ("warning", "error"):
        logging.getLogger("eventsrc.kafka").setLevel(logging.CRITICAL)
    if level != "debug":  # its own account of what it sets up and runs: the commands say what matters
        logging.getLogger("alembic").setLevel(logging.WARNING)

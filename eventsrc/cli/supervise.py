"""`eventsrc run --workers N`: what a supervisor is made of, and how its words are shown."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import datetime
from typing import TextIO

from eventsrc.adapters.local.slots import Slot
from eventsrc.cli.describing import group_of
from eventsrc.cli.errors import EXIT_SCHEMA, EXIT_USAGE
from eventsrc.cli.loading import named_app
from eventsrc.engine.report import WorkerReport
from eventsrc.runtime import logs
from eventsrc.runtime.health import Observed
from eventsrc.runtime.http_address import HttpAddress
from eventsrc.runtime.restarts import EXIT_FENCED
from eventsrc.runtime.settings import Settings
from eventsrc.runtime.status_file import WorkerStatus, read_status
from eventsrc.runtime.supervisor import Progress, Supervisor
from eventsrc.runtime.worker_processes import WorkerProcesses

NEVER_AGAIN = {
    EXIT_FENCED: "another process has its instance id now",
    EXIT_USAGE: "the application or a setting is wrong",
    EXIT_SCHEMA: "schema files and code do not go together",
}


def supervise(app: str | None, settings: Settings, workers: int) -> int:
    """The supervisor's exit code. Raises `UsageError`, `InvalidSettings` where a slot cannot be had."""
    app = named_app(app or settings.app)
    group_id = group_of(app)
    if isinstance(group_id, int):
        return group_id
    with ExitStack() as held:
        slots = [_slot(settings, group_id, number) for number in range(workers)]
        for slot in slots:
            held.callback(slot.release)
        processes = WorkerProcesses(slots, lambda instance: _command(app, instance), _environment(settings))
        show = Lines(sys.stderr, settings.log_level, max(len(slot.instance_id) for slot in slots))
        instances = [slot.instance_id for slot in slots]
        supervisor = Supervisor(processes, instances, NEVER_AGAIN, show, lambda: _reports(slots))
        if settings.http is not None:
            from eventsrc.runtime.http_endpoint import HttpEndpoint

            address = HttpAddress.parse(settings.http)
            held.enter_context(
                HttpEndpoint(address, settings.http_token, lambda: _observed(supervisor, slots))
            ).joined()
        with processes, show:
            return supervisor.run()


def _slot(settings: Settings, group_id: str, number: int) -> Slot:
    """The next free one; with an instance id of the user's own, the number behind it."""
    wanted = None if settings.instance_id is None else f"{settings.instance_id}-{number}"
    return Slot.take(settings.state_dir, group_id, wanted)


def _command(app: str, instance: str) -> list[str]:
    return [sys.executable, "-m", "eventsrc", "run", app, "--instance-id", instance]


def _environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, **settings.in_environment(), "PYTHONUNBUFFERED": "1"}


def _reports(slots: list[Slot]) -> Iterator[WorkerReport]:
    for slot in slots:
        status = read_status(slot.directory)
        if isinstance(status, WorkerStatus) and status.alive:
            yield status.report


def _observed(supervisor: Supervisor, slots: list[Slot]) -> list[Observed]:
    """All workers, by what they last wrote into their slots; what an earlier process wrote is not its successor's."""
    directories = {slot.instance_id: slot.directory for slot in slots}
    found = []
    for instance, process, age_s in supervisor.seats():
        status = read_status(directories[instance])
        if isinstance(status, WorkerStatus) and status.pid == process:
            age_s = max(0.0, time.time() - status.report.at_us / 1e6)
            found.append(Observed(instance, status.report, age_s, process))
        else:
            found.append(Observed(instance, None, age_s, process))
    return found


class Lines:
    """On stderr: the workers' lines with their instance id before them, the supervisor's own, and below them, on a
    terminal, one line that says how things stand. Elsewhere that is a line of its own whenever it changes. Where logs are JSON,
    all of that is JSON.

    A context manager: the progress line goes at its end. A reader that went away (a closed pipe) ends no worker.
    """

    def __init__(self, stream: TextIO, log_level: str, width: int) -> None:
        self._stream = stream
        self._quiet = log_level in ("warning", "error")
        self._width = max(width, len("supervisor"))
        self._json = logs.is_json()
        self._terminal = stream.isatty() and not self._json
        self._shown = ""
        self._stood: tuple[object, ...] = ()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *failure: object) -> None:
        self._shown = ""
        self._write("")

    def log(self, instance: str, line: str) -> None:
        if self._json:
            self._write(
                f"{line if _is_json_line(line) else json_line('eventsrc.output', 'info', line, instance=instance)}\n"
            )
            return
        self._write(f"{instance:{self._width}} | {line}\n")

    def event(self, text: str, *, alarming: bool = False) -> None:
        if alarming or not self._quiet:
            if self._json:
                self.log("", json_line("eventsrc.supervisor", "warning" if alarming else "info", text))
                return
            now = datetime.now()
            when = f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03}"
            self.log("supervisor", f"{when} {'WARNING' if alarming else 'INFO':7} eventsrc.supervisor  {text}")

    def progress(self, progress: Progress) -> None:
        text = progress_text(progress)
        if self._terminal:
            self._shown = text
            self._write("")
        elif (stands := progress[:-1]) != self._stood:
            self._stood = stands
            self.event(text)

    def _write(self, lines: str) -> None:
        """The progress line gives way to lines, and comes again below them."""
        text = lines
        if self._terminal:
            width = shutil.get_terminal_size().columns
            text = f"\r\x1b[K{lines}{self._shown[: width - 1]}"
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def _is_json_line(line: str) -> bool:
    """A worker's log line; else an application printed it, or the interpreter as it died."""
    if not line.startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def json_line(logger: str, level: str, message: str, **fields: str) -> str:
    """As `logs.JsonLines` has them."""
    told = {"time": logs.rfc3339(time.time()), "level": level, "logger": logger, "message": message}
    return json.dumps({**told, **fields})


def progress_text(progress: Progress) -> str:
    """`2 of 2 workers up   8 of 8 partitions open   12,400 commands/s   1 restart`"""
    parts = [f"{progress.running} of {progress.workers} workers {'left' if progress.draining else 'up'}"]
    if progress.partitions is not None:
        parts.append(f"{progress.open_partitions} of {progress.partitions} partitions open")
    if progress.halted_partitions:
        parts.append(f"{progress.halted_partitions} HALTED: eventsrc status")
    if progress.commands_per_s is not None:
        parts.append(f"{progress.commands_per_s:,.0f} commands/s")
    parts.append(f"{progress.restarts} restart{'' if progress.restarts == 1 else 's'}")
    return "   ".join(parts)

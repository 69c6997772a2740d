"""`eventsrc dev`: local Kafka and Postgres, and the worker, started again whenever the code changes."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from eventsrc.cli.render import columns
from eventsrc.cli.session import Session, command
from eventsrc.errors import EventsrcError

if TYPE_CHECKING:
    from eventsrc.cli.dev_process import WorkerProcess
    from eventsrc.localstack.services import Service, Services
    from eventsrc.localstack.stack import LocalStack

_LOOK_INTERVAL_MS = 300


def register(app: typer.Typer) -> None:
    command(app, "dev", quiet=False)(dev)


def dev(
    session: Session,
    app: Annotated[str | None, typer.Argument(metavar="[APP]", help="module:attribute of the pipeline.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew: remove everything in the state directory.")
    ] = False,
) -> None:
    """Start Kafka and Postgres here (or share those that run), create the topics, and run the worker, again after each
    change of a .py file. Ctrl-C stops what this command started. Without APP: only the servers."""
    from eventsrc.cli.dev_process import WorkerProcess
    from eventsrc.cli.surroundings import given_in, progress
    from eventsrc.localstack.stack import LocalStack, resolve_services

    settings = session.settings
    app = app or settings.app
    given = given_in(settings)
    stack = LocalStack(settings.state_dir, report=progress)
    with _interrupted_by_signals() as asked:
        try:
            if fresh:
                stack.wipe_own()
            services = resolve_services(stack, given)
            print(describe(services), flush=True)
            _prepare(services)
            if app is None:
                print("  worker    none: no application is named (eventsrc dev module:attribute)", flush=True)
                _wait(stack, asked)
            else:
                _run(WorkerProcess(app, settings, services), stack, settings.state_dir, asked)
        finally:
            stack.stop()


def _prepare(services: Services) -> None:
    """The tables of snapshots. Without them a worker runs all the same, and says so."""
    from eventsrc.adapters.postgres.upgrading import upgrade

    try:
        before = upgrade(services.database_url)
    except (LookupError, EventsrcError) as error:
        print(f"  tables    no snapshots: {error}", flush=True)
        return
    if before.missing:
        print(f"  tables    of snapshots: revision {before.known}", flush=True)


def describe(services: Services) -> str:
    """One line for each server: where it is, which it is, and where its data is."""
    rows = [("kafka", *_facts(services.kafka)), ("postgres", *_facts(services.postgres))]
    return columns([row for row in rows if len(row) > 1], indent="  ")


def _facts(service: Service | None) -> list[str]:
    from eventsrc.runtime.secrets import mask_address

    if service is None:
        return []
    if service.origin == "given":
        return [mask_address(service.address), "given"]
    how = "shared" if service.origin == "shared" else f"ready in {service.ready_s or 0:.1f} s"
    return [mask_address(service.address), f"{service.version}, {how}", _short(service.directory)]


def _short(directory: str | None) -> str:
    path = Path(directory or "")
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


@contextmanager
def _interrupted_by_signals() -> Iterator[threading.Event]:
    """Each signal interrupts, and sets the event: an exception that is raised in a destructor is ignored and lost."""
    asked = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.set()
        raise KeyboardInterrupt

    with _handling(interrupt):
        yield asked


@contextmanager
def _stopped_by_signals(asked: threading.Event) -> Iterator[None]:
    """The first signal sets the event; a second one interrupts, whatever is being waited for."""

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    with _handling(ask):
        yield


def _wait(stack: LocalStack, stop: threading.Event) -> None:
    with _stopped_by_signals(stop):
        while not stop.wait(_LOOK_INTERVAL_MS / 1000):
            _raise_if_gone(stack)


def _run(worker: WorkerProcess, stack: LocalStack, state_dir: Path, stop: threading.Event) -> None:
    """Until a signal, or until the stack is gone. A worker that ends by itself waits for the next change."""
    with _stopped_by_signals(stop):
        if stop.is_set():
            return
        worker.start()
        try:
            for changed in _changes(stop, state_dir):
                _raise_if_gone(stack)
                if changed:
                    print(f"  changed   {', '.join(changed)}: the worker starts again", flush=True)
                    worker.stop()
                    worker.start()
                worker.notice_end()
        finally:
            worker.stop()


def _changes(stop: threading.Event, state_dir: Path) -> Iterator[list[str]]:
    """The .py files below the current directory that changed, some times a second, most often none; until `stop`."""
    from watchfiles import PythonFilter, watch

    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # its news are told below, with the names
    for changes in watch(
        Path.cwd(),
        watch_filter=PythonFilter(ignore_paths=[state_dir.absolute()]),
        stop_event=stop,
        rust_timeout=_LOOK_INTERVAL_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        if stop.is_set():
            return
        yield sorted({os.path.relpath(path) for _, path in changes})


def _raise_if_gone(stack: LocalStack) -> None:
    if failure := stack.failure():
        raise failure

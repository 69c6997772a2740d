"""What the examples' commands have in common: a local stack, topics, tables, a worker as a user starts it, commands as a user
types them. Everything that is started is stopped, however the command ends. Knows no example.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from eventsrc import EventsrcError, Pipeline
from eventsrc.adapters.kafka.topics import CreatedTopics, create_topics
from eventsrc.adapters.postgres.upgrading import upgrade
from eventsrc.localstack.processes import end, spawn
from eventsrc.localstack.services import Service, Services
from eventsrc.localstack.stack import LocalStack, resolve_services
from eventsrc.runtime.secrets import mask_address

ROOT = Path(__file__).resolve().parents[1]
_DRAIN_S = 30.0
_SHOWN_LINES = 8


class ExampleFailed(Exception):  # noqa: N818 - it is the command's result
    """The command cannot go on, or found something wrong. The text ends with the next step."""


def say(what: str, *facts: str) -> None:
    print(f"  {what:<10}{'   '.join(facts)}", flush=True)


def run_to_end(body: Callable[[contextlib.ExitStack], str | None]) -> int:
    """Runs a command whose clean-up is in the stack it is given; what it returns is told as the next thing to type.
    Returns the exit code; a failure is told on stderr."""
    before = signal.signal(signal.SIGTERM, _terminated)
    # The client library's own lines: what matters of them comes as an error with its next step.
    logging.getLogger("eventsrc.kafka").setLevel(logging.CRITICAL)
    began = time.monotonic()
    try:
        with contextlib.ExitStack() as cleanup:
            next_step = body(cleanup)
    except KeyboardInterrupt:
        print("\ninterrupted; everything that was started is stopped", file=sys.stderr)
        return 130
    except (ExampleFailed, EventsrcError, TimeoutError) as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    say("done", f"in {time.monotonic() - began:.1f} s; what was started is stopped")
    if next_step:
        say("next", next_step)
    return 0


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


class Surroundings(NamedTuple):
    """Where an example runs. `environment` is for the processes it starts: they find services and files by it."""

    stack: LocalStack
    services: Services
    state_dir: Path
    environment: dict[str, str]

    @property
    def schemas_dir(self) -> Path:
        return self.state_dir / "schemas"

    @property
    def is_own_kafka(self) -> bool:
        """Whether the log was written to a Kafka that was started here, and is kept in the state directory."""
        return self.services.kafka is not None and self.services.kafka.origin == "started"


def prepare(state_dir: Path, cleanup: contextlib.ExitStack, *, fresh: bool) -> Surroundings:
    """Starts Kafka and Postgres in that directory, or takes those that are given or run there, and shows them.

    `fresh` removes what an earlier run left, unless its stack still runs. Raises `StackUnavailable`.
    """
    directory = state_dir.absolute()
    stack = LocalStack(directory, report=lambda line: say("", line))
    cleanup.callback(stack.stop)
    if fresh and stack.attach() is None:
        stack.wipe()
    directory.mkdir(parents=True, exist_ok=True)
    services = resolve_services(stack)
    for name, service in (("kafka", services.kafka), ("postgres", services.postgres)):
        if service is not None:
            say(name, mask_address(service.address), *_described(service))
    upgrade(services.database_url)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        **services.in_environment(),
        "EVENTSRC_STATE_DIR": str(directory),
        "EVENTSRC_SCHEMAS_DIR": str(directory / "schemas"),
    }
    return Surroundings(stack, services, directory, environment)


def _described(service: Service) -> Iterator[str]:
    if service.version:
        ready = f", ready in {service.ready_s:.1f} s" if service.origin == "started" and service.ready_s else ""
        yield f"{service.version}{ready}"
    if service.origin != "started":
        yield service.origin
    elif service.directory:
        yield os.path.relpath(service.directory)


def prepare_topics(pipeline: Pipeline, bootstrap_servers: str) -> CreatedTopics:
    topics = create_topics(pipeline, bootstrap_servers)
    partitions = f"{pipeline.settings.partitions} partitions each"
    for names, state in ((topics.created, "created"), (topics.existing, "there already")):
        if names:
            say("topics", ", ".join(names), f"{partitions}, {state}")
    return topics


class WorkerProcess:
    """One `eventsrc run`. Killed by the kernel if this process is: it could not stop it any more."""

    def __init__(self, app: str, log: Path, around: Surroundings) -> None:
        self.log = log
        self._app, self._around = app, around
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Call it from the main thread, which the worker's life is tied to."""
        command = [sys.executable, "-m", "eventsrc", "run", self._app]
        self._process = spawn(command, self.log, signal.SIGKILL, environ=self._around.environment, directory=ROOT)

    def look(self) -> None:
        """Raises `ExampleFailed` where it has ended by itself, and what befell the stack where that is gone."""
        if (failure := self._around.stack.failure()) is not None:
            raise failure
        if self._process is not None and self._process.poll() is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
            raise ExampleFailed(
                f"a worker ended by itself, with exit code {self._process.returncode}:\n    "
                + "\n    ".join(lines)
                + f"\n  next: read {self.log}"
            )

    def ask_to_end(self) -> None:
        """SIGTERM, as a deployment does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait_drained(self) -> None:
        """After `ask_to_end`, until it has finished what it had begun. Raises `ExampleFailed` if it does not."""
        assert self._process is not None
        try:
            code = self._process.wait(_DRAIN_S)
        except subprocess.TimeoutExpired:
            raise ExampleFailed(
                f"a worker did not end within {_DRAIN_S:g} s after SIGTERM\n  next: read {self.log}"
            ) from None
        if code:
            raise ExampleFailed(f"a worker ended with exit code {code} after SIGTERM\n  next: read {self.log}")

    def kill(self) -> None:
        """SIGKILL, whatever it does; it is reaped when this returns."""
        end(self._process, signal.SIGKILL, 5.0)


def show(words: Sequence[str], environment: dict[str, str], *, exit_code: int = 0) -> None:
    """A command as a user types it, with its output. Raises `ExampleFailed` where it ends otherwise than expected."""
    print(f"\n$ eventsrc {' '.join(words)}", flush=True)
    command = [sys.executable, "-m", "eventsrc", *words]
    shown = subprocess.run(command, env=environment, cwd=ROOT, stderr=subprocess.STDOUT, check=False)
    if shown.returncode != exit_code:
        expected = f", not {exit_code}" if exit_code else ""
        raise ExampleFailed(
            f"`eventsrc {words[0]}` ended with exit code {shown.returncode}{expected}\n  next: see its message above"
        )

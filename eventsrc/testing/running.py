"""A pipeline on real services for one test: under a name of its own, with a worker process, a client, and an end."""

from __future__ import annotations

import copy
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from eventsrc.errors import EventsrcError
from eventsrc.model.names import is_kebab_name
from eventsrc.model.pipeline import Pipeline
from eventsrc.runtime.client import Client
from eventsrc.runtime.settings import Settings
from eventsrc.testing.importing import environment, where_imported

_OPEN_S = 90.0
_DRAIN_S = 30.0
_LOOK_AGAIN_S = 0.02
_LOG_END = 3000


def renamed(pipeline: Pipeline, name: str) -> Pipeline:
    """The same classes under another name: its topics, group and transactional ids are its own."""
    if not is_kebab_name(name):
        raise EventsrcError(f"{name!r} cannot name a pipeline: small letters, digits and hyphens, a letter first")
    made = copy.copy(pipeline)
    made.name = name
    made.settings = replace(pipeline.settings, group_id=name)
    return made


class RunningPipeline:
    """`pipeline`: under its name of this test. `client`: connected to it. `settings`: its addresses and directories, for
    whatever else a test starts."""

    def __init__(self, pipeline: Pipeline, app: str, settings: Settings, directory: Path) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.client = Client(pipeline, settings=settings)
        self._app = app
        self._log = directory / "worker.log"
        self._mark = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the worker; returns when every partition is open. Raises `EventsrcError` with the end of its log."""
        if self._process is not None:
            raise EventsrcError(f"the worker of {self.pipeline.name} runs already")
        self._mark = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "eventsrc.testing.worker_process", self._app, self.pipeline.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(**self.settings.in_environment()),
            )
        self._wait_open(self._process)

    def kill(self) -> None:
        """Ends the worker as a crash does. The next `start` has the same instance id, and recovers."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def drain(self) -> None:
        """Ends the worker as a deployment does: what was begun is finished. Raises `EventsrcError` where it failed."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(_DRAIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise EventsrcError(f"the worker did not drain within {_DRAIN_S:g} s:\n{self.log()[-_LOG_END:]}") from None
        if code != 0:
            raise EventsrcError(f"the worker ended with exit code {code}:\n{self.log()[-_LOG_END:]}")

    def log(self) -> str:
        """What the worker has said since it was last started."""
        with self._log.open("rb") as log:
            log.seek(self._mark)
            return log.read().decode(errors="replace")

    def _wait_open(self, process: subprocess.Popen[bytes]) -> None:
        count = len(self.pipeline.aggregates) * self.pipeline.settings.partitions
        deadline_s = time.monotonic() + _OPEN_S
        while len(re.findall(r" open after ", self.log())) < count:
            if process.poll() is not None or time.monotonic() > deadline_s:
                self.kill()
                raise EventsrcError(f"the worker of {self.pipeline.name} did not open:\n{self.log()[-_LOG_END:]}")
            time.sleep(_LOOK_AGAIN_S)


@contextmanager
def running(
    pipeline: Pipeline, addresses: Settings, directory: Path, app: str | None = None
) -> Iterator[RunningPipeline]:
    """Topics made, a worker started, and all of it gone afterwards, the topics too. `addresses`: of both services, the
    database's tables upgraded. `app`: where the worker imports the pipeline from; found by itself where it is a global of
    the module that declares an aggregate."""
    from eventsrc.adapters.kafka.topics import create_topics

    app = app or where_imported(pipeline)
    if app is None:
        raise EventsrcError(
            f"the worker cannot import pipeline {pipeline.name!r}: it is no global of a module that declares its aggregates. "
            'Name it: app="module:attribute"'
        )
    own = renamed(pipeline, f"{pipeline.name[:80]}-test-{uuid.uuid4().hex[:10]}")
    settings = replace(addresses, state_dir=directory / "state", schemas_dir=directory / "schemas")
    address = settings.require_bootstrap_servers()
    topics = create_topics(own, address, settings.kafka).created
    made = RunningPipeline(own, app, settings, directory)
    try:
        made.start()
        yield made
        made.drain()
    finally:
        made.client.close(0.0)
        made.kill()
        _delete(topics, address)


def _delete(topics: tuple[str, ...], bootstrap_servers: str) -> None:
    from confluent_kafka.admin import AdminClient

    for future in AdminClient({"bootstrap.servers": bootstrap_servers}).delete_topics(list(topics)).values():
        future.exception(10)  # it may be gone already: a test's own doing

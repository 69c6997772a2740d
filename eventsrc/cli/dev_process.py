"""The worker of `eventsrc dev`: a process of its own, so that changed code is really loaded anew.

`WorkerProcess` is the side of `dev`; `main` is the process, which prepares the topics and then does what `run` does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from eventsrc.cli.errors import exit_code_of, show_error

if TYPE_CHECKING:
    from eventsrc.localstack.services import Services
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.runtime.settings import Settings

_DRAIN_GRACE_S = 30.0


class WorkerProcess:
    """One worker at a time. `stop` drains it; what it prints goes where `dev` prints."""

    def __init__(self, app: str, settings: Settings, services: Services) -> None:
        self._app = app
        self._environment = {**os.environ, **settings.in_environment(), **services.in_environment()}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, self._app],
            stdin=subprocess.PIPE,  # its end tells the worker that `dev` is gone, however it went
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for `dev`, which drains the worker
        )

    def notice_end(self) -> None:
        """Says once that the worker has ended by itself."""
        if self._process is not None and (code := self._process.poll()) is not None:
            print(f"  worker    ended with exit code {code}; the next change of a .py file starts it again", flush=True)
            self._forget()

    def stop(self) -> None:
        """Drains the worker, and kills it when that takes too long. Does nothing if none runs."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_DRAIN_GRACE_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.wait()
        self._forget()

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None


def main(app: str) -> int:
    """The worker process: topics, the lines about them, then the worker until SIGTERM. Returns the exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        return _prepare_and_work(app)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - shown as any command's; `dev` goes on and waits for a change
        show_error(error, debug=False)
        return exit_code_of(error)


def _end_with_parent() -> None:
    """`dev` holds the other end of standard input. Killed itself, it cannot end its worker: the worker does."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1.0)  # a drain that cannot finish, with Kafka gone too, is not waited for
    os._exit(1)


def _prepare_and_work(app: str) -> int:
    from eventsrc.adapters.kafka.topics import create_topics
    from eventsrc.cli.example_command import example_command
    from eventsrc.cli.loading import load_pipeline
    from eventsrc.cli.work import configure_logging, work
    from eventsrc.runtime.settings import Settings

    settings = Settings.resolve()
    configure_logging(settings)
    pipeline = load_pipeline(app)
    done = create_topics(pipeline, settings.require_bootstrap_servers(), settings.kafka)
    print(f"  topics    {_topics(pipeline)}  {pipeline.settings.partitions} partitions, {_created(done.created)}")
    print(f"  worker    {app}  watching *.py")
    if example := example_command(pipeline, None if settings.app == app else app):
        print(f"  try       {example}")
    sys.stdout.flush()
    return work(app, settings, workers=1)


def _topics(pipeline: Pipeline) -> str:
    names = [f"{pipeline.name}.{name}.*" for name in pipeline.aggregates]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _created(created: tuple[str, ...]) -> str:
    return f"{len(created)} created" if created else "all there"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

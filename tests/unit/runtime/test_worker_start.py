"""What a worker imports before it joins its group: a worker that was killed is back only as fast as this."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

APP = """
from eventsrc import Pipeline, apply, handle

pipeline = Pipeline("small")

@pipeline.command
class Add:
    number: int

@pipeline.event
class Added:
    number: int

@pipeline.aggregate
class Sum:
    total: int = 0

    @handle
    def add(self, command: Add) -> Added:
        return Added(command.number)

    @apply
    def added(self, event: Added) -> None:
        self.total += event.number
"""

RUN = """
import os, sys
from types import SimpleNamespace
from eventsrc.adapters.kafka.topics import planned_topics
from eventsrc.cli.main import main
from eventsrc.runtime import worker

heavy = {
    "pydantic", "sqlalchemy", "alembic", "typer", "click", "rich", "psycopg", "fastavro", "avro", "httpx", "authlib",
    "confluent_kafka.schema_registry", "eventsrc.adapters.registry",
}

def joins(*arguments, **settings):
    print("joins with", sorted(heavy & set(sys.modules)), flush=True)
    os._exit(0)

def topics(pipeline, *others, needed):
    return {each.name: SimpleNamespace(topic_id="id", partitions=8, config={}) for each in planned_topics(pipeline)}

worker.verify_topics = topics
worker.GroupMembership = joins
main(["run", "small:pipeline"])
"""


def test_nothing_heavy_is_imported_on_the_way_to_the_group_join(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(APP)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
        "EVENTSRC_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "EVENTSRC_DATABASE_URL": "postgresql://127.0.0.1:1/none",
    }
    ran = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "joins with []" in ran.stdout, ran.stdout + ran.stderr


END = """
import atexit
from eventsrc.cli.main import main
from eventsrc.runtime import worker

worker.run_worker = lambda *arguments: print("drained") or 7
atexit.register(print, "exit functions are called")
try:
    main(["run", "small:pipeline"])
except SystemExit:
    print("the interpreter is taken down")
"""


def test_a_worker_ends_its_process_without_taking_the_interpreter_down(tmp_path: Path) -> None:
    """Threads of the client library may come back from a question that was not waited for."""
    (tmp_path / "small.py").write_text(APP)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
        "EVENTSRC_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    command = [sys.executable, "-c", END]
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout.splitlines()) == (7, ["drained", "exit functions are called"]), ran.stderr

"""An application whose handler has a bug that can be mended, its worker, and `eventsrc` for it: real processes.

Written into a directory of its own; the bug is there while the file `broken` is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.harness.collect import Reader, wait_until

SOURCE = str(Path(__file__).parents[2])
PARTITIONS = 2
APP = """
import os
from typing import Annotated

from pydantic import Field

from eventsrc import Pipeline, apply, handle

pipeline = Pipeline(os.environ["TILL"], partitions=2, handler_attempts=1)

@pipeline.command
class Deposit:
    amount: Annotated[int, Field(lt=1000)]

@pipeline.event
class Deposited:
    amount: int

@pipeline.aggregate
class Account:
    balance: int = 0
    amounts: str = ""

    @handle
    def deposit(self, command: Deposit) -> Deposited:
        if os.path.exists("broken"):
            raise ZeroDivisionError("the till is broken")
        return Deposited(command.amount)

    @apply
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount
        self.amounts += f"{event.amount} "
"""


class Till:
    """Close it."""

    def __init__(self, directory: Path, kafka: str, **environ: str) -> None:
        self.directory, self.kafka = directory, kafka
        self.name = f"till-{uuid.uuid4().hex[:8]}"
        self.environ = {
            "PATH": os.environ["PATH"], "PYTHONPATH": SOURCE, "TILL": self.name, "EVENTSRC_APP": "till:pipeline",
            "KAFKA_BOOTSTRAP_SERVERS": kafka, **environ,
        }  # fmt: skip
        (directory / "till.py").write_text(APP)
        self.worker: subprocess.Popen[bytes] | None = None
        self("topics", "create")

    @property
    def commands(self) -> str:
        return f"{self.name}.account.commands"

    @property
    def events(self) -> str:
        return f"{self.name}.account.events"

    @property
    def dead_letters(self) -> str:
        return f"{self.name}.dead-letter"

    def start(
        self,
        *words: str,
        environ: Mapping[str, str] = MappingProxyType({}),
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "eventsrc", *words],
            cwd=self.directory, env={**self.environ, **environ}, text=True, stdin=subprocess.PIPE, stdout=stdout,
            stderr=stderr,
        )  # fmt: skip

    def finish(self, process: subprocess.Popen[str], exit_code: int = 0, text: str | None = None) -> tuple[str, str]:
        out, err = process.communicate(text, timeout=90)
        assert process.returncode == exit_code, f"{process.args!r}: exit {process.returncode}\n{out}\n{err}"
        assert "Traceback (most" not in err
        return out, err

    def __call__(self, *words: str, exit_code: int = 0, text: str | None = None, **environ: str) -> str:
        """Stdout; of what exits with 2 or 3, stderr."""
        process = self.start(*words, environ=environ)
        out, err = self.finish(process, exit_code, text)
        return err if exit_code in (2, 3) else out

    def json(self, *words: str, exit_code: int = 0, **environ: str) -> Any:
        return json.loads(self(*words, "--json", exit_code=exit_code, **environ))

    def run(self) -> None:
        """A worker, until `close`; it has its partitions open when this returns."""
        log = self.directory / "worker.log"
        with log.open("ab") as target:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "eventsrc", "run"],
                cwd=self.directory, env=self.environ, stdin=subprocess.DEVNULL, stdout=target, stderr=target,
            )  # fmt: skip
        wait_until(lambda: log.read_text().count(" open after ") >= PARTITIONS, 60, "partitions are open")

    def break_it(self) -> None:
        (self.directory / "broken").touch()

    def mend(self) -> None:
        (self.directory / "broken").unlink(missing_ok=True)

    def deposit(self, id: str, amount: int, *words: str) -> str:
        payload = json.dumps({"amount": amount})
        return self.finish(
            self.start("send", "Account", id, "Deposit", payload, *words),
            1 if (self.directory / "broken").exists() else 0,
        )[0]

    def fail(self, count: int, ids: int) -> None:
        """So many deposits of 1, 2, ... end as dead letters, of so many accounts in turn."""
        self.break_it()
        lines = [
            {"aggregate": "Account", "id": f"a{n % ids}", "command": "Deposit", "payload": {"amount": n % 1000}}
            for n in range(count)
        ]
        self("send", "--file", "-", text="\n".join(map(json.dumps, lines)), exit_code=1)
        self.mend()

    def amounts(self, id: str) -> list[int]:
        """Of the events, in their order."""
        shown = json.loads(self.finish(self.start("show", "Account", id, "--json"), 0)[0])
        return [int(each) for each in shown["state"]["amounts"].split()]

    def settle(self) -> None:
        """Until every command has been processed: of each partition, all records below the markers of transactions."""
        reader = Reader(self.kafka)

        def done() -> bool:
            committed = {each.partition: each.offset for each in reader.committed(self.name, [self.commands])}
            last = {record.partition: record.offset for record in reader.read(self.commands)}
            return all(committed.get(partition, 0) > offset for partition, offset in last.items())

        try:
            wait_until(done, 60, "every command is processed")
        finally:
            reader.close()

    def close(self) -> None:
        if self.worker is not None:
            self.worker.send_signal(signal.SIGKILL)
            self.worker.wait()

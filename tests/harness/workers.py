"""Real worker processes: started as a user starts them, and killed, stopped, continued, drained by signal.

Readiness is a condition, never a time. Every process ends with its test.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.harness.collect import wait_until

ROOT = Path(__file__).parent.parent.parent
OPEN = " open after "
"""In the log of a worker that has recovered a partition."""

LONG_S = 60.0
"""Bounds waits for what must happen and has no deadline of its own: longer than a busy machine stalls."""


class Worker:
    """One `python -m eventsrc run` of an application, restartable under the same instance id."""

    def __init__(self, app: str, instance_id: str, directory: Path, environment: Mapping[str, str]) -> None:
        """`environment` is added to the test's own."""
        self._command = [
            sys.executable, "-m", "eventsrc", "run", app,
            "--instance-id", instance_id, "--state-dir", str(directory / "state"),
        ]  # fmt: skip
        self._environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **environment,
        }  # fmt: skip
        self._environment.pop("EVENTSRC_TEST_FAULT", None)
        self.instance_id = instance_id
        self._directory = directory
        self._log = directory / f"{instance_id}.log"
        self._mark = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, fault: str = "", **environment: str) -> None:
        """`fault` is for `EVENTSRC_TEST_FAULT`, of this start only."""
        if self.running:
            raise RuntimeError(f"{self.instance_id} runs already")
        self._mark = self._log.stat().st_size if self._log.exists() else 0
        extra = {"EVENTSRC_TEST_FAULT": fault} if fault else {}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self._directory,
                env={**self._environment, **extra, **environment},
            )  # fmt: skip
        self.starts += 1

    def kill(self) -> None:
        """SIGKILL, whatever it does; it is reaped when this returns."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGSTOP: to everybody else it is gone, and it does not know."""
        self._signal(signal.SIGSTOP)
        wait_until(lambda: self.stopped, LONG_S, f"{self.instance_id} is stopped")

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def drain(self, timeout_s: float = LONG_S) -> int:
        """SIGTERM, then the exit code. Raises `TimeoutError` with its log where it does not end."""
        self.terminate()
        return self.wait_ended(timeout_s)

    def wait_ended(self, timeout_s: float = LONG_S) -> int:
        assert self.process is not None
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGABRT)  # faulthandler writes where each of its threads stands
            self.process.wait()
            raise TimeoutError(f"{self.instance_id} still ran:\n{self.log()[-6000:]}") from None

    @property
    def stopped(self) -> bool:
        """By a signal, its own or ours."""
        assert self.process is not None
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    def wait_stopped(self, timeout_s: float = LONG_S) -> None:
        """Until a fault point has stopped it."""
        wait_until(
            lambda: self.stopped or not self.running, timeout_s, f"{self.instance_id} stops\n{self.log()[-2000:]}"
        )
        if not self.stopped:
            raise AssertionError(f"{self.instance_id} ended instead of stopping:\n{self.log()[-3000:]}")

    def log(self, whole: bool = False) -> str:
        """Stdout and stderr of this start, or of all."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as log:
            log.seek(0 if whole else self._mark)
            return log.read().decode(errors="replace")

    def wait_log(self, pattern: str, timeout_s: float = LONG_S) -> re.Match[str]:
        """The first match in this start's log. Raises `TimeoutError` with the log's end."""
        deadline = time.monotonic() + timeout_s
        while (found := re.search(pattern, self.log())) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.instance_id} did not say {pattern!r}:\n{self.log()[-3000:]}")
            time.sleep(0.02)
        return found

    def end(self) -> None:
        """After the test: whatever state it is in."""
        if self.running:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

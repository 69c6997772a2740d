"""The client side of a local stack: start it or share a running one, stop it, wipe it; and where services come from.

**Lifetime.** A stack belongs to the process that started it and ends with it, in order or killed. Whoever finds it
running shares it, and leaves it up when done; if the owner goes first, it goes with the owner.
Must not know how a server is started: the supervisor does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from eventsrc.localstack.distribution import prepare
from eventsrc.localstack.lock import StackDirectory, holder, try_lock
from eventsrc.localstack.postgres import PostgresServer
from eventsrc.localstack.problems import StackUnavailable
from eventsrc.localstack.provision import Report, cache_directory
from eventsrc.localstack.services import Service, Services, read_record
from eventsrc.localstack.supervisor import EXIT_ANOTHER_RUNS
from eventsrc.localstack.training import train

ALL_SERVICES = frozenset({"kafka", "postgres"})
DEFAULT_STATE_DIRECTORY = Path(".eventsrc")
_STOP_GRACE_S = 45.0
# `-P` and the end of the path: nothing in the caller's working directory may shadow a module of the supervisor's.
_BOOT = """\
import sys
sys.path.append(sys.argv.pop(1))
from eventsrc.localstack.supervisor import main
sys.exit(main(sys.argv[1:]))
"""


def _quiet(line: str) -> None:
    pass


class LocalStack:
    """Kafka and Postgres in a state directory. Use it as a context manager, or call `stop` in a `finally`.

    `report` takes a line about each piece of work that a person waits for (a first start downloads Kafka).
    """

    def __init__(self, state_directory: Path = DEFAULT_STATE_DIRECTORY, report: Report = _quiet) -> None:
        self.directory = StackDirectory(state_directory.absolute())
        self._report = report
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._shares = False

    @property
    def owned(self) -> bool:
        """Whether this object started the stack, so that `stop` stops it."""
        return self._supervisor is not None

    def attach(self) -> Services | None:
        """The services of a running stack, without starting anything; None if none runs or it is not ready yet."""
        pid = holder(self.directory.lock)
        record = read_record(self.directory.record) if pid is not None else None
        if record is None or record.supervisor != pid:
            return None
        origin = "started" if self._supervisor is not None and self._supervisor.pid == pid else "shared"
        return Services(_with_origin(record.kafka, origin), _with_origin(record.postgres, origin))

    def start(self, needs: Iterable[str] = ALL_SERVICES, timeout_s: float = 120.0) -> Services:
        """Starts the stack, or shares the one that runs. Raises `StackUnavailable`.

        A stack that runs without a needed service is not extended: its owner decides.
        """
        wanted = frozenset(needs)
        self.directory.make()
        self.directory.failure.unlink(missing_ok=True)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if services := self.attach():
                if missing := services.missing(wanted):
                    raise StackUnavailable(
                        f"the stack that runs in {self.directory.root} has no {' and no '.join(sorted(missing))}",
                        "stop the command that started it, or give another --state-dir",
                    )
                self._shares = self._supervisor is None
                return services
            if self._supervisor is None and holder(self.directory.lock) is None:
                self._launch(wanted)
                deadline = time.monotonic() + timeout_s
            self._notice_failure()
            time.sleep(0.02)
        self.stop()
        raise StackUnavailable(
            f"the stack in {self.directory.root} was not ready after {timeout_s:.0f} s", f"read {self.directory.log}"
        )

    def failure(self) -> StackUnavailable | None:
        """Why the stack that `start` returned is gone; None while it runs, and after `stop`."""
        if self._supervisor is None:
            if self._shares and self.attach() is None:
                return StackUnavailable(
                    "the command that started the stack has ended, and the stack with it", "start again"
                )
            return None
        if self._supervisor.poll() is None:
            return None
        try:
            problem, mend = json.loads(self.directory.failure.read_text())
        except (OSError, ValueError):
            problem, mend = "the stack's supervisor ended unexpectedly", f"read {self.directory.log}, and start again"
        return StackUnavailable(problem, mend)

    def stop(self) -> None:
        """Stops what `start` started; a shared stack stays up. May be called again."""
        supervisor, self._supervisor, self._shares = self._supervisor, None, False
        if supervisor is None:
            return
        if supervisor.stdin:
            with contextlib.suppress(OSError):
                supervisor.stdin.close()
        try:
            supervisor.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()

    def wipe_own(self) -> None:
        """As `wipe`, of a directory that a person has named: raises `StackUnavailable` too where it holds anything else, since
        then it is no state directory, or not that alone."""
        if self.directory.root.exists() and (foreign := self.directory.foreign()):
            raise StackUnavailable(
                f"{self.directory.root} is not wiped: it holds what is no state of eventsrc ({', '.join(foreign[:5])})",
                "give a --state-dir of its own, or take these out",
            )
        self.wipe()

    def wipe(self) -> None:
        """Removes everything in the state directory. Raises `StackUnavailable` if a stack runs there."""
        if not self.directory.root.exists():
            return
        self.directory.make()
        lock = self._lock_to_wipe()
        try:
            PostgresServer(self.directory.postgres).wipe()
            for entry in self.directory.root.iterdir():
                if entry != self.directory.stack:
                    _remove(entry)
            for entry in self.directory.stack.iterdir():
                if entry != self.directory.lock:
                    _remove(entry)
        finally:
            os.close(lock)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _lock_to_wipe(self) -> int:
        """The stack's lock; one that is just stopping is waited for."""
        deadline = time.monotonic() + _STOP_GRACE_S
        while (lock := try_lock(self.directory.lock)) is None:
            if self.attach() is not None or time.monotonic() > deadline:
                raise StackUnavailable(
                    f"a stack runs in {self.directory.root} and cannot be wiped",
                    f"stop the command that started it (its supervisor is process {holder(self.directory.lock)})",
                )
        return lock

    def _launch(self, needs: frozenset[str]) -> None:
        cache = cache_directory(fallback=self.directory.root / "cache")
        if "kafka" in needs:
            prepare(cache, self._report, train)
        package_parent = str(Path(__file__).parents[2])
        arguments = [package_parent, str(self.directory.root), str(cache), ",".join(sorted(needs))]
        with self.directory.log.open("wb") as log:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is the owner's to handle
            )

    def _notice_failure(self) -> None:
        if self._supervisor is None or self._supervisor.poll() is None:
            return
        another_runs = self._supervisor.returncode == EXIT_ANOTHER_RUNS
        failure = self.failure()
        self.stop()
        if failure is not None and not another_runs:
            raise failure


def _with_origin(service: Service | None, origin: str) -> Service | None:
    return replace(service, origin=origin) if service else None


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def given_services(environ: Mapping[str, str] = os.environ) -> Services:
    """What the environment names: `KAFKA_BOOTSTRAP_SERVERS` and `DATABASE_URL`, with or without `EVENTSRC_` before."""

    def given(*names: str) -> Service | None:
        address = next((environ[name] for name in names if environ.get(name)), None)
        return Service(address, "given") if address else None

    return Services(
        kafka=given("EVENTSRC_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"),
        postgres=given("EVENTSRC_DATABASE_URL", "DATABASE_URL"),
    )


def resolve_services(
    stack: LocalStack,
    given: Services | None = None,
    *,
    needs: Iterable[str] = ALL_SERVICES,
    start: bool = True,
) -> Services:
    """Each needed service: the given address, else a running local stack's, else (with `start`) one that is started.

    What was started belongs to `stack`: stop it when done. Raises `StackUnavailable` if a service is needed, not
    given, and not to be had.
    """
    given = given_services() if given is None else given
    missing = given.missing(frozenset(needs))
    if not missing:
        return given
    found = stack.start(missing) if start else stack.attach()
    if found is None or found.missing(missing):
        raise StackUnavailable(
            f"no address is given for {' and '.join(sorted(missing))}, and no stack runs in {stack.directory.root}",
            "start one with `eventsrc dev`, or set KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL",
        )
    return Services(given.kafka or found.kafka, given.postgres or found.postgres)

"""`make demo`: the bank under load on a real Kafka, checked from outside. `python -m examples.bank.demo --help`

Starts (or shares) a local stack, prepares topics and database, starts worker processes as `eventsrc run` does, sends
commands through the public client, kills a worker in the middle and starts it again, stops the workers, judges what
stands in the log, and travels back to the moment of the kill. Exit code 1 if anything is not right.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from eventsrc import Client, EventsrcError
from eventsrc.adapters.kafka.topics import create_topics
from eventsrc.adapters.postgres.upgrading import upgrade
from eventsrc.localstack.processes import end, spawn
from eventsrc.localstack.services import Service, Services
from eventsrc.localstack.stack import LocalStack, resolve_services
from eventsrc.runtime.secrets import mask_address
from examples.bank import check, load, recovery
from examples.bank.app import pipeline

APP = "examples.bank.app:pipeline"
EVENTS = "bank.account.events"
ROOT = Path(__file__).resolve().parents[2]
_SHOWN_PROBLEMS = 10
_DRAIN_S = 30.0
_BACK_WITHIN_S = 30.0


class DemoFailed(Exception):  # noqa: N818 - it is the demo's result
    """The demo cannot go on, or found something wrong. The text ends with the next step."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 if everything was right."""
    wanted = _options().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, _terminated)
    # The client library's own lines: what matters of them comes as an error with its next step.
    logging.getLogger("eventsrc.kafka").setLevel(logging.CRITICAL)
    began = time.monotonic()
    try:
        with contextlib.ExitStack() as cleanup:
            kept = _run(wanted, cleanup)
    except KeyboardInterrupt:
        print("\ninterrupted; everything that was started is stopped", file=sys.stderr)
        return 130
    except (DemoFailed, EventsrcError, TimeoutError) as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    say("done", f"in {time.monotonic() - began:.1f} s; what was started is stopped")
    if kept:
        say("next", f"eventsrc dev {APP} --state-dir {wanted.state_dir}   (the same accounts, to play with)")
    return 0


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="make demo", description="A bank of accounts on a real Kafka, checked.")
    options.add_argument("--commands", type=int, default=10_000, help="deposits and withdrawals [10,000]")
    options.add_argument("--accounts", type=int, default=300, help="accounts [300]")
    options.add_argument("--workers", type=int, default=2, help="worker processes [2]")
    options.add_argument("--state-dir", type=Path, default=Path(".eventsrc/demo"), help="everything it keeps")
    return options


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def say(what: str, *facts: str) -> None:
    print(f"  {what:<10}{'   '.join(facts)}", flush=True)


def _run(wanted: argparse.Namespace, cleanup: contextlib.ExitStack) -> bool:
    """Whether the log is kept in the state directory: it is where Kafka was started here."""
    state_dir: Path = wanted.state_dir.absolute()
    stack = LocalStack(state_dir, report=lambda line: say("", line))
    cleanup.callback(stack.stop)
    if stack.attach() is None:
        stack.wipe()
    state_dir.mkdir(parents=True, exist_ok=True)
    services = resolve_services(stack)
    _show_services(services)
    _create_topics(services.bootstrap_servers)
    upgrade(services.database_url)

    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        **services.in_environment(),
        "EVENTSRC_STATE_DIR": str(state_dir),
        "EVENTSRC_SCHEMAS_DIR": str(state_dir / "schemas"),
    }
    workers = _Workers(wanted.workers, state_dir, environment, stack)
    cleanup.callback(workers.kill)
    run = uuid.uuid4().hex[:4]
    sent = _send(services, wanted, run, workers)
    workers.drain()

    verdict = _judge(sent, services.bootstrap_servers, state_dir / "schemas")
    if verdict.problems:
        raise DemoFailed(_problem_text(verdict.problems, workers.logs))
    _travel(workers, environment)
    _show_timeline(f"alice-{run}", environment)
    return services.kafka is not None and services.kafka.origin == "started"


def _show_services(services: Services) -> None:
    for name, service in (("kafka", services.kafka), ("postgres", services.postgres)):
        if service is not None:
            say(name, mask_address(service.address), *_described(service))


def _create_topics(bootstrap_servers: str) -> None:
    topics = create_topics(pipeline, bootstrap_servers)
    partitions = f"{pipeline.settings.partitions} partitions each"
    for names, state in ((topics.created, "created"), (topics.existing, "there already")):
        if names:
            say("topics", ", ".join(names), f"{partitions}, {state}")


def _described(service: Service) -> Iterator[str]:
    if service.version:
        ready = f", ready in {service.ready_s:.1f} s" if service.origin == "started" and service.ready_s else ""
        yield f"{service.version}{ready}"
    if service.origin != "started":
        yield service.origin
    elif service.directory:
        yield os.path.relpath(service.directory)


class _Workers:
    """The worker processes, as a user starts them."""

    def __init__(self, count: int, state_dir: Path, environment: dict[str, str], stack: LocalStack) -> None:
        self._stack = stack
        self._logs = [state_dir / f"worker-{number}.log" for number in range(1, count + 1)]
        self._environment = environment
        self._processes = [self._start(log) for log in self._logs]
        self.started = time.monotonic()
        self.killed_at: datetime | None = None

    def _start(self, log: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "eventsrc", "run", APP]
        # Killed by the kernel if this process is: it could not stop them any more.
        return spawn(command, log, signal.SIGKILL, environ=self._environment, directory=ROOT)

    def kill_one(self) -> tuple[Path, int, float]:
        """SIGKILL the first one and start it again at once: its slot, and so its identity, is free. Returns its log, where
        in it the new life begins, and the `time.monotonic()` of the kill."""
        log, process = self._logs[0], self._processes[0]
        since_s, self.killed_at = time.monotonic(), datetime.now(UTC)
        process.kill()
        process.wait()
        begins = log.stat().st_size
        self._processes[0] = self._start(log)
        return log, begins, since_s

    def __len__(self) -> int:
        return len(self._processes)

    @property
    def logs(self) -> str:
        return ", ".join(map(str, self._logs))

    def look(self) -> None:
        """Raises `DemoFailed` where a worker, or the stack, has ended by itself."""
        if (failure := self._stack.failure()) is not None:
            raise failure
        for process, log in zip(self._processes, self._logs, strict=True):
            if process.poll() is not None:
                lines = log.read_text(errors="replace").splitlines()[-8:]
                raise DemoFailed(
                    f"a worker ended by itself, with exit code {process.returncode}:\n    "
                    + "\n    ".join(lines)
                    + f"\n  next: read {log}"
                )

    def drain(self) -> None:
        """SIGTERM, as a deployment does: each finishes what it has begun. Raises `DemoFailed` if one does not."""
        self.look()
        began = time.monotonic()
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process, log in zip(self._processes, self._logs, strict=True):
            try:
                code = process.wait(_DRAIN_S)
            except subprocess.TimeoutExpired:
                raise DemoFailed(
                    f"a worker did not end within {_DRAIN_S:g} s after SIGTERM\n  next: read {log}"
                ) from None
            if code:
                raise DemoFailed(f"a worker ended with exit code {code} after SIGTERM\n  next: read {log}")
        say("drained", f"{len(self)} workers in {time.monotonic() - began:.1f} s, exit code 0")

    def kill(self) -> None:
        for process in self._processes:
            end(process, signal.SIGKILL, 5.0)


def _send(services: Services, wanted: argparse.Namespace, run: str, workers: _Workers) -> list[check.Sent]:
    orders = list(load.orders(wanted.commands, wanted.accounts, run))
    with Client(pipeline, services.bootstrap_servers) as client:
        first = load.drive(client, orders[:1], lambda _: workers.look())
        if first[0].answer != "ok":
            raise DemoFailed(f"the first command was not processed: {first[0].answer}\n  next: read {workers.logs}")
        say(
            "workers",
            f"{len(workers)} of `eventsrc run {APP}`",
            f"first answer after {time.monotonic() - workers.started:.1f} s",
        )
        began = time.monotonic()
        with _progress(len(orders)) as show:
            kill = _KillInTheMiddle(services.bootstrap_servers, workers, len(orders) // 2)

            def on_progress(answered: int) -> None:
                workers.look()
                show(answered + 1)
                kill.when_due(answered)

            sent = first + load.drive(client, orders[1:], on_progress)
    took_s = time.monotonic() - began
    answers = Counter("duplicate" if each.duplicate else each.answer for each in sent)
    kill.tell()
    say("load", f"{len(sent):,} commands answered in {took_s:.1f} s, {len(sent) / took_s:,.0f}/s")
    say(
        "",
        f"{answers['ok']:,} took effect, {answers['rejected']:,} rejected, {answers['duplicate']:,} sent twice and recognised",
    )
    return sent


class _KillInTheMiddle:
    """Kills a worker once so many commands are answered and it has checkpoints, and tells how it came back."""

    def __init__(self, bootstrap_servers: str, workers: _Workers, after: int) -> None:
        self._bootstrap_servers, self._workers, self._after = bootstrap_servers, workers, after
        self._watch: recovery.FirstNewEvent | None = None
        self._log, self._begins, self._since_s = Path(), 0, 0.0

    def when_due(self, answered: int) -> None:
        if self._watch is None and answered >= self._after:
            self._watch = recovery.FirstNewEvent(self._bootstrap_servers, EVENTS, pipeline.settings.partitions)
            self._log, self._begins, self._since_s = self._workers.kill_one()

    def tell(self) -> None:
        """Raises `DemoFailed` where it did not come back."""
        if self._watch is None:
            raise DemoFailed(f"the load ended before its middle\n  next: read {self._workers.logs}")
        took_s = self._watch.wait(self._since_s, _BACK_WITHIN_S)
        back = recovery.read_settled(self._log, self._begins)
        if took_s is None or not back:
            raise DemoFailed(f"the killed worker was not back within {_BACK_WITHIN_S:g} s\n  next: read {self._log}")
        snapshots = sum(each.from_checkpoint for each in back.values())
        events = sum(each.events for each in back.values())
        say("killed", f"a worker, by SIGKILL in mid-load; first new event of its partitions {took_s:.2f} s after")
        say("", f"{len(back)} partitions recovered: {snapshots} from their checkpoints, {events:,} events replayed")


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, else a line every two seconds."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("  load     "),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("commands"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda answered: bar.update(task, completed=answered)
        return
    shown_s = time.monotonic()

    def line(answered: int) -> None:
        nonlocal shown_s
        if time.monotonic() - shown_s >= 2:
            shown_s = time.monotonic()
            say("load", f"{answered:,} of {total:,} commands answered")

    yield line


def _judge(sent: list[check.Sent], bootstrap_servers: str, schemas_dir: Path) -> check.Verdict:
    began = time.monotonic()
    records = check.read_log(bootstrap_servers, EVENTS)
    verdict = check.check(sent, records, check.read_schemas(schemas_dir))
    took_s = time.monotonic() - began
    say("check", f"{len(records):,} records of {EVENTS} read by a plain consumer in {took_s:.1f} s")
    if not verdict.problems:
        counts = f"{verdict.events:,} events of {verdict.accounts:,} accounts, none missing, none twice"
        say("", f"every command took effect once: {counts}")
        sums = f"{verdict.deposited:,} deposited - {verdict.withdrawn:,} withdrawn = {verdict.balance:,} held, in cents"
        say("", f"money adds up: {sums}")
    return verdict


def _problem_text(problems: list[str], logs: str) -> str:
    shown = [f"  {problem}" for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        shown.append(f"  ... and {len(problems) - _SHOWN_PROBLEMS:,} more")
    head = f"the check found {len(problems):,} {'problem' if len(problems) == 1 else 'problems'}"
    return "\n".join([head, *shown, f"  next: report this text with {logs}"])


def _travel(workers: _Workers, environment: dict[str, str]) -> None:
    if workers.killed_at is not None:
        _show(environment, "replay", APP, "--until", workers.killed_at.astimezone().isoformat(timespec="milliseconds"))


def _show_timeline(account: str, environment: dict[str, str]) -> None:
    _show(environment, "log", APP, "Account", account, "--diff")
    print(flush=True)


def _show(environment: dict[str, str], *words: str) -> None:
    """A command as a user types it, with its output."""
    print(f"\n$ eventsrc {' '.join(words)}", flush=True)
    shown = subprocess.run([sys.executable, "-m", "eventsrc", *words], env=environment, cwd=ROOT, check=False)
    if shown.returncode:
        raise DemoFailed(
            f"`eventsrc {words[0]}` ended with exit code {shown.returncode}\n  next: see its message above"
        )


if __name__ == "__main__":
    sys.exit(main())

"""`make demo`: the bank under load on a real Kafka, checked from outside. `python -m examples.bank.demo --help`

Starts (or shares) a local stack, prepares topics and database, starts worker processes as `eventsrc run` does, sends
commands through the public client, kills a worker in the middle and starts it again, stops the workers, judges what
stands in the log, and travels back to the moment of the kill. Exit code 1 if anything is not right.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from eventsrc import Client
from examples import running
from examples.bank import check, load, recovery
from examples.bank.app import pipeline
from examples.running import ExampleFailed, Surroundings, WorkerProcess, say

APP = "examples.bank.app:pipeline"
EVENTS = "bank.account.events"
_SHOWN_PROBLEMS = 10
_BACK_WITHIN_S = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 if everything was right."""
    wanted = _options().parse_args(arguments)
    return running.run_to_end(lambda cleanup: _run(wanted, cleanup))


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="make demo", description="A bank of accounts on a real Kafka, checked.")
    options.add_argument("--commands", type=int, default=10_000, help="deposits and withdrawals [10,000]")
    options.add_argument("--accounts", type=int, default=300, help="accounts [300]")
    options.add_argument("--workers", type=int, default=2, help="worker processes [2]")
    options.add_argument("--state-dir", type=Path, default=Path(".eventsrc/demo"), help="everything it keeps")
    return options


def _run(wanted: argparse.Namespace, cleanup: contextlib.ExitStack) -> str | None:
    """What to type next, where the log is kept: where Kafka was started here."""
    around = running.prepare(wanted.state_dir, cleanup, fresh=True)
    bootstrap_servers = around.services.bootstrap_servers
    running.prepare_topics(pipeline, bootstrap_servers)
    workers = _Workers(wanted.workers, around)
    cleanup.callback(workers.kill)
    workers.start()
    run = uuid.uuid4().hex[:4]
    sent = _send(bootstrap_servers, wanted, run, workers)
    workers.drain()

    verdict = _judge(sent, bootstrap_servers, around.schemas_dir)
    if verdict.problems:
        raise ExampleFailed(_problem_text(verdict.problems, workers.logs))
    if workers.killed_at is not None:
        moment = workers.killed_at.astimezone().isoformat(timespec="milliseconds")
        running.show(["replay", APP, "--until", moment], around.environment)
    running.show(["log", APP, "Account", f"alice-{run}", "--diff"], around.environment)
    print(flush=True)
    if not around.is_own_kafka:
        return None
    return f"eventsrc dev {APP} --state-dir {wanted.state_dir}   (the same accounts, to play with)"


class _Workers:
    """The worker processes, as a user starts them."""

    def __init__(self, count: int, around: Surroundings) -> None:
        self._each = [
            WorkerProcess(APP, around.state_dir / f"worker-{number}.log", around) for number in range(1, count + 1)
        ]
        self.started = 0.0
        self.killed_at: datetime | None = None

    def start(self) -> None:
        for worker in self._each:
            worker.start()
        self.started = time.monotonic()

    def kill_one(self) -> tuple[Path, int, float]:
        """SIGKILL the first one and start it again at once: its slot, and so its identity, is free. Returns its log, where
        in it the new life begins, and the `time.monotonic()` of the kill."""
        worker = self._each[0]
        since_s, self.killed_at = time.monotonic(), datetime.now(UTC)
        worker.kill()
        begins = worker.log.stat().st_size
        worker.start()
        return worker.log, begins, since_s

    def __len__(self) -> int:
        return len(self._each)

    @property
    def logs(self) -> str:
        return ", ".join(str(worker.log) for worker in self._each)

    def look(self) -> None:
        """Raises `ExampleFailed` where a worker, or the stack, has ended by itself."""
        for worker in self._each:
            worker.look()

    def drain(self) -> None:
        """Each finishes what it has begun. Raises `ExampleFailed` if one does not."""
        self.look()
        began = time.monotonic()
        for worker in self._each:
            worker.ask_to_end()
        for worker in self._each:
            worker.wait_drained()
        say("drained", f"{len(self)} workers in {time.monotonic() - began:.1f} s, exit code 0")

    def kill(self) -> None:
        for worker in self._each:
            worker.kill()


def _send(bootstrap_servers: str, wanted: argparse.Namespace, run: str, workers: _Workers) -> list[check.Sent]:
    orders = list(load.orders(wanted.commands, wanted.accounts, run))
    with Client(pipeline, bootstrap_servers) as client:
        first = load.drive(client, orders[:1], lambda _: workers.look())
        if first[-1].answer != "ok":
            raise ExampleFailed(f"the first command was not processed: {first[-1].answer}\n  next: read {workers.logs}")
        say(
            "workers",
            f"{len(workers)} of `eventsrc run {APP}`",
            f"first answer after {time.monotonic() - workers.started:.1f} s",
        )
        began = time.monotonic()
        with _progress(len(orders)) as show:
            kill = _KillInTheMiddle(bootstrap_servers, workers, len(orders) // 2)

            def on_progress(answered: int) -> None:
                workers.look()
                show(answered + 1)
                kill.when_due(answered)

            sent = first + load.drive(client, orders[1:], on_progress)
    took_s = time.monotonic() - began
    answers = Counter("duplicate" if each.duplicate else each.answer for each in sent)
    kill.tell()
    say(
        "load",
        f"{len(sent) - answers[check.UNANSWERED]:,} commands answered in {took_s:.1f} s, {len(sent) / took_s:,.0f}/s",
    )
    say(
        "",
        f"{answers['ok']:,} took effect, {answers['rejected']:,} rejected, {answers['duplicate']:,} sent twice and recognised",
    )
    if lost := answers[check.UNANSWERED]:
        say("", f"{lost:,} times no answer came, as of a worker that is killed: each was sent again")
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
        """Raises `ExampleFailed` where it did not come back."""
        if self._watch is None:
            raise ExampleFailed(f"the load ended before its middle\n  next: read {self._workers.logs}")
        took_s = self._watch.wait(self._since_s, _BACK_WITHIN_S)
        back = recovery.read_settled(self._log, self._begins)
        if took_s is None or not back:
            raise ExampleFailed(f"the killed worker was not back within {_BACK_WITHIN_S:g} s\n  next: read {self._log}")
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


if __name__ == "__main__":
    sys.exit(main())

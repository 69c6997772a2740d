"""Steady throughput of the ledger workload, against raw transactional pass-through in the same run.

`python -m benchmarks.throughput [--commands N] [--accounts K] [--batch B] [--rounds R] [--poison SHARE] [--json]`

Broker, generator and monitor on core 0, the system under test on core 1. Commands are written before anything is
measured; the rate is of events between 10 % and 90 %, as an outside read_committed consumer sees them. The two take
turns, so that a slow spell of the machine hits both. Our records are larger than pass-through's (events carry `meta` and
long keys): a ratio below 1 includes those bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.load import Load, Monitor, produce
from eventsrc.localstack.stack import LocalStack

ROOT = Path(__file__).parent.parent
PARTITIONS = 8


@dataclass(frozen=True, slots=True)
class Measured:
    """`cpu_s`: user and system seconds of the process per million commands; `rss_mb`: its peak."""

    system: str
    rate: float
    cpu_s: float
    rss_mb: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=300_000)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--poison", type=float, default=0.0, help="also run with this share of poisoned commands")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    _pin(0)
    rows: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="eventsrc-bench-") as directory:
        stack = LocalStack(Path(directory) / "stack")
        kafka = stack.start({"kafka"}).kafka
        if kafka is None:
            raise RuntimeError("the local Kafka did not start")
        for number in range(options.rounds):
            load = Load(options.commands, options.accounts, seed=number)
            rows.append(_pass_through(kafka.address, load, options.batch))
            rows.append(_eventsrc(kafka.address, load, Path(directory)))
            if options.poison:
                poisoned = Load(options.commands, options.accounts, seed=number, poison=options.poison)
                rows.append(_eventsrc(kafka.address, poisoned, Path(directory)))
        stack.stop()
    _show(rows, as_json=options.json)
    return 0


def _pass_through(bootstrap_servers: str, load: Load, batch: int) -> Measured:
    name = f"raw-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    for future in admin.create_topics([NewTopic(f"{name}.{side}", PARTITIONS, 1) for side in ("in", "out")]).values():
        future.result()
    produce(bootstrap_servers, f"{name}.in", PARTITIONS, load)
    command = [
        sys.executable,
        "-m",
        "benchmarks.pass_through",
        bootstrap_servers,
        f"{name}.in",
        f"{name}.out",
        name,
        str(batch),
    ]
    return _measure("raw pass-through", command, dict(os.environ), bootstrap_servers, f"{name}.out", load.commands)


def _eventsrc(bootstrap_servers: str, load: Load, directory: Path) -> Measured:
    name = f"ledger-{uuid.uuid4().hex[:8]}"
    environment = {**os.environ, "LEDGER_PIPELINE": name, "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers}
    for key in ("EVENTSRC_APP", "DATABASE_URL"):
        environment.pop(key, None)
    _run(["eventsrc", "topics", "create", "benchmarks.ledger:pipeline"], environment)
    # In a process of its own: the pipeline's name, and with it every schema, is fixed when its module is imported.
    _run(
        ["benchmarks.load", bootstrap_servers, *map(str, (load.commands, load.accounts, load.seed, load.poison))],
        environment,
    )
    state = directory / name
    command = [sys.executable, "-m", "eventsrc", "run", "benchmarks.ledger:pipeline", "--state-dir", str(state)]
    command += ["--schemas-dir", str(state / "schemas")]
    expected = load.commands - (len(range(0, load.commands, round(1 / load.poison))) if load.poison else 0)
    label = f"eventsrc, {load.poison:.0%} poisoned" if load.poison else "eventsrc"
    return _measure(label, command, environment, bootstrap_servers, f"{name}.account.events", expected)


def _run(module: list[str], environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-m", *module], env=environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _measure(
    system: str, command: list[str], environment: dict[str, str], bootstrap_servers: str, topic: str, expected: int
) -> Measured:
    monitor = Monitor(bootstrap_servers, topic, PARTITIONS)
    with _running(command, environment) as process:
        seen = monitor.watch(expected)
        cpu_s, rss_mb = _usage(process.pid)
    return Measured(system, seen.rate, cpu_s * 1e6 / seen.records, rss_mb)


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        _pin(1, process.pid)
        try:
            yield process
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-30000:].decode(errors="replace"))
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _pin(core: int, pid: int = 0) -> None:
    """What it has started by now, and will start, stays on that core."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > core:
        os.sched_setaffinity(pid, {core})


def _usage(pid: int) -> tuple[float, float]:
    """CPU seconds and peak resident megabytes of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return ticks / os.sysconf("SC_CLK_TCK"), peak_kb / 1024


def _show(rows: list[Measured], *, as_json: bool) -> None:
    systems = dict.fromkeys(row.system for row in rows)
    medians = {name: statistics.median(row.rate for row in rows if row.system == name) for name in systems}
    floor = medians["raw pass-through"]
    ratios = {name: rate / floor for name, rate in medians.items()}
    if as_json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "ratio_to_pass_through": ratios, "at": time.time()}))
        return
    print(f"{'system':<26}{'events/s, median':>18}{'of pass-through':>17}{'CPU s per 1 M':>15}{'RSS MB':>9}")
    for name in systems:
        mine = [row for row in rows if row.system == name]
        cpu = statistics.median(row.cpu_s for row in mine)
        rss = max(row.rss_mb for row in mine)
        print(f"{name:<26}{medians[name]:>18,.0f}{ratios[name]:>17.2f}{cpu:>15.1f}{rss:>9.0f}")


if __name__ == "__main__":
    raise SystemExit(main())

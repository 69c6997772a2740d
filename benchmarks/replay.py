"""How long it takes to go back: the states of the end of a ledger's log, from its beginning and from the nearest checkpoints.

`python -m benchmarks.replay [--commands N] [--accounts K] [--rounds R] [--json]`

A worker writes the log and takes a checkpoint of every partition each second. Then processes of their own replay it, on
core 1, in turn: the whole log, and from checkpoints. The floor is a process that only consumes the same topic and drops
what it gets. Seconds are of the whole process: imports, connecting and the digest of every state included. The digests
must be equal.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks import results
from benchmarks.ledger_system import APP, PARTITIONS, LedgerSystem, place
from benchmarks.load import Load, Monitor
from benchmarks.machine import OUTSIDE_CORE, ROOT, SYSTEM_CORE, load_average, pin

CONSUME, FROM_LOG, FROM_CHECKPOINTS = "consume only", "replay, whole log", "replay, from checkpoints"


@dataclass(frozen=True, slots=True)
class Measured:
    """`load`: of the machine when it ended."""

    system: str
    seconds: float
    load: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, or JSON; 1 where two replays disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=300_000)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    results.add_arguments(parser)
    options = parser.parse_args(arguments)
    pin(OUTSIDE_CORE)
    rows: list[Measured] = []
    digests: set[str] = set()
    with place() as here:
        system = LedgerSystem(here, {"checkpoint_interval": "1s"})
        system.create()
        system.load(Load(options.commands, options.accounts))
        with system.working(with_database=True):
            Monitor(here.bootstrap_servers, system.events_topic, PARTITIONS).watch(options.commands)
        environment = system.environment(with_database=True)
        replay = ["eventsrc", "replay", APP, "--json", "--schemas-dir", str(system.state_directory / "schemas")]
        for _ in range(options.rounds):
            rows.append(
                _timed(CONSUME, ["benchmarks.replay_floor", here.bootstrap_servers, system.events_topic], environment)[
                    0
                ]
            )
            for name, extra in ((FROM_LOG, ["--from-log"]), (FROM_CHECKPOINTS, [])):
                row, said = _timed(name, [*replay, *extra], environment)
                rows.append(row)
                digests.add(json.loads(said)["digest"])
    _tell(rows, options)
    if len(digests) != 1:
        print(f"the replays disagree: {digests}", file=sys.stderr)
    return 0 if len(digests) == 1 else 1


def _timed(name: str, module: list[str], environment: dict[str, str]) -> tuple[Measured, str]:
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", *module], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    pin(SYSTEM_CORE, process.pid)
    said, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, module)
    return Measured(name, time.monotonic() - began, load_average()), said


def _tell(rows: list[Measured], options: argparse.Namespace) -> None:
    events = options.commands
    medians = {
        name: statistics.median(row.seconds for row in rows if row.system == name)
        for name in dict.fromkeys(row.system for row in rows)
    }

    def table() -> None:
        print(f"{'':<28}{'seconds, median':>16}{'events/s':>12}{'of consume only':>17}")
        for name, seconds in medians.items():
            print(f"{name:<28}{seconds:>16.2f}{events / seconds:>12,.0f}{seconds / medians[CONSUME]:>17.1f}")

    results.tell(options, {"events": events, "rows": [asdict(row) for row in rows], "median_s": medians}, table)


if __name__ == "__main__":
    raise SystemExit(main())

"""How long commands take to begin: `python -m benchmarks.startup [--rounds R]`.

Whole processes, by the clock: the interpreter alone, `eventsrc --help`, `eventsrc check` of an application, and what a
worker imports on its way to the group join. Medians, with the lowest beside them: the machine's own noise only adds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks import results
from benchmarks.machine import ROOT, load_average

CASES = {
    "python -c pass": ["-c", "pass"],
    "eventsrc --help": ["-m", "eventsrc", "--help"],
    "eventsrc check APP": ["-m", "eventsrc", "check", "examples.bank.app:pipeline"],
    "a worker's imports": ["-c", "import eventsrc.runtime.worker"],
}


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of a whole process."""

    case: str
    median_s: float
    lowest_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    results.add_arguments(parser)
    options = parser.parse_args(arguments)
    taken: dict[str, list[float]] = {case: [] for case in CASES}
    for number in range(options.rounds + 1):
        for case, command in CASES.items():
            seconds = _seconds(command)
            if number:  # the first round fills the disk's cache
                taken[case].append(seconds)
    rows = [Measured(case, statistics.median(each), min(each)) for case, each in taken.items()]

    def table() -> None:
        print(f"{'seconds':<24}{'median':>8}{'lowest':>8}")
        for row in rows:
            print(f"{row.case:<24}{row.median_s:>8.3f}{row.lowest_s:>8.3f}")

    results.tell(options, {"rows": [asdict(row) for row in rows], "load": load_average()}, table)
    return 0


def _seconds(command: Sequence[str]) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVENTSRC_")}
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())

"""Runs every benchmark, or those named, one after the other, and collects what they found.

`python -m benchmarks [NAME ...] [--output FILE]`: their tables on stdout, and a file of JSON: the machine, and by each
benchmark's name what its `--json` prints. A benchmark that fails does not keep the others from running.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, load_average

NAMES = (
    "codec", "deciding", "throughput", "latency", "startup", "checkpoints", "checkpoints_apart", "memory", "recovery",
    "replay", "snapshots",
)  # fmt: skip


def main() -> int:
    """Returns the highest exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} [all]")
    parser.add_argument("--output", type=Path, default=Path("benchmarks.json"), metavar="FILE")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    found: dict[str, Any] = {"machine": _machine()}
    code = 0
    for name in options.names or NAMES:
        print(f"== {name}", flush=True)
        ended, found[name] = _run(name)
        code = max(code, ended)
        options.output.write_text(f"{json.dumps(found, indent=1)}\n")
    print(f"== all of it: {options.output}")
    return code


def _run(name: str) -> tuple[int, Any]:
    with tempfile.TemporaryDirectory() as directory:
        results = Path(directory) / "results.json"
        ended = subprocess.call([sys.executable, "-m", f"benchmarks.{name}", "--results", str(results)])
        return ended, json.loads(results.read_text()) if results.exists() else {"failed": ended}


def _machine() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or None,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "load_before": load_average(),
    }


if __name__ == "__main__":
    raise SystemExit(main())

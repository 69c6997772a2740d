"""`python -m eventsrc.localstack`: makes this machine ready for a local Kafka, so that the next start is a fast one."""

from __future__ import annotations

import sys

from eventsrc.localstack.distribution import prepare
from eventsrc.localstack.problems import StackUnavailable
from eventsrc.localstack.provision import cache_directory
from eventsrc.localstack.stack import DEFAULT_STATE_DIRECTORY
from eventsrc.localstack.training import train


def main() -> int:
    try:
        prepare(cache_directory(fallback=DEFAULT_STATE_DIRECTORY / "cache"), _say, train)
    except StackUnavailable as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 3
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

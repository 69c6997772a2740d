"""`python -m benchmarks.sending COUNT`: so many sends of one client, each waiting for its outcome; milliseconds, a line each."""

from __future__ import annotations

import sys
import time

from benchmarks.ledger import Account, Deposit, pipeline
from eventsrc import Client

WARM_UP = 20


def main(count: int) -> None:
    with Client(pipeline) as client:
        for number in range(WARM_UP + count):
            began = time.perf_counter()
            client.send(Account, f"sender-{number % 50}", Deposit(1, "sent"))
            if number >= WARM_UP:
                print((time.perf_counter() - began) * 1000)


if __name__ == "__main__":
    main(int(sys.argv[1]))

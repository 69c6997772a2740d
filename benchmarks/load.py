"""What stands outside the systems under test: the generator of commands, and the monitor that counts what comes out.

`python -m benchmarks.load BOOTSTRAP COMMANDS ACCOUNTS SEED POISON [--in-turn] [--per-second N]` writes such a load.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition, murmur2

from benchmarks import ledger
from eventsrc.codec.catalog import Catalog
from eventsrc.model.identity import random_command_id

IDLE_LIMIT_S = 60.0
BURST_S = 0.005
"""Between bursts of commands, where they are paced."""


@dataclass(frozen=True, slots=True)
class Load:
    """`poison`: share of commands whose handler raises. `in_turn`: command i is of account i mod `accounts`, not of one
    drawn at random. `per_second`: so many and no faster, stamped as they are sent; None: as fast as they are written."""

    commands: int
    accounts: int
    seed: int = 1
    poison: float = 0.0
    in_turn: bool = False
    per_second: int | None = None

    def __iter__(self) -> Iterator[tuple[bytes, ledger.Deposit | ledger.Withdraw]]:
        chosen = random.Random(self.seed)
        every = round(1 / self.poison) if self.poison else 0
        for i in range(self.commands):
            key = b"a%07d" % (i % self.accounts if self.in_turn else chosen.randrange(self.accounts))
            amount = 7919 * i % 1000
            if every and i % every == 0:
                yield key, ledger.Deposit(amount, ledger.POISON)
            elif (2654435761 * i >> 7) % 5 == 0:
                yield key, ledger.Withdraw(amount, f"memo-{i:011d}")
            else:
                yield key, ledger.Deposit(amount, f"memo-{i:011d}")


def produce(bootstrap_servers: str, topic: str, partitions: int, load: Load) -> None:
    """Write every command, in order."""
    catalog = Catalog(ledger.pipeline, None)
    aggregate = ledger.pipeline.aggregates["account"]
    write = {cls: catalog.command_writer(aggregate, cls) for cls in (ledger.Deposit, ledger.Withdraw)}
    linger_ms = 20.0 if load.per_second is None else 0.5  # what is paced comes in bursts already
    producer = Producer(
        {"bootstrap.servers": bootstrap_servers, "linger.ms": linger_ms, "enable.idempotence": True, "log_level": 3}
    )
    for key, command in _paced(load):
        value = write[type(command)](random_command_id(), None, None, time.time_ns() // 1000, None, command)
        while True:
            try:
                producer.produce(topic, value, key, murmur2(key, partitions))
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(60):
        raise RuntimeError(f"not every command reached {topic}")


def _paced(load: Load) -> Iterator[tuple[bytes, ledger.Deposit | ledger.Withdraw]]:
    """In bursts: one sleep for each command would take as much of the broker's core as its commits."""
    began_s = time.monotonic()
    burst = 1 if load.per_second is None else max(1, round(load.per_second * BURST_S))
    for number, each in enumerate(load):
        if load.per_second is not None and number % burst == 0:
            time.sleep(max(0.0, began_s + number / load.per_second - time.monotonic()))
        yield each


@dataclass(frozen=True, slots=True)
class Seen:
    """Records by arrival: `rate` is between 10 % and 90 % of them."""

    records: int
    rate: float


class Monitor:
    """An outside read_committed consumer of one topic."""

    def __init__(self, bootstrap_servers: str, topic: str, partitions: int) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "monitor",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
                "auto.offset.reset": "earliest",
            }
        )
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])

    def follow(self, expected: int) -> Iterator[tuple[int, float]]:
        """How many records have been seen (control records not counted) and when, many times a second, until it is
        `expected`. Raises TimeoutError when none came for a minute."""
        seen, last_s = 0, time.monotonic()
        while seen < expected:
            fresh = sum(map(_is_record, self._consumer.consume(1000, 0.05)))
            now_s = time.monotonic()
            if fresh:
                last_s = now_s
            elif now_s - last_s > IDLE_LIMIT_S:
                raise TimeoutError(f"{seen} of {expected} records after {IDLE_LIMIT_S:g} s without one")
            seen += fresh
            yield seen, now_s
        self._consumer.close()

    def watch(self, expected: int) -> Seen:
        """As `follow`, to the end."""
        seen, low, high = 0, None, None
        for seen, now_s in self.follow(expected):
            if low is None and seen >= expected * 0.1:
                low = (seen, now_s)
            if high is None and seen >= expected * 0.9:
                high = (seen, now_s)
        if low is None or high is None or high[1] <= low[1]:
            raise RuntimeError("too few records to measure a rate")
        return Seen(seen, (high[0] - low[0]) / (high[1] - low[1]))


def _is_record(message: Message) -> bool:
    error = message.error()
    if error is not None:
        if error.code() == KafkaError._PARTITION_EOF:
            return False
        raise RuntimeError(f"the monitor met {error}")
    key = message.key()
    return not (isinstance(key, bytes) and key.startswith(b"\0"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap_servers")
    for name, kind in (("commands", int), ("accounts", int), ("seed", int), ("poison", float)):
        parser.add_argument(name, type=kind)
    parser.add_argument("--in-turn", action="store_true")
    parser.add_argument("--per-second", type=int)
    given = parser.parse_args()
    load = Load(given.commands, given.accounts, given.seed, given.poison, given.in_turn, given.per_second)
    topic = f"{ledger.pipeline.name}.account.commands"
    produce(given.bootstrap_servers, topic, ledger.pipeline.settings.partitions, load)


if __name__ == "__main__":
    main()

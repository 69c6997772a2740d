"""What the client library itself reaches: consume, produce the same bytes, offsets in the transaction, commit; nothing
else. `python -m benchmarks.pass_through BOOTSTRAP SOURCE TARGET GROUP BATCH [PAUSE_MS]`. The floor that every figure is
held to. PAUSE_MS [0]: after a commit, so that the next transaction does not meet the markers of this one."""

from __future__ import annotations

import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition


def command(bootstrap_servers: str, source: str, target: str, group: str, batch: int, pause_ms: int = 0) -> list[str]:
    """Of a process that runs it."""
    words = [bootstrap_servers, source, target, group, str(batch), str(pause_ms)]
    return [sys.executable, "-m", "benchmarks.pass_through", *words]


def main(bootstrap_servers: str, source: str, target: str, group: str, batch: int, pause_ms: int = 0) -> None:
    """Runs until it is ended."""
    common: dict[str, str | int] = {
        "bootstrap.servers": bootstrap_servers,
        "retry.backoff.ms": 10,
        "retry.backoff.max.ms": 50,
    }
    consumer = Consumer(
        {
            **common,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 5,
            "fetch.min.bytes": 200_000,
            "check.crcs": True,
        }
    )
    consumer.subscribe([source])
    producer = Producer({**common, "transactional.id": group, "linger.ms": 5, "batch.num.messages": 10_000})
    producer.list_topics(timeout=10)
    producer.init_transactions(30)
    while True:
        messages = consumer.consume(1, 0.1)
        if not messages:
            continue
        messages += consumer.consume(batch - 1, 0)
        metadata = consumer.consumer_group_metadata()
        positions: dict[int, int] = {}
        producer.begin_transaction()
        for message in messages:
            number = message.partition() or 0
            producer.produce(target, message.value(), message.key(), number)
            positions[number] = (message.offset() or 0) + 1
        offsets = [TopicPartition(source, number, position) for number, position in positions.items()]
        producer.send_offsets_to_transaction(offsets, metadata, 30)
        producer.commit_transaction(30)
        time.sleep(pause_ms / 1000)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], *map(int, sys.argv[5:]))

"""Consumes a topic to its end and drops everything: what any replay of it costs at least.

`python -m benchmarks.replay_floor BOOTSTRAP TOPIC`
"""

from __future__ import annotations

import sys

from eventsrc.adapters.kafka.log_reader import LogReader, TopicPlace


def main(bootstrap_servers: str, topic: str) -> None:
    with LogReader(bootstrap_servers) as reader:
        for number in range(reader.partition_count(topic)):
            place = TopicPlace(topic, number)
            bounds = reader.bounds(place)
            reader.start(place, bounds.start, bounds.stable_end)
        print(sum(1 for _ in reader.records()))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Client configurations. The few settings that correctness hangs on stand here, each with its reason;
everything else of librdkafka's passes through as given."""

from __future__ import annotations

from collections.abc import Mapping

# The default of 100 ms makes every transaction take 101 ms when the broker answers CONCURRENT_TRANSACTIONS once.
_PROMPT_RETRIES: dict[str, str | int] = {"retry.backoff.ms": 10, "retry.backoff.max.ms": 50}

# What the guarantees rest on: an application's own settings may not change these.
PROTECTED = frozenset(
    {
        "enable.auto.commit", "enable.auto.offset.store", "isolation.level", "auto.offset.reset", "enable.idempotence",
        "transactional.id", "group.id", "group.instance.id", "group.protocol", "partition.assignment.strategy",
        "transaction.timeout.ms", "check.crcs", "enable.partition.eof", "acks", "partitioner",
    }
)  # fmt: skip

ADDRESSES = frozenset({"bootstrap.servers", "metadata.broker.list"})
"""Two names of librdkafka's for one thing. What a caller of `client_config` gives stands above them."""

Config = dict[str, str | int | float | bool]


def client_config(bootstrap_servers: str, extra: Mapping[str, str] | None = None) -> Config:
    """What every client of ours shares. `extra` are the user's own librdkafka settings (`-X key=value`)."""
    return {**_PROMPT_RETRIES, **without_address(extra or {}), "bootstrap.servers": bootstrap_servers}


def without_address(kafka: Mapping[str, str]) -> dict[str, str]:
    """The user's own settings, but for those that say where Kafka is."""
    return {name: value for name, value in kafka.items() if name not in ADDRESSES}

"""A consumer of the group's id that is never a member: it asks for offsets and ends, and commits nothing."""

from __future__ import annotations

import logging

from confluent_kafka import Consumer

from eventsrc.adapters.kafka.config import Config


def asking_consumer(common: Config, group_id: str, isolation: str) -> Consumer:
    """With `read_committed` its answers wait for what is undecided, and its ends are last stable offsets."""
    config = {**common, "group.id": group_id, "isolation.level": isolation, "enable.auto.commit": False}
    return Consumer(config, logger=logging.getLogger("eventsrc.librdkafka"))

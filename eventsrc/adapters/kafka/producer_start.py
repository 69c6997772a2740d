"""Getting a transactional id, quickly: whatever an earlier holder left open is decided when this returns.

librdkafka waits half a second twice inside `init_transactions`. A short timeout with a new client for each try takes
8-54 ms instead (the first try starts the abort, the next finds it done); the wait doubles for slow networks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Producer

from eventsrc.adapters.kafka.config import Config
from eventsrc.adapters.kafka.end_transaction_log import EndTransactionWatch
from eventsrc.adapters.kafka.errors import translate
from eventsrc.errors import AccessDenied, Unreachable, WorkerError

logger = logging.getLogger("eventsrc.kafka")

FIRST_TIMEOUT_S = 0.03
LAST_TIMEOUT_S = 10.0
QUICK_TRIES = 20


def producer_config(common: Config, transactional_id: str, timeout_s: float, message_bytes: int) -> Config:
    """Of a worker's producer. No linger: a batch is produced in a tight loop and committed at once."""
    return {
        "linger.ms": 5,
        "batch.num.messages": 10_000,
        "batch.size": 1_000_000,
        "compression.type": "none",
        # Never forget a broker that cannot be reached: librdkafka keeps it as the group's coordinator all the same, and
        # its send_offsets_to_transaction then never returns, whatever its timeout (librdkafka issues 5511 and 5456).
        "metadata.recovery.strategy": "none",
        **common,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": int(timeout_s * 1000),
        "message.max.bytes": message_bytes,
        "log_level": 6,
    }


def initialised_producer(config: Config, stopped: Callable[[], bool]) -> tuple[Producer, EndTransactionWatch]:
    """A producer that holds its transactional id, and its log watch. Blocks until Kafka answers; raises Unreachable
    once `stopped()` says so, AccessDenied or WorkerError where asking again does not help."""
    timeout_s, tries = FIRST_TIMEOUT_S, 0
    while not stopped():
        watch = EndTransactionWatch(str(config["transactional.id"]))
        producer = Producer(config, logger=watch.logger)
        try:
            producer.list_topics(timeout=5.0)
            producer.init_transactions(timeout_s)
        except KafkaException as exception:
            error = translate(exception, "taking the transactional id")
            if isinstance(error, AccessDenied):
                raise error from exception
            if exception.args[0].code() == KafkaError.INVALID_TRANSACTION_TIMEOUT:
                raise WorkerError(
                    f"{error}. Mend transaction_timeout against the brokers' transaction.max.timeout.ms"
                ) from exception
            tries += 1
            if tries > QUICK_TRIES:
                logger.warning("%s; trying again", error)
                timeout_s = min(timeout_s * 2, LAST_TIMEOUT_S)
                time.sleep(0.05)
        else:
            return producer, watch
    raise Unreachable("stopped while waiting for Kafka's transaction coordinator")

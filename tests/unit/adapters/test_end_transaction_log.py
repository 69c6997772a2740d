"""Which lines of librdkafka's log make a producer suspect."""

from __future__ import annotations

import logging

import pytest

from eventsrc.adapters.kafka.end_transaction_log import EndTransactionWatch

LATE_END = "REQTMOUT [rdkafka#producer-1] [thrd:TxnCoordinator]: TxnCoordinator/1: Timed out EndTxnRequest in flight"
LATE_OFFSETS = (
    "REQTMOUT [rdkafka#producer-1] [thrd:127.0.0.1:9092/1]: 127.0.0.1:9092/1: Timed out TxnOffsetCommitRequest"
)
LOST_CONNECTION = "FAIL [rdkafka#producer-1] [thrd:127.0.0.1:9092/1]: 127.0.0.1:9092/1: Disconnected (after 12 ms)"
METADATA_ALONE = "FAIL [rdkafka#producer-1] [thrd:127.0.0.1:9092/bootstrap]: 127.0.0.1:9092/bootstrap: Disconnected"
FORMERLY_BOOTSTRAP = "FAIL [rdkafka#producer-1] [thrd:127.0.0.1:9092/bootstrap]: 127.0.0.1:9092/1: Disconnected"
ORDINARY = "GETPID [rdkafka#producer-1] [thrd:main]: Failed to acquire idempotence PID: Coordinator load in progress"


@pytest.mark.parametrize(
    ("line", "suspect"),
    [
        (LATE_END, True),
        (LATE_OFFSETS, True),
        (LOST_CONNECTION, True),
        (FORMERLY_BOOTSTRAP, True),
        (METADATA_ALONE, False),
        (ORDINARY, False),
    ],
)
def test_a_request_that_may_still_be_on_its_way_makes_the_producer_suspect(line: str, suspect: bool) -> None:
    watch = EndTransactionWatch("one")
    watch.logger.log(logging.INFO, line)
    assert watch.seen is suspect

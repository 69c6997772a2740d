"""One table from KafkaError to what the caller must do. Nothing above the adapters sees a KafkaError."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from eventsrc.errors import AbortRequired, OutcomeInDoubt, Retriable, WorkerError

# The broker refused the proof of membership. The transaction has had no effect once it is aborted. FENCED_INSTANCE_ID
# says no more than that: another process may have our instance id, or we have joined anew ourselves after a handler
# outlived max.poll.interval. Only the consumer knows, and ends the worker where it was another.
_PROOF_REFUSED = {
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._STATE,
}


def translate(exception: KafkaException, what: str) -> WorkerError:
    """The error of ours for what went wrong while doing `what`."""
    error = exception.args[0]
    message = f"{what}: {error.name()}: {error.str()}"
    if error.fatal():
        return OutcomeInDoubt(message)
    if error.txn_requires_abort():
        return AbortRequired(message)
    if error.retriable() or error.code() in (KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE):
        return Retriable(message)
    if error.code() in _PROOF_REFUSED:
        return AbortRequired(message)
    return OutcomeInDoubt(message)


def is_fenced(exception: KafkaException) -> bool:
    """The producer's epoch was bumped: by a takeover, or by the broker because the transaction outlived its timeout."""
    code = exception.args[0].code()
    return code in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED)

"""One table from KafkaError to what the caller must do. Nothing above the adapters sees a KafkaError."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaError, KafkaException

from eventsrc.adapters.kafka.rights import Kind, Right, not_authorized
from eventsrc.errors import AbortRequired, AccessDenied, NotAuthorized, OutcomeInDoubt, Retriable, WorkerError

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

# A right is missing, and of what kind of resource. Asking again does not help before somebody grants it.
_REFUSED: Mapping[int, Kind] = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "group",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "transactional-id",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "cluster",
}


def translate(exception: KafkaException, what: str) -> WorkerError:
    """The error of ours for what went wrong while doing `what`."""
    error = exception.args[0]
    message = f"{what}: {error.name()}: {error.str()}"
    if is_refused(error):
        return access_denied(error, what)
    if error.fatal():
        return OutcomeInDoubt(message)
    if error.txn_requires_abort():
        return AbortRequired(message)
    if error.retriable() or error.code() in (KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE):
        return Retriable(message)
    if error.code() in _PROOF_REFUSED:
        return AbortRequired(message)
    return OutcomeInDoubt(message)


def is_refused(error: KafkaError) -> bool:
    """A right is missing."""
    return error.code() in _REFUSED


def access_denied(error: KafkaError, what: str) -> AccessDenied:
    return AccessDenied(f"{what}: {error.str()}", _REFUSED[error.code()])


def is_about_unused_group(error: KafkaError, topic: str | None) -> bool:
    """librdkafka looks for the coordinator of any consumer's group id, also of one that joins no group and commits
    nothing: without a right to that group it says so, and reads on."""
    return topic is None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def refused(error: KafkaError, what: str, kafka: Mapping[str, object] | None, needed: Iterable[Right]) -> NotAuthorized:
    """To a caller, outside of a worker. `needed`: the rights that `what` takes; named are those of the refused kind."""
    kind = _REFUSED[error.code()]
    return not_authorized(kafka, [right for right in needed if right.kind == kind], f"{what}: {error.str()}")


def is_fenced(exception: KafkaException) -> bool:
    """The producer's epoch was bumped: by a takeover, or by the broker because the transaction outlived its timeout."""
    code = exception.args[0].code()
    return code in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED)

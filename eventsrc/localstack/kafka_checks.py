"""What the guarantees need of a Kafka, tried on it: a real transaction, and a producer that is really fenced.

Works in one topic of its own, which it deletes. Must not know any pipeline.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from eventsrc.adapters.kafka.errors import is_about_unused_group
from eventsrc.adapters.kafka.handshakes import why_no_answer
from eventsrc.adapters.kafka.rights import DOCTOR_PREFIX
from eventsrc.localstack.check import Check, failed, ok, skipped, unreachable, warning
from eventsrc.localstack.kafka_version import broker_release

if TYPE_CHECKING:
    from confluent_kafka import Producer

_TIMEOUT_S = 20.0
_CONNECT_TIMEOUT_S = 5.0

Config = dict[str, str | int | float | bool]

# The client reports being fenced as fatal, whatever its log level: here that is what is wanted.
_silent = logging.getLogger("eventsrc.doctor")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


def check_kafka(config: Mapping[str, str | int | float | bool], described: str) -> list[Check]:
    """Three findings: kafka, transaction, fencing. `described` tells how its address came about."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    quiet: Config = {**config, "log_level": 0}
    admin = AdminClient(quiet)
    try:
        cluster = admin.list_topics(timeout=_CONNECT_TIMEOUT_S)
    except KafkaException as error:
        heard = why_no_answer(str(config["bootstrap.servers"]), {name: str(value) for name, value in config.items()})
        text = f"{described}: {heard or f'no answer ({_reason(error)})'}"
        mend = "check that Kafka runs and that KAFKA_BOOTSTRAP_SERVERS is its address, or unset it for a local one"
        if heard is not None:
            mend = "give the settings that the listener wants: docs/security.md"
        later = [skipped(name, "Kafka does not answer") for name in ("transaction", "fencing")]
        return [unreachable("kafka", text, mend), *later]
    found = _check_release(quiet, cluster.brokers, described)
    try:
        with _own_topic(admin) as topic:
            return [found, _check_transaction(quiet, topic), _check_fencing(quiet, topic)]
    except KafkaException as error:
        text = f"a topic could not be created: {_reason(error)}"
        mend = "give this user what `eventsrc topics acls APP --principal User:NAME --role doctor` prints"
        return [found, failed("transaction", text, mend), skipped("fencing", "it needs the same topic")]


def _check_release(config: Config, brokers: Mapping[int, object], described: str) -> Check:
    count = f"{len(brokers)} broker{'s' if len(brokers) != 1 else ''}"
    if str(config.get("security.protocol", "plaintext")).lower() != "plaintext":
        return ok("kafka", f"{count}, {described} (its release is not asked over {config['security.protocol']})")
    broker = next(iter(brokers.values()), None)
    release = None
    with contextlib.suppress(OSError):
        release = broker_release(str(getattr(broker, "host", "")), int(getattr(broker, "port", 0)))
    if release is None:
        return warning("kafka", f"release unknown, {count}, {described}", "use Apache Kafka 4.0 or newer")
    if release.startswith("3."):
        return warning("kafka", f"{release}, {count}, {described}", "use Apache Kafka 4.0 or newer: 3.x is not tested")
    return ok("kafka", f"{release}, {count}, {described}")


@contextlib.contextmanager
def _own_topic(admin: object) -> Iterator[str]:
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    assert isinstance(admin, AdminClient)
    topic = f"{DOCTOR_PREFIX}{uuid.uuid4().hex[:12]}"
    admin.create_topics([NewTopic(topic, 1)])[topic].result(_TIMEOUT_S)
    try:
        yield topic
    finally:
        with contextlib.suppress(Exception):  # the findings matter more than a topic left behind
            admin.delete_topics([topic])[topic].result(_TIMEOUT_S)


def _check_transaction(config: Config, topic: str) -> Check:
    """An aborted record must stay hidden, a committed one must be read."""
    from confluent_kafka import KafkaException

    try:
        producer = _transactional(config, topic)
        began = time.monotonic()
        _produce(producer, topic, b"aborted")
        producer.abort_transaction(_TIMEOUT_S)
        _produce(producer, topic, b"committed")
        producer.commit_transaction(_TIMEOUT_S)
        seen = _read_committed(config, topic, until=b"committed")
        took_ms = (time.monotonic() - began) * 1000
    except (KafkaException, TimeoutError) as error:
        return failed("transaction", _reason(error), "the broker must support transactions, and this user may use them")
    if seen != [b"committed"]:
        return failed(
            "transaction", f"a read_committed reader saw {seen}", "use Apache Kafka: this broker shows aborted records"
        )
    return ok("transaction", f"committed and read back in {took_ms:.0f} ms; the aborted record stayed hidden")


def _check_fencing(config: Config, topic: str) -> Check:
    """The same transactional id a second time: the first producer must be refused from then on."""
    from confluent_kafka import KafkaException

    transactional_id = f"{topic}-fenced"
    try:
        old = _transactional(config, transactional_id)
        _produce(old, topic, b"of the deposed")
        new = _transactional(config, transactional_id)
        _produce(new, topic, b"of the successor")
        new.commit_transaction(_TIMEOUT_S)
    except KafkaException as error:
        return failed("fencing", _reason(error), "the broker must support transactions, and this user may use them")
    broken = "use Apache Kafka: on this broker, two workers could both write"
    try:
        old.commit_transaction(_TIMEOUT_S)
    except KafkaException as error:
        if not error.args[0].fatal():
            return failed("fencing", f"the older producer got {_reason(error)}, not a fencing error", broken)
    else:
        return failed("fencing", "the older producer could still commit", broken)
    try:
        seen = _read_committed(config, topic, until=b"of the successor")
    except (KafkaException, TimeoutError) as error:
        return failed("fencing", _reason(error), "see the line above")
    if b"of the deposed" in seen:
        return failed("fencing", "a record of the older producer became visible", broken)
    return ok("fencing", "a second producer with the same id shut the first one out")


def _transactional(config: Config, transactional_id: str) -> Producer:
    from confluent_kafka import Producer

    producer = Producer({**config, "transactional.id": transactional_id}, logger=_silent)
    producer.init_transactions(_TIMEOUT_S)
    return producer


def _produce(producer: Producer, topic: str, value: bytes) -> None:
    """One record in a new transaction, on the broker when this returns."""
    producer.begin_transaction()
    producer.produce(topic, value)
    producer.flush(_TIMEOUT_S)


def _read_committed(config: Config, topic: str, until: bytes) -> list[bytes]:
    """Every visible value up to and with `until`."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    consumer = Consumer({**config, "group.id": topic, "enable.auto.commit": False})
    seen: list[bytes] = []
    deadline = time.monotonic() + _TIMEOUT_S
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while until not in seen:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the committed record was not readable after {_TIMEOUT_S:.0f} s")
            message = consumer.poll(0.2)
            if message is None:
                continue
            if error := message.error():
                if is_about_unused_group(error, message.topic()):
                    continue
                raise KafkaException(error)
            value = message.value()
            seen.append(value if isinstance(value, bytes) else b"")
    finally:
        consumer.close()
    return seen


def _reason(error: Exception) -> str:
    reason = error.args[0]
    text = getattr(reason, "str", None)
    return str(text() if callable(text) else reason)

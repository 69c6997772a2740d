"""Why nobody answers: what the client library says of a TLS or SASL handshake that failed, and what to do about it.

A request that is not answered says only that. The reason comes as a report of the connection, to whoever listens: here
a client that is made for it, after the fact.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from eventsrc.adapters.kafka.config import client_config

LISTEN_S = 2.0
_ASK_S = 0.2

# Without TLS there is no handshake that could fail: the listener closes the connection at the first request.
_CLOSED_AT_ONCE = "APIVERSION_QUERY"


class _Lines(logging.Handler):
    """The log lines of one client."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.logger = logging.Logger("eventsrc.handshakes", logging.DEBUG)  # a private one: no registry, no parent
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def why_no_answer(bootstrap_servers: str, kafka: Mapping[str, str]) -> str | None:
    """Words that go behind "Kafka at HOST:PORT": what was refused, and what to do. None where nothing was said, or the
    brokers answer by now."""
    errors: list[KafkaError] = []
    lines = _Lines()
    asked: dict[str, Any] = {**client_config(bootstrap_servers, kafka), "log_level": 6, "error_cb": errors.append}
    client = AdminClient(asked, logger=lines.logger)
    until_s = time.monotonic() + LISTEN_S
    while time.monotonic() < until_s:
        try:
            client.list_topics(timeout=_ASK_S)
            return None
        except KafkaException:
            client.poll(0)
        if found := next(filter(None, map(_words, errors)), None):
            return found
        if any("Connection refused" in line for line in lines.lines):
            return None  # nobody is there at all
    if kafka.get("security.protocol", "plaintext").lower() in ("plaintext", "sasl_plaintext") and any(
        _CLOSED_AT_ONCE in line for line in lines.lines
    ):
        return (
            "closes the connection at the first request: its listener may want TLS. Set security.protocol to SSL or "
            "SASL_SSL (-X security.protocol=..., or EVENTSRC_KAFKA_SECURITY_PROTOCOL)"
        )
    return None


def _words(error: KafkaError) -> str | None:
    said = error.str()
    if error.code() == KafkaError._AUTHENTICATION:
        return f"refuses the login: {said}. Check sasl.username, sasl.password and sasl.mechanism"
    if (
        error.code() == KafkaError._SSL or "SSL alert" in said
    ):  # an alert: the broker refuses our certificate, or its lack
        return (
            f"does not complete the TLS handshake: {said}. Check ssl.ca.location, which must hold the authority that "
            "signed the brokers' certificate, and ssl.certificate.location where the brokers want one"
        )
    if "PLAINTEXT broker listener" in said:
        return f"does not speak TLS at this port: {said}. Check the port, and security.protocol"
    return None

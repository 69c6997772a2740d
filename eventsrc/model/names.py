"""The names that everything outside a process rests on: topics and Avro namespaces.

Owns how a name is formed; knows nothing of who creates the topic or writes the schema.
"""

from __future__ import annotations

import re

MAX_TOPIC_LENGTH = 249
"""Kafka's own limit, in characters."""

_KEBAB = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_AVRO_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A new word begins at a capital that follows a small letter or a digit, and at the last capital of a run of
# capitals that a small letter follows (HTTP|Server). Digits stay with the word before them.
_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def kebab_case(class_name: str) -> str:
    """`HTTPServer` -> `http-server`, `StockItem` -> `stock-item`, `Route66Stop` -> `route66-stop`."""
    words = _WORD_BOUNDARY.sub("-", class_name).replace("_", "-")
    return re.sub("-+", "-", words).strip("-").lower()


def is_kebab_name(name: str) -> bool:
    """Whether the name of a pipeline or an aggregate fits topics, and with underscores for hyphens, Avro names."""
    return _KEBAB.fullmatch(name) is not None


def is_avro_name(name: str) -> bool:
    """Whether Avro takes `name` for a record, a field or an enum symbol."""
    return _AVRO_NAME.fullmatch(name) is not None


def commands_topic(pipeline: str, aggregate: str) -> str:
    return f"{pipeline}.{aggregate}.commands"


def events_topic(pipeline: str, aggregate: str) -> str:
    return f"{pipeline}.{aggregate}.events"


def replies_topic(pipeline: str) -> str:
    return f"{pipeline}.replies"


def dead_letter_topic(pipeline: str) -> str:
    return f"{pipeline}.dead-letter"


def avro_namespace(pipeline: str, aggregate: str) -> str:
    """The namespace of every record of one aggregate: hyphens, which Avro refuses, become underscores."""
    return f"{pipeline}.{aggregate}".replace("-", "_")

"""What a check of a pipeline may find, with its repair: what is wrong, where, what is safe, what to type next.

Values, and the commands that operators type. Which of them hold is `soundness`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from eventsrc.engine.partition import PartitionKey
from eventsrc.model.names import commands_topic, events_topic

Severity = Literal["error", "warning", "note"]
"""`error`: a partition is halted by it, or will be at its next takeover. `warning`: it goes on, and somebody should look.
`note`: as it may be."""

RESTORE = "Stop the workers; restore the topic from its copy, or start under another pipeline name"
RESTORED = (
    f"{RESTORE}. If it was restored from a copy on purpose: delete the group's offsets with what stands below, and start "
    "again"
)
MADE_ANEW = "it was truncated or deleted and made anew"


class Finding(NamedTuple):
    """`where`: topic, offsets, keys, ids. `next`: what to type; None where nothing needs to be."""

    severity: Severity
    subject: str
    what: str
    where: str
    safe: str
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Typed:
    """How this pipeline is named in what operators type. `app`: None where settings name it."""

    pipeline: str
    group_id: str
    servers: str
    app: str | None = None

    def eventsrc(self, words: str, rest: str = "") -> str:
        return " ".join(word for word in ("eventsrc", words, self.app, rest) if word)

    def of_partition(self, words: str, key: PartitionKey, rest: str = "") -> str:
        return self.eventsrc(words, f"--aggregate {key.aggregate} --partition {key.number} {rest}".strip())

    def look_at(self, topic: str, partition: int, offset: int) -> str:
        """Shows one record."""
        return (
            f"{self._kafka('console-consumer')} --topic {topic} --partition {partition} --offset {offset} --max-messages 1 "
            "--property print.key=true --property print.headers=true --property print.timestamp=true"
        )

    def describe_group(self) -> str:
        return f"{self._kafka('consumer-groups')} --describe --group {self.group_id}"

    def reset_group(self, key: PartitionKey) -> str:
        topic = commands_topic(self.pipeline, key.aggregate)
        return (
            f"{self._kafka('consumer-groups')} --group {self.group_id} --topic {topic}:{key.number} --reset-offsets "
            "--to-earliest --execute"
        )

    def delete_offsets(self, key: PartitionKey) -> str:
        topic = commands_topic(self.pipeline, key.aggregate)
        return f"{self._kafka('consumer-groups')} --group {self.group_id} --topic {topic}:{key.number} --delete-offsets"

    def alter_topic(self, topic: str, settings: Mapping[str, str]) -> str:
        said = ",".join(f"{name}={value}" for name, value in settings.items())
        return f"{self._kafka('configs')} --alter --entity-type topics --entity-name {topic} --add-config {said}"

    def describe_topic(self, topic: str) -> str:
        return f"{self._kafka('topics')} --describe --topic {topic}"

    def find_hanging(self, topic: str, partition: int) -> str:
        return f"{self._kafka('transactions')} find-hanging --topic {topic} --partition {partition}"

    def _kafka(self, tool: str) -> str:
        return f"kafka-{tool}.sh --bootstrap-server {self.servers}"


class PartitionTopics(NamedTuple):
    """The topics of one partition, as findings name them."""

    commands: str
    events: str

    @classmethod
    def of(cls, pipeline: str, key: PartitionKey) -> PartitionTopics:
        return cls(
            f"{commands_topic(pipeline, key.aggregate)}/{key.number}",
            f"{events_topic(pipeline, key.aggregate)}/{key.number}",
        )

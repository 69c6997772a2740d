"""What the kept checkpoints of one partition say, against its log, its topics and the code: the verdicts.

Pure. Whether a checkpoint may be used is `engine.snapshots`'; whether its blocks are what was written, `checkpoint_care`'s.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.snapshots import refusal
from eventsrc.model.snapshot import Anchor, DamagedCheckpoint, FoldedBy, Head, StoredCheckpoint
from eventsrc.runtime.findings import MADE_ANEW, RESTORE, Finding, PartitionTopics, Typed
from eventsrc.runtime.soundness import PartitionFacts


@dataclass(slots=True)
class AnchorCheck:
    """Holds the log's records against what checkpoints know of them."""

    checkpoints: Sequence[StoredCheckpoint]
    _expected: dict[int, list[tuple[uuid.UUID, Anchor]]] = field(default_factory=dict)
    wrong: dict[uuid.UUID, tuple[Anchor, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in self.checkpoints:
            for anchor in {each.checkpoint.anchor, each.checkpoint.seen}:
                self._expected.setdefault(anchor.offset, []).append((each.id, anchor))

    def see(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        for checkpoint, anchor in self._expected.pop(offset, ()):
            if not anchor.is_record(key, value):
                self.wrong.setdefault(
                    checkpoint, (anchor, f"a record with the key {key!r} is there, or its value is another")
                )

    def ended(self, read_to: int) -> None:
        """What was not met in a whole log is not there."""
        for expected in self._expected.values():
            for checkpoint, anchor in expected:
                found = f"the log ends at {read_to}" if anchor.offset >= read_to else "no record is there"
                self.wrong.setdefault(checkpoint, (anchor, found))
        self._expected.clear()


def checkpoint_findings(
    facts: PartitionFacts,
    head: Head | None,
    checkpoints: Sequence[StoredCheckpoint | DamagedCheckpoint],
    anchors: AnchorCheck,
    code: FoldedBy,
    typed: Typed,
) -> Iterator[Finding]:
    """Each sound row against the log, the topics and the code; the head against the log's barriers."""
    topics = PartitionTopics.of(typed.pipeline, facts.key)
    discard = typed.of_partition("checkpoint discard", facts.key)
    by_reason: dict[str, list[uuid.UUID]] = {}
    for each in checkpoints:
        if isinstance(each, DamagedCheckpoint):
            continue
        refused = refusal(each.checkpoint, facts.ids, code)
        if refused is not None:
            by_reason.setdefault(refused, []).append(each.id)
        elif each.id in anchors.wrong:
            anchor, found = anchors.wrong[each.id]
            yield Finding(
                "error",
                str(facts.key),
                f"checkpoint {each.id} knows the record with key {anchor.key!r} at offset {anchor.offset}, and {found}: the "
                "events topic was truncated, or is another one",
                f"{topics.events} offset {anchor.offset}",
                "Stop the workers and restore the topic. To go on with what is there, discard this partition's checkpoints: "
                "what only they hold is lost",
                discard,
            )
        elif each.checkpoint.commands_position > facts.after.commands_end:
            yield Finding(
                "error",
                str(facts.key),
                f"checkpoint {each.id} has commands resume at {each.checkpoint.commands_position}, but the commands topic "
                f"ends at {facts.after.commands_end}: {MADE_ANEW}",
                topics.commands,
                RESTORE,
                typed.describe_group(),
            )
    for reason, ids in by_reason.items():
        yield _passed_over(facts.key, reason, ids, discard)
    if facts.complete and head is not None and head.term is not None and head.term not in facts.fold.barriers:
        yield Finding(
            "error",
            str(facts.key),
            f"the checkpoints' owner has term {head.term}, and no barrier is at that offset: the events topic was truncated, "
            "or the database belongs to another log",
            topics.events,
            "Stop the workers and restore the topic, or point DATABASE_URL to the database that belongs to it. To go on with "
            "what is there, discard this partition's checkpoints",
            discard,
        )


def _passed_over(key: PartitionKey, reason: str, ids: Sequence[uuid.UUID], discard: str) -> Finding:
    named = f"checkpoint {ids[0]}" if len(ids) == 1 else f"{len(ids)} checkpoints, the newest {ids[0]},"
    of_other_topic = "topic id" in reason
    return Finding(
        "warning" if of_other_topic else "note",
        str(key),
        f"{named} will be passed over: {reason}",
        f"checkpoints of {key}",
        "Recovery reads the log instead; new ones are taken"
        if of_other_topic
        else "Workers take new ones by themselves",
        discard if of_other_topic else None,
    )


def damage_finding(
    key: PartitionKey, checkpoint: uuid.UUID, damage: str, instead: uuid.UUID | None, typed: Typed
) -> Finding:
    used = "the log" if instead is None else f"checkpoint {instead}"
    return Finding(
        "warning",
        str(key),
        f"checkpoint {checkpoint} is damaged: {damage}",
        f"checkpoints of {key}",
        f"It is never used: recovery takes {used}. A new one serves from then on",
        typed.of_partition("checkpoint now", key),
    )

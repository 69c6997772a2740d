"""What an owner leaves beside every committed offset: who it is, its term, and what each offset came to.

A successor reads it to know whom to fence; an outside reader to account for every command.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from eventsrc.engine.counts import Counts
from eventsrc.errors import InvalidSettings

NOTE_BYTES = 512


class Owner(NamedTuple):
    """Who writes: instance id in the group, transactional id, and a word on the deployment."""

    instance: str
    transactional_id: str
    deployment: str = ""


class TopicIds(NamedTuple):
    """Kafka's own ids of an aggregate's two topics: a recreated topic has another."""

    commands: str
    events: str


class Claim(NamedTuple):
    """An owner says: in this term, so many commands made events, and their transactions committed."""

    term: int
    applied: int


class Note(NamedTuple):
    """Of an earlier owner. `term` is None in what no barrier stood behind, `topics` where it did not say. `claim` is
    what the events topic must bear out: this owner's own, or, while it has applied nothing, the one it found."""

    instance: str
    transactional_id: str
    term: int | None
    topics: TopicIds | None = None
    claim: Claim | None = None


def check_note_fits(owner: Owner) -> None:
    """Raises InvalidSettings where the longest note of this owner would be longer than the coordinator is promised."""
    long = 2**63 - 1
    size = len(write_note(owner, long, Counts(long, long, long, long, long), TopicIds("x" * 22, "x" * 22)))
    if size > NOTE_BYTES:
        raise InvalidSettings(
            f"group id and instance id are {size - NOTE_BYTES} characters too long together for the metadata of committed "
            f"offsets ({NOTE_BYTES} bytes): shorten --instance-id ({owner.instance}) or group_id"
        )


def write_note(
    owner: Owner, term: int | None, counts: Counts, topics: TopicIds | None = None, before: Claim | None = None
) -> str:
    """JSON of at most 512 bytes: the committed offset's metadata. `before`: the claim that was found, for a barrier's."""
    named = "" if topics is None else f',"topics":{{"commands":"{topics.commands}","events":"{topics.events}"}}'
    if before is not None:
        named += f',"before":{{"term":{before.term},"applied":{before.applied}}}'
    return (
        f'{{"instance":{json.dumps(owner.instance)},"transactional_id":{json.dumps(owner.transactional_id)},'
        f'"term":{"null" if term is None else term},"counts":{{"applied":{counts.applied},"rejected":{counts.rejected},'
        f'"empty":{counts.empty},"duplicate":{counts.duplicate},"dead":{counts.dead}}}{named}}}'
    )


def read_note(text: str | None) -> Note | None:
    """None where there is no note, or another program wrote it: then nothing is known of the earlier owner."""
    try:
        found = json.loads((text or "null").rstrip("\0"))  # the client library stores a NUL behind it
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    instance, transactional_id, term = found.get("instance"), found.get("transactional_id"), found.get("term")
    if not isinstance(instance, str) or not isinstance(transactional_id, str):
        return None
    term = term if isinstance(term, int) else None
    claim = _read_claim(term, found.get("counts")) or _read_claim(None, found.get("before"))
    return Note(instance, transactional_id, term, _read_topics(found.get("topics")), claim)


def _read_claim(term: int | None, found: object) -> Claim | None:
    if not isinstance(found, dict):
        return None
    term = found.get("term") if term is None else term
    applied = found.get("applied")
    return Claim(term, applied) if isinstance(term, int) and isinstance(applied, int) and applied > 0 else None


def _read_topics(found: object) -> TopicIds | None:
    if not isinstance(found, dict):
        return None
    commands, events = found.get("commands"), found.get("events")
    return TopicIds(commands, events) if isinstance(commands, str) and isinstance(events, str) else None

"""What an owner leaves beside every committed offset: who it is, its term, and what each offset came to.

A successor reads it to know whom to fence; an outside reader to account for every command.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from eventsrc.engine.counts import Counts

NOTE_BYTES = 512


class Owner(NamedTuple):
    """Who writes: instance id in the group, transactional id, and a word on the deployment."""

    instance: str
    transactional_id: str
    deployment: str = ""


class Note(NamedTuple):
    """Of an earlier owner. `term` is None in what no barrier stood behind."""

    instance: str
    transactional_id: str
    term: int | None


def write_note(owner: Owner, term: int | None, counts: Counts) -> str:
    """JSON of at most 512 bytes: the committed offset's metadata."""
    return (
        f'{{"instance":{json.dumps(owner.instance)},"transactional_id":{json.dumps(owner.transactional_id)},'
        f'"term":{"null" if term is None else term},"counts":{{"applied":{counts.applied},"rejected":{counts.rejected},'
        f'"empty":{counts.empty},"duplicate":{counts.duplicate},"dead":{counts.dead}}}}}'
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
    return Note(instance, transactional_id, term if isinstance(term, int) else None)

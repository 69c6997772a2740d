"""What an aggregate remembers of commands, read from its memory."""

from __future__ import annotations

from typing import Any

from eventsrc.engine.memory import ENTRY_BYTES, ID_BYTES, recall


def remembered(instance: Any) -> list[tuple[bytes, int]]:
    """Of each command, oldest first: its id, and the sequence with which a repetition is answered."""
    memory = instance._eventsrc_memory
    ids = [memory[start : start + ID_BYTES] for start in range(0, len(memory), ENTRY_BYTES)]
    found = [(each, recall(memory, each, instance._eventsrc_sequence)) for each in ids]
    return [(each, known.sequence) for each, known in found if known is not None]

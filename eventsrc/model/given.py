"""What every aggregate has beside its own fields: its key, its sequence, its deduplication memory, and what is kept beside them
to be fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from eventsrc.model.pipeline import Pipeline


class Aggregate:
    """What every aggregate is. `@pipeline.aggregate` adds it by itself; written out, `class Account(Aggregate)`, it
    shows `self.id` and `self.sequence` to type checkers that do not use `eventsrc.mypy`."""

    __slots__ = ("_eventsrc_encoded", "_eventsrc_key", "_eventsrc_known", "_eventsrc_memory", "_eventsrc_sequence")

    _eventsrc_pipeline: ClassVar[Pipeline]
    """Where the class was declared."""
    _eventsrc_key: bytes
    _eventsrc_sequence: int
    _eventsrc_memory: bytes
    _eventsrc_known: object
    """`engine.known_ids.KnownIds` of a long memory, or None. No part of the state."""
    _eventsrc_encoded: tuple[int, bytes] | None
    """`engine.preimage`'s: a sequence, and the encoding of the state then. No part of the state."""

    @property
    def id(self) -> str:
        """The aggregate's own id."""
        try:
            return self._eventsrc_key.decode()
        except AttributeError:
            raise _made_by_hand(self) from None

    @property
    def sequence(self) -> int:
        """In `handle`, that of the last applied event (0: none yet); in `apply`, that of the event being applied."""
        try:
            return self._eventsrc_sequence
        except AttributeError:
            raise _made_by_hand(self) from None


def _made_by_hand(aggregate: Aggregate) -> AttributeError:
    name = type(aggregate).__name__
    return AttributeError(
        f"this {name} has neither id nor sequence, because {name}(...) made it; "
        f'pipeline.aggregate_type({name}).new(b"some-id") makes one that has'
    )

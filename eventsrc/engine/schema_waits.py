"""A record whose schema is not known here: its partition waits, looks again, and after a deadline stops waiting.

Well framed, it is a newer version's and not garbage. A command that is given up on goes to the dead-letter topic, and its
fingerprint stays given up, so that one writer cannot stop a partition again and again; an event that is given up on halts
its partition, since the log cannot be folded without it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from eventsrc.codes import code_of
from eventsrc.engine.decide import Surroundings
from eventsrc.engine.effects import Effect, Instant, Open, Pause, StopReading
from eventsrc.engine.partition import UnknownSchemaHere
from eventsrc.engine.takeover import Ownership, Phase, PhaseEvent
from eventsrc.errors import UnknownSchema
from eventsrc.model.pipeline import Pipeline

logger = logging.getLogger("eventsrc.engine")

RETRY_S = 1.0


@dataclass(slots=True)
class SchemaWaits:
    """Of one worker's partitions."""

    pipeline: Pipeline
    surroundings: Surroundings

    @property
    def _deadline_s(self) -> float:
        return self.pipeline.settings.unknown_schema_deadline

    def command(self, ownership: Ownership, at: Instant) -> list[Effect]:
        """An open partition has come to a command that it cannot read."""
        waiting = _waiting_for(ownership)
        first_s = ownership.unknown_since.setdefault(waiting.fingerprint, at.monotonic_s)
        if first_s == at.monotonic_s:
            logger.warning(
                "partition %s waits: the command at offset %d is of a schema not known here (%s); put its file into the "
                "schema directory, or mend the registry; after %g s it goes to the dead-letter topic",
                ownership.key, waiting.offset, UnknownSchema.name_of(waiting.fingerprint), self._deadline_s,
                extra={"partition": str(ownership.key), "offset": waiting.offset, "code": code_of(UnknownSchema)},
            )  # fmt: skip
        ownership.on(PhaseEvent.COMMAND_SCHEMA_UNKNOWN)
        ownership.retry_at_s = at.monotonic_s + RETRY_S
        return [Pause(ownership.key)]

    def too_long(self, ownership: Ownership, unknown: UnknownSchema, at: Instant) -> str | None:
        """Why a recovery waits no longer for the schema of an event; None while it does."""
        first_s = ownership.unknown_since.setdefault(unknown.fingerprint, at.monotonic_s)
        if at.monotonic_s - first_s <= self._deadline_s:
            return None
        return (
            f"an event in it is of a schema not known here for {self._deadline_s:g} s: {unknown}. Put its .avsc file, from "
            "the deployment that wrote it, into the schema directory, or mend the registry, and restart"
        )

    def event(self, ownership: Ownership, unknown: UnknownSchema, at: Instant) -> list[Effect]:
        """A recovery has come to an event that it cannot read."""
        ownership.on(PhaseEvent.EVENT_SCHEMA_UNKNOWN)
        ownership.fold = None
        ownership.retry_at_s = at.monotonic_s + RETRY_S
        logger.warning(
            "partition %s waits: %s; put its file into the schema directory, or mend the registry", ownership.key, unknown,
            extra={"partition": str(ownership.key), "term": ownership.term, "code": code_of(unknown)},
        )  # fmt: skip
        return [StopReading(ownership.key)]

    @staticmethod
    def due(ownership: Ownership, at: Instant) -> bool:
        """It is time to look again, for a command or an event."""
        return ownership.phase in (Phase.WAITING, Phase.BLOCKED) and ownership.retry_at_s <= at.monotonic_s

    def read_again(self, ownership: Ownership, at: Instant) -> list[Effect]:
        """From the command that an open partition waited at. Past the deadline, it is dead-lettered this time."""
        waiting = _waiting_for(ownership)
        partition = ownership.partition
        if partition is None:
            raise AssertionError("a waiting partition has no state")
        if at.monotonic_s - ownership.unknown_since[waiting.fingerprint] > self._deadline_s:
            self.surroundings.given_up.add(waiting.fingerprint)
        partition.waiting_for = None
        return [Open(ownership.key, partition.reopened())]


def _waiting_for(ownership: Ownership) -> UnknownSchemaHere:
    if ownership.partition is None or ownership.partition.waiting_for is None:
        raise AssertionError("a partition waits for a schema without saying which")
    return ownership.partition.waiting_for

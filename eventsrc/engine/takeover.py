"""How a partition is taken over, and every state it can be in while it is ours.

    assigned                                        FENCING    asking for the stable offset: when it is answered, no
       |                                               |       earlier owner can commit anything any more
       v            +--- barrier aborted, in doubt ----+
    FENCING --stable offset--> CLAIMING                        our barrier, with the same proof of membership
       ^                          |
       |                    barrier committed
       |                          v
       +--- claim refused --- LOADING                          asking the snapshot store for the newest checkpoint that may be
       |                          |                            used; where there is no store, this passes at once
       |                  loaded, or given up
       |                          v
       |                       READING   <--> BLOCKED          folding events until our own barrier arrives;
       |                          |                            BLOCKED: an event of a schema not known here
       |                    own barrier read
       |                          v
       +--- in doubt, ---       OPEN     <--> WAITING          WAITING: a command of a schema not known here
            claim refused         |                            (a claim made late, where the store was away at first)
                                  |
    any --- the log contradicts itself, or a limit was passed ---> HALTED (until the partition leaves us)

Nothing here knows how a step is performed; `engine.worker` turns the states into effects.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from eventsrc.engine.effects import SnapshotLoaded
from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.notes import Note
from eventsrc.engine.partition import Partition, PartitionKey
from eventsrc.engine.transaction import IllegalTransitionError
from eventsrc.model.position import Position


class Phase(enum.Enum):
    """See the diagram above."""

    FENCING = "waiting for the stable offset"
    CLAIMING = "writing its barrier"
    LOADING = "loading its newest checkpoint"
    READING = "reading its events"
    BLOCKED = "waiting for the schema of an event"
    OPEN = "open"
    WAITING = "waiting for the schema of a command"
    HALTED = "halted"


class PhaseEvent(enum.Enum):
    """What can happen to a partition that is ours."""

    STABLE_OFFSET = enum.auto()
    BARRIER_COMMITTED = enum.auto()
    BARRIER_ABORTED = enum.auto()
    SNAPSHOT_LOADED = enum.auto()
    CLAIM_REFUSED = enum.auto()
    OWN_BARRIER_READ = enum.auto()
    EVENT_SCHEMA_UNKNOWN = enum.auto()
    COMMAND_SCHEMA_UNKNOWN = enum.auto()
    RETRY = enum.auto()
    IN_DOUBT = enum.auto()
    HALT = enum.auto()


_TRANSITIONS: dict[tuple[Phase, PhaseEvent], Phase] = {
    (Phase.FENCING, PhaseEvent.STABLE_OFFSET): Phase.CLAIMING,
    (Phase.CLAIMING, PhaseEvent.BARRIER_COMMITTED): Phase.LOADING,
    (Phase.CLAIMING, PhaseEvent.BARRIER_ABORTED): Phase.FENCING,
    (Phase.CLAIMING, PhaseEvent.IN_DOUBT): Phase.FENCING,
    (Phase.LOADING, PhaseEvent.SNAPSHOT_LOADED): Phase.READING,
    (Phase.LOADING, PhaseEvent.CLAIM_REFUSED): Phase.FENCING,
    (Phase.READING, PhaseEvent.OWN_BARRIER_READ): Phase.OPEN,
    (Phase.READING, PhaseEvent.EVENT_SCHEMA_UNKNOWN): Phase.BLOCKED,
    (Phase.BLOCKED, PhaseEvent.RETRY): Phase.READING,
    (Phase.OPEN, PhaseEvent.COMMAND_SCHEMA_UNKNOWN): Phase.WAITING,
    (Phase.WAITING, PhaseEvent.RETRY): Phase.OPEN,
    (Phase.OPEN, PhaseEvent.IN_DOUBT): Phase.FENCING,
    (Phase.WAITING, PhaseEvent.IN_DOUBT): Phase.FENCING,
    (Phase.OPEN, PhaseEvent.CLAIM_REFUSED): Phase.FENCING,
    (Phase.WAITING, PhaseEvent.CLAIM_REFUSED): Phase.FENCING,
    **{(phase, PhaseEvent.HALT): Phase.HALTED for phase in Phase if phase is not Phase.HALTED},
}


_START = Position(0)


@dataclass(slots=True, eq=False)
class Ownership:
    """One partition that is ours, from its assignment until it leaves.

    `attempt` marks which takeover an answer belongs to; it changes whenever one begins again. `proof` is the group
    metadata of this attempt. `partition` exists while OPEN or WAITING, `fold` while READING. `snapshot` is what the store had,
    `loading_since_s` since when nothing has come of it, `claims_refused` how often in a row it refused our term;
    `reading_since_s` and `reading_from`: when and where reading of the events began; `barrier`: key and value of our own.
    `reason`: why it is halted, `code`: of that (see `errors`).
    """

    key: PartitionKey
    since_s: float
    phase: Phase = Phase.FENCING
    attempt: int = 0
    proof: Any = None
    resume_from: Position = _START
    committed: Position | None = None
    log_start: Position = _START
    log_end: Position = _START
    events_start: Position | None = None
    events_end: Position | None = None
    earlier: Note | None = None
    term: int | None = None
    fold: PartitionFold | None = None
    partition: Partition | None = None
    snapshot: SnapshotLoaded | None = None
    loading_since_s: float = 0.0
    claims_refused: int = 0
    barrier: tuple[bytes, bytes] | None = None
    reading_from: Position = _START
    reading_since_s: float = 0.0
    reason: str | None = None
    code: str | None = None
    progress_s: float = 0.0
    stalled_at_s: float | None = None
    retry_at_s: float = 0.0
    unknown_since: dict[bytes, float] = field(default_factory=dict)

    @property
    def went_on(self) -> bool:
        """It stalled, and has made progress since: what held it back holds it back no more."""
        return self.stalled_at_s is not None and self.progress_s > self.stalled_at_s

    def on(self, event: PhaseEvent) -> None:
        """Take the transition. Raises IllegalTransitionError naming partition, event and phase."""
        following = _TRANSITIONS.get((self.phase, event))
        if following is None:
            raise IllegalTransitionError(f"{event.name} for partition {self.key} while {self.phase.value}")
        self.phase = following

    def begin_again(self, attempt: int, now_s: float) -> None:
        """Forget what was learned: the next attempt starts from the stable offset."""
        self.attempt = attempt
        self.progress_s = now_s
        self.stalled_at_s = None
        self.proof = None
        self.partition = None
        self.fold = None
        self.snapshot = None
        self.barrier = None
        self.term = None

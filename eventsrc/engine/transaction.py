"""The states of the one producer's transaction, with the batch processed ahead of it.

    ABSENT --producer ready--> IDLE --batch sent--> IN_FLIGHT --committed--> IDLE
       ^                                               |  |---- aborted ----> IDLE
       |<--- in doubt, or committed or aborted with a producer that must go

One transaction at a time: nothing orders two producers' batches in the log. While it is in flight one further
batch may be decided ahead; it stands on state that is not committed yet, so it goes down with it, unproduced.
"""

from __future__ import annotations

import enum

from eventsrc.engine.batch import Batch


class TransactionState(enum.Enum):
    """See the diagram above."""

    ABSENT = "no producer"
    IDLE = "no transaction"
    IN_FLIGHT = "transaction in flight"


class TransactionEvent(enum.Enum):
    """What can happen to it."""

    PRODUCER_READY = enum.auto()
    SENT = enum.auto()
    DECIDED = enum.auto()
    DECIDED_PRODUCER_GONE = enum.auto()


_TRANSITIONS: dict[tuple[TransactionState, TransactionEvent], TransactionState] = {
    (TransactionState.ABSENT, TransactionEvent.PRODUCER_READY): TransactionState.IDLE,
    (TransactionState.IDLE, TransactionEvent.SENT): TransactionState.IN_FLIGHT,
    (TransactionState.IN_FLIGHT, TransactionEvent.DECIDED): TransactionState.IDLE,
    (TransactionState.IN_FLIGHT, TransactionEvent.DECIDED_PRODUCER_GONE): TransactionState.ABSENT,
}


class IllegalTransitionError(AssertionError):
    """The driver broke the protocol; a defect of eventsrc itself."""


class TransactionLane:
    """`current` is in flight, `ahead` is decided and not produced."""

    def __init__(self) -> None:
        self.state = TransactionState.ABSENT
        self.current: Batch | None = None
        self.ahead: Batch | None = None

    def on(self, event: TransactionEvent) -> None:
        """Take the transition. Raises IllegalTransitionError naming event and state."""
        following = _TRANSITIONS.get((self.state, event))
        if following is None:
            raise IllegalTransitionError(f"{event.name} while {self.state.value}")
        self.state = following

    def send(self, batch: Batch) -> None:
        """This batch is in flight from here on."""
        self.on(TransactionEvent.SENT)
        self.current = batch

    def decided(self, batch: Batch, *, producer_usable: bool) -> None:
        """The outcome of the transaction in flight is known (or will never be)."""
        if batch is not self.current:
            raise IllegalTransitionError("an outcome of a batch that is not in flight")
        self.on(TransactionEvent.DECIDED if producer_usable else TransactionEvent.DECIDED_PRODUCER_GONE)
        self.current = None

    def take_ahead(self) -> Batch | None:
        """The batch processed ahead, which then is no longer held here."""
        ahead, self.ahead = self.ahead, None
        return ahead

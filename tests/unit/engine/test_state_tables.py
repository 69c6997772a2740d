"""The two state machines: every transition of their tables, and that no other is possible."""

from __future__ import annotations

import itertools

import pytest

from eventsrc.engine.batch import Batch, BatchKind
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.takeover import Ownership, Phase, PhaseEvent
from eventsrc.engine.transaction import IllegalTransitionError, TransactionEvent, TransactionLane, TransactionState

PHASES = {
    (Phase.FENCING, PhaseEvent.STABLE_OFFSET): Phase.CLAIMING,
    (Phase.CLAIMING, PhaseEvent.BARRIER_COMMITTED): Phase.LOADING,
    (Phase.LOADING, PhaseEvent.SNAPSHOT_LOADED): Phase.READING,
    (Phase.LOADING, PhaseEvent.CLAIM_REFUSED): Phase.FENCING,
    (Phase.LOADING, PhaseEvent.HALT): Phase.HALTED,
    (Phase.CLAIMING, PhaseEvent.BARRIER_ABORTED): Phase.FENCING,
    (Phase.CLAIMING, PhaseEvent.IN_DOUBT): Phase.FENCING,
    (Phase.READING, PhaseEvent.OWN_BARRIER_READ): Phase.OPEN,
    (Phase.READING, PhaseEvent.EVENT_SCHEMA_UNKNOWN): Phase.BLOCKED,
    (Phase.BLOCKED, PhaseEvent.RETRY): Phase.READING,
    (Phase.OPEN, PhaseEvent.COMMAND_SCHEMA_UNKNOWN): Phase.WAITING,
    (Phase.WAITING, PhaseEvent.RETRY): Phase.OPEN,
    (Phase.OPEN, PhaseEvent.IN_DOUBT): Phase.FENCING,
    (Phase.WAITING, PhaseEvent.IN_DOUBT): Phase.FENCING,
    (Phase.OPEN, PhaseEvent.CLAIM_REFUSED): Phase.FENCING,
    (Phase.WAITING, PhaseEvent.CLAIM_REFUSED): Phase.FENCING,
    (Phase.FENCING, PhaseEvent.HALT): Phase.HALTED,
    (Phase.CLAIMING, PhaseEvent.HALT): Phase.HALTED,
    (Phase.READING, PhaseEvent.HALT): Phase.HALTED,
    (Phase.BLOCKED, PhaseEvent.HALT): Phase.HALTED,
    (Phase.OPEN, PhaseEvent.HALT): Phase.HALTED,
    (Phase.WAITING, PhaseEvent.HALT): Phase.HALTED,
}
STATES = {
    (TransactionState.ABSENT, TransactionEvent.PRODUCER_READY): TransactionState.IDLE,
    (TransactionState.IDLE, TransactionEvent.SENT): TransactionState.IN_FLIGHT,
    (TransactionState.IN_FLIGHT, TransactionEvent.DECIDED): TransactionState.IDLE,
    (TransactionState.IN_FLIGHT, TransactionEvent.DECIDED_PRODUCER_GONE): TransactionState.ABSENT,
}


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, PhaseEvent)), ids=lambda each: each.name)
def test_every_phase_and_event(phase: Phase, event: PhaseEvent) -> None:
    ownership = Ownership(PartitionKey("account", 3), 0.0, phase=phase)
    if (phase, event) in PHASES:
        ownership.on(event)
        assert ownership.phase is PHASES[phase, event]
        return
    with pytest.raises(IllegalTransitionError) as raised:
        ownership.on(event)
    assert str(raised.value) == f"{event.name} for partition account/3 while {phase.value}"
    assert ownership.phase is phase


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(TransactionState, TransactionEvent)), ids=lambda each: each.name
)
def test_every_state_and_event_of_the_transaction(state: TransactionState, event: TransactionEvent) -> None:
    lane = TransactionLane()
    lane.state = state
    if (state, event) in STATES:
        lane.on(event)
        assert lane.state is STATES[state, event]
        return
    with pytest.raises(IllegalTransitionError) as raised:
        lane.on(event)
    assert str(raised.value) == f"{event.name} while {state.value}"
    assert lane.state is state


def _batch() -> Batch:
    return Batch(BatchKind.COMMANDS, b"metadata")


def test_one_transaction_at_a_time() -> None:
    lane, first = TransactionLane(), _batch()
    lane.on(TransactionEvent.PRODUCER_READY)
    lane.send(first)
    with pytest.raises(IllegalTransitionError):
        lane.send(_batch())
    assert lane.current is first


def test_only_the_batch_in_flight_is_decided() -> None:
    lane, batch = TransactionLane(), _batch()
    lane.on(TransactionEvent.PRODUCER_READY)
    lane.send(batch)
    with pytest.raises(IllegalTransitionError, match="not in flight"):
        lane.decided(_batch(), producer_usable=True)
    lane.decided(batch, producer_usable=False)
    assert (lane.current, lane.state) == (None, TransactionState.ABSENT)


def test_the_batch_ahead_is_handed_over_once() -> None:
    lane, ahead = TransactionLane(), _batch()
    lane.ahead = ahead
    assert (lane.take_ahead(), lane.take_ahead()) == (ahead, None)


def test_beginning_again_forgets_all_that_was_learned() -> None:
    ownership = Ownership(PartitionKey("account", 3), 0.0, attempt=1, proof=b"m", term=5)
    ownership.begin_again(2, 7.0)
    assert (ownership.attempt, ownership.progress_s) == (2, 7.0)
    assert (ownership.proof, ownership.partition, ownership.fold, ownership.term) == (None, None, None, None)

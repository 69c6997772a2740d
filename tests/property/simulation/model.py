"""What must come of a partition's commands, told a second time: one after the other, in offset order, each once.

Knows the application's rules and the contract's rules on repeated ids, nothing of the engine.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.unit.engine.shop import Audit, Deposit, DepositParts, Poison, Put, Record, Withdraw


class ExpectedEvent(NamedTuple):
    key: bytes
    sequence: int
    content: tuple[Any, ...]
    command_id: bytes
    source_offset: int
    index: int  # type: ignore[assignment]  # the contract's names
    count: int  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class AggregateState:
    """`known`: sequence and payload of each command that made events, by its id."""

    sequence: int = 0
    content: tuple[Any, ...] = ()
    known: tuple[tuple[bytes, int, Any], ...] = ()


State = dict[bytes, AggregateState]


class Command(NamedTuple):
    """`payload` None: bytes that are no command."""

    id: bytes
    payload: Any


@dataclass
class PartitionModel:
    """`states[n]` is after the first n commands."""

    offsets: list[int] = field(default_factory=list)
    states: list[State] = field(default_factory=lambda: [{}])
    events: list[ExpectedEvent] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    outcomes: dict[bytes, set[tuple[str, int]]] = field(default_factory=dict)

    def at(self, position: int) -> State:
        """The state when all commands below that position are decided."""
        return self.states[bisect_left(self.offsets, position)]

    def add(self, record: Record, command: Command) -> None:
        key, state = record.of_key or b"", self.states[-1]
        before = state.get(key, AggregateState())
        status, contents = self._decide(before, command)
        after = before
        for index, content in enumerate(contents):
            sequence = before.sequence + index + 1
            self.events.append(ExpectedEvent(key, sequence, content, command.id, record.at, index, len(contents)))
            after = AggregateState(sequence, _fold(after.content, content), after.known)
        if contents:
            known = (*before.known, (command.id, after.sequence, command.payload))
            after = AggregateState(after.sequence, after.content, known)
        if status == "failed":
            self.dead.append(record.at)
        repeated = next((entry for entry in before.known if entry[0] == command.id), None)
        answered = repeated[1] if repeated is not None else after.sequence
        self.outcomes.setdefault(command.id, set()).add((status, answered))
        self.offsets.append(record.at)
        self.states.append({**state, key: after} if contents else state)

    @staticmethod
    def _decide(state: AggregateState, command: Command) -> tuple[str, list[tuple[Any, ...]]]:
        payload = command.payload
        for known, _, earlier in state.known:
            if known == command.id and payload is not None:
                return ("duplicate" if earlier == payload else "conflict"), []
        match payload:
            case Deposit(amount) if amount > 0:
                return "ok", [("Deposited", amount)]
            case DepositParts(amount, parts):
                return "ok", [("Deposited", amount)] * parts
            case Withdraw(amount):
                enough = amount <= sum(state.content[:1])
                return ("ok", [("Withdrawn", amount)]) if enough else ("rejected", [])
            case Audit():
                return "ok", []
            case Put(item, tags):
                there = any(item == each for each, _ in state.content)
                return ("rejected", []) if there else ("ok", [("Placed", item, tuple(tags))])
            case None | Deposit() | Poison():
                return "failed", []
        raise AssertionError(payload)


def _fold(content: tuple[Any, ...], event: tuple[Any, ...]) -> tuple[Any, ...]:
    match event:
        case ("Placed", item, tags):
            return (*content, (item, tags))
        case ("Deposited", amount):
            balance, deposits = content or (0, 0)
            return balance + amount, deposits + 1
        case (_, amount):
            balance, deposits = content or (0, 0)
            return balance - amount, deposits
    raise AssertionError(event)

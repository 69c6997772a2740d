"""A consumer group of static members with cooperative rebalances, as its coordinator keeps it.

A generation ends when all members have joined again; until then the one before is accepted. A member that is silent is
expelled, and does not know it before it asks. A restarted member takes its place over, under a new member id.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from eventsrc.engine.partition import PartitionKey


class StaleMemberError(Exception):
    """Unknown member or another generation: an offset is not accepted."""


class ExpelledError(Exception):
    """The member is not one any more: everything it had may be another's."""


class Proof(NamedTuple):
    """Group metadata: what the fence of a transaction is checked against."""

    member: int
    generation: int


@dataclass
class Group:
    rng: random.Random
    keys: tuple[PartitionKey, ...]
    generation: int = 0
    members: dict[str, int] = field(default_factory=dict)
    assigned: dict[str, frozenset[PartitionKey]] = field(default_factory=dict)
    rebalancing: bool = False
    _joined: dict[str, frozenset[PartitionKey]] = field(default_factory=dict)
    _undelivered: set[str] = field(default_factory=set)
    _last_member: int = 0

    def check(self, proof: Proof) -> None:
        if proof.member not in self.members.values() or proof.generation != self.generation:
            raise StaleMemberError

    def enter(self, slot: str) -> int:
        """A process joins under an instance id: a new member, or the same one in a new life."""
        self._last_member += 1
        known = slot in self.members
        self.members[slot] = self._last_member
        self._joined.pop(slot, None)
        if known and not self.rebalancing and slot in self.assigned:
            self._undelivered.add(slot)
        else:
            self.rebalance()
        return self._last_member

    def expel(self, slot: str) -> None:
        """Its session has ended."""
        if self.members.pop(slot, None) is not None:
            self.assigned.pop(slot, None)
            self._joined.pop(slot, None)
            self._undelivered.discard(slot)
            self.rebalance()

    def rebalance(self) -> None:
        if self.members and not self.rebalancing:
            self.rebalancing = True
            self._joined = {}

    def poll(self, slot: str, member: int, owned: Iterable[PartitionKey]) -> tuple[int, frozenset[PartitionKey]] | None:
        """What a member is told: the new generation with its assignment, or None. Raises ExpelledError."""
        if self.members.get(slot) != member:
            raise ExpelledError
        if self.rebalancing:
            self._joined.setdefault(slot, frozenset(owned))
            if len(self._joined) < len(self.members):
                return None
            self._complete()
        if slot not in self._undelivered:
            if not self._undelivered and frozenset().union(*self.assigned.values()) != frozenset(self.keys):
                self.rebalance()
            return None
        self._undelivered.discard(slot)
        return self.generation, self.assigned[slot]

    def _complete(self) -> None:
        """Nothing is given to a member that another still has: it must be revoked there first."""
        self.rebalancing = False
        self.generation += 1
        slots = sorted(self.members)
        target = {key: slots[number % len(slots)] for number, key in enumerate(self._shuffled())}
        self.assigned = {
            slot: frozenset(
                key
                for key, to in target.items()
                if to == slot and not any(key in owned for other, owned in self._joined.items() if other != slot)
            )
            for slot in slots
        }
        self._undelivered = set(slots)
        self._joined = {}

    def _shuffled(self) -> list[PartitionKey]:
        """Sticky enough: partitions stay more often than not."""
        at_home = sorted(self.keys, key=lambda key: next((s for s, k in sorted(self._joined.items()) if key in k), ""))
        if self.rng.random() < 0.4:
            self.rng.shuffle(at_home)
        return at_home

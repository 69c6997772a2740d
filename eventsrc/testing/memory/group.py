"""A consumer group of static members in memory, as its coordinator keeps it: generations, cooperative rebalances.

Not thread-safe: the broker's lock is held around every call. A rebalance takes effect at once: each member is told at
its next poll, and gets nothing that another has not given up yet.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from eventsrc.engine.partition import PartitionKey


class NotAMember(Exception):  # noqa: N818 - what the coordinator answers
    """The member id is not known: expelled, or replaced by another process with the same instance id."""


class StaleProof(Exception):  # noqa: N818 - what the coordinator answers
    """Of an earlier generation, or of nobody in the group: no offset is accepted under it."""


class Assignment(NamedTuple):
    """What a member is to have from this generation on."""

    generation: int
    partitions: frozenset[PartitionKey]


@dataclass(slots=True)
class _Member:
    """`held`: what nobody else may be given, because this one has it or was told that it has."""

    id: str
    held: frozenset[PartitionKey] = frozenset()
    assigned: frozenset[PartitionKey] = frozenset()
    told: bool = False


@dataclass(slots=True)
class MemoryGroup:
    partitions: Collection[PartitionKey]
    generation: int = 0
    _members: dict[str, _Member] = field(default_factory=dict)
    _joined: int = 0

    @property
    def members(self) -> dict[str, str]:
        """Member id by instance id."""
        return {instance: member.id for instance, member in self._members.items()}

    def check(self, proof: bytes) -> None:
        """Raises StaleProof."""
        if proof not in {write_proof(member.id, self.generation) for member in self._members.values()}:
            raise StaleProof

    def join(self, instance: str) -> str:
        """Returns the member id. A new life of a known instance has the partitions back without a rebalance; the life
        before is no member any more."""
        self._joined += 1
        member_id = f"{instance}-{self._joined}"
        known = self._members.get(instance)
        if known is None:
            self._members[instance] = _Member(member_id)
            self._rebalance()
            return member_id
        self._members[instance] = _Member(member_id, known.assigned, known.assigned)
        if known.held != known.assigned:
            self._rebalance()
        return member_id

    def has_news(self, instance: str, member_id: str | None, owned: frozenset[PartitionKey]) -> bool:
        """Whether a poll would tell it something, be told something by it, or refuse it."""
        member = self._members.get(instance)
        return member is None or member.id != member_id or not member.told or member.held != owned

    def poll(self, instance: str, member_id: str, owned: frozenset[PartitionKey]) -> Assignment | None:
        """None where nothing has changed since the last time. What it was told of and does not own any more may be
        another's. Raises NotAMember."""
        member = self._members.get(instance)
        if member is None or member.id != member_id:
            raise NotAMember
        if member.told and member.held != owned:
            member.held = owned
            self._rebalance()
        if member.told:
            return None
        member.told = True
        member.held |= member.assigned
        return Assignment(self.generation, member.assigned)

    def expel(self, instance: str) -> None:
        """Its session has ended."""
        if self._members.pop(instance, None) is not None:
            self._rebalance()

    def _rebalance(self) -> None:
        self.generation += 1
        shares = self._shares()
        for instance, member in self._members.items():
            others = [other.held for name, other in self._members.items() if name != instance]
            member.assigned = shares[instance].difference(*others)
            member.told = False

    def _shares(self) -> dict[str, frozenset[PartitionKey]]:
        """As even as can be; nothing moves that need not."""
        if not self._members:
            return {}
        names = sorted(self._members, key=lambda name: (-len(self._members[name].held), name))
        least, odd = divmod(len(self.partitions), len(names))
        room = {name: least + (number < odd) for number, name in enumerate(names)}
        shares = {name: sorted(self._members[name].held)[: room[name]] for name in names}
        free = sorted(set(self.partitions).difference(*shares.values()))
        for name in names:
            missing = room[name] - len(shares[name])
            shares[name] += free[:missing]
            free = free[missing:]
        return {name: frozenset(share) for name, share in shares.items()}


def write_proof(member_id: str, generation: int) -> bytes:
    """Group metadata: what the fence of a transaction is checked against."""
    return f"{member_id}\0{generation}".encode()

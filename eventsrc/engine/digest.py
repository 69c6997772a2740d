"""One number for any set of states: equal exactly where the states are, whoever computed it, in whatever order.

The layout is public (docs/time-travel.md): a change of it is a change of the contract.
"""

from __future__ import annotations

import hashlib

_MODULUS = 1 << 128


class StatesDigest:
    """The sum, modulo 2^128, of one SHA-256 per state."""

    __slots__ = ("_sum", "states")

    def __init__(self) -> None:
        self._sum = 0
        self.states = 0

    def add(self, aggregate: str, identity: bytes, sequence: int, state: bytes) -> None:
        """`aggregate`: the kebab-case name. `state`: as the catalog's canonical state writer writes it."""
        name = aggregate.encode()
        head = b"%b%b%b%b" % (
            len(name).to_bytes(4, "big") + name,
            len(identity).to_bytes(4, "big") + identity,
            sequence.to_bytes(8, "big"),
            len(state).to_bytes(4, "big"),
        )
        self._sum += int.from_bytes(hashlib.sha256(head + state).digest(), "big")
        self.states += 1

    def hexadecimal(self) -> str:
        """32 digits, lower case."""
        return f"{self._sum % _MODULUS:032x}"

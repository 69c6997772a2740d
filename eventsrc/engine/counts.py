"""What became of each command, counted over a term."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(slots=True)
class Counts:
    """Every command offset of a term is in exactly one of these."""

    applied: int = 0
    rejected: int = 0
    empty: int = 0
    duplicate: int = 0
    dead: int = 0

    def copy(self) -> Counts:
        return replace(self)

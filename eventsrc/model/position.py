"""The two numbers of a log, which are off by one from each other and must never be mixed."""

from __future__ import annotations

from typing import NewType

Offset = NewType("Offset", int)
"""A record's own place in its partition."""

Position = NewType("Position", int)
"""The offset of the next record to read: one past the last one read."""

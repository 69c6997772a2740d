"""Finds the command that ends the process: the out-of-memory killer, a crashing extension, a decoder's fault.

Nothing can be caught there, so a small file in the worker's slot outlives the process. After two unclean ends without
progress in between, commands go singly, each named in the file while it is decided; one that is named at three ends is
set aside. Beside them stand the commands whose deciding has taken too long (`engine.overlong`). The file is written
without fsync: it must outlive the process, not the machine.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypedDict

SUSPICIOUS_ENDS = 2
ENDS_TO_ISOLATE = 3

Place = tuple[str, int, int]
"""Aggregate, partition number, offset of a command."""


class _Content(TypedDict):
    running: bool
    ends: int
    deciding: list[object] | None
    tries: dict[str, int]
    isolated: list[list[object]]
    overlong: list[tuple[list[object], int]]


class CrashRecord:
    """One worker's, in its slot's directory. Made at start: that counts an unclean end of the life before."""

    def __init__(self, directory: Path) -> None:
        self._descriptor = os.open(directory / "crash-record.json", os.O_RDWR | os.O_CREAT, 0o600)
        self._content = self._read()
        if self._content["running"]:
            self._unclean_end()
        self._content["running"] = True
        self._write()

    @property
    def suspicious(self) -> bool:
        """Commands must go singly until some have been processed."""
        return self._content["ends"] >= SUSPICIOUS_ENDS

    @property
    def isolated(self) -> set[Place]:
        """Commands to dead-letter without deciding them."""
        return {_place(each) for each in self._content["isolated"]}

    @property
    def overlong_before(self) -> dict[Place, int]:
        """How often deciding a command has taken too long, in earlier lives."""
        return {_place(each): times for each, times in self._content["overlong"]}

    def overlong(self, place: Place, times: int) -> None:
        """Deciding this command has taken too long, so many times by now. That ends no process by itself; but a worker
        that stands still is killed by whoever watches it."""
        counted = {**self.overlong_before, place: times}
        self._content["overlong"] = [(list(each), count) for each, count in counted.items()]
        self._write()

    def deciding(self, place: Place | None) -> None:
        """This command is being decided now; None: nothing is."""
        self._content["deciding"] = None if place is None else list(place)
        self._write()

    def progressed(self) -> None:
        """Enough was processed: what ended earlier lives is behind us."""
        if self._content["ends"]:
            self._content["ends"] = 0
            self._content["tries"] = {}
            self._write()

    def close(self) -> None:
        """A clean end."""
        self._content = _empty()
        self._write()
        os.close(self._descriptor)

    def _unclean_end(self) -> None:
        content = self._content
        content["ends"] += 1
        place, content["deciding"] = content["deciding"], None
        if place is None:
            return
        name = "{}/{}@{}".format(*place)
        content["tries"][name] = content["tries"].get(name, 0) + 1
        if content["tries"][name] >= ENDS_TO_ISOLATE:
            content["isolated"].append(place)

    def _read(self) -> _Content:
        try:
            found = json.loads(os.pread(self._descriptor, 1_000_000, 0))
        except ValueError:
            return _empty()  # new, or torn by the end of the machine: nothing is suspected
        return found if isinstance(found, dict) and found.keys() == _empty().keys() else _empty()  # type: ignore[return-value]

    def _write(self) -> None:
        data = json.dumps(self._content).encode()
        os.pwrite(self._descriptor, data, 0)
        os.ftruncate(self._descriptor, len(data))


def _place(stored: list[object]) -> Place:
    name, number, offset = stored
    return str(name), int(str(number)), int(str(offset))


def _empty() -> _Content:
    return {"running": False, "ends": 0, "deciding": None, "tries": {}, "isolated": [], "overlong": []}

"""Sends that their caller no longer waits for, whose answers may come yet.

An answer names its command's id alone, and an idempotency key makes one id of every send. A command that was rejected or
failed is decided again when it comes again, so the answer to a send that was given up is none to the send after it.
"""

from __future__ import annotations

from typing import Any, Protocol

KEPT_S = 600.0
MOST = 10_000


class Sent(Protocol):
    """What is known of a send. `serial`: in order of sending; `place`: its partition; `repeatable`: the command, where it has an
    idempotency key."""

    command_id: bytes
    serial: int
    repeatable: Any

    @property
    def place(self) -> tuple[str, int]: ...


class GivenUp:
    """Of one client. Not for several threads at once.

    One is kept until its answer has come; until an answer to a later send to its partition has come, since they come in order
    and its own is lost then; or for ten minutes.
    """

    def __init__(self) -> None:
        self._by_id: dict[bytes, list[Sent]] = {}  # each in order of sending
        self._until_s: dict[int, tuple[float, Sent]] = {}  # by serial, in order of these times
        self._answered: dict[tuple[str, int], int] = {}

    def add(self, sent: Sent, now_s: float) -> None:
        if sent.repeatable is None:
            return  # its id is nobody else's
        same = self._by_id.setdefault(sent.command_id, [])
        same.append(sent)
        same.sort(key=lambda each: each.serial)
        self._until_s[sent.serial] = now_s + KEPT_S, sent
        while self._until_s:
            until_s, oldest = next(iter(self._until_s.values()))
            if until_s > now_s and len(self._until_s) <= MOST:
                return
            self._forget(oldest)

    def claims(self, command_id: bytes, waiting: Sent | None, *, took_effect: bool) -> bool:
        """Whether an answer of that id is to one of these, which is forgotten then, and not to `waiting`: the first that waits.

        One that tells of an effect is as good for a later send of the same command: there is but one effect.
        """
        same = self._by_id.get(command_id, [])
        while same and same[0].serial < self._answered.get(same[0].place, 0):
            self._forget(same[0])
        if not same or (waiting is not None and waiting.serial < same[0].serial):
            return False
        if waiting is not None and took_effect:
            before = [each for each in same if each.serial < waiting.serial]
            if all(each.repeatable == waiting.repeatable for each in before):
                return False
        self._forget(same[0])
        return True

    def answered(self, sent: Sent) -> None:
        """It was answered, for certain."""
        if sent.command_id not in self._by_id:
            self._answered[sent.place] = max(sent.serial, self._answered.get(sent.place, 0))

    def _forget(self, sent: Sent) -> None:
        del self._until_s[sent.serial]
        same = self._by_id[sent.command_id]
        same.remove(sent)
        if not same:
            del self._by_id[sent.command_id]

"""Which dead letters may be sent again, in which order, and why the others may not.

A retried command stands at the end of its topic. So it keeps its place among its aggregate's commands only where none of
the later ones has taken effect, or waits before it; where that is not so, the operator must say that the order may go.
Pure: what has happened since is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from eventsrc.codec.metas import command_meta_alone
from eventsrc.engine.letters import Letter, LetterPlace, Letters, Source

HOPELESS: Mapping[str, str] = {
    "null-key": "it has no key, so it belongs to no aggregate",
    "bad-id": "its key can be no aggregate's id",
    "null-value": "it has no value",
}
"""Reasons that the same bytes meet again, whatever the code is."""


class Subject(NamedTuple):
    """An aggregate, as its commands name it."""

    topic: str
    key: bytes


class Applied(NamedTuple):
    """A command that made events: where it stood, its id, the aggregate's sequence with its first one."""

    source: Source
    command_id: bytes
    sequence: int
    time_ms: int


class Pending(NamedTuple):
    """A command that waits to be processed."""

    source: Source
    time_ms: int


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """What the logs tell of the aggregates that have letters."""

    applied: Mapping[Subject, Sequence[Applied]] = field(default_factory=dict)
    pending: Mapping[Subject, Sequence[Pending]] = field(default_factory=dict)


class Ready(NamedTuple):
    """To be sent. `partition`: of the letter's own commands topic. `note`: in what the order is not kept."""

    letter: Letter
    partition: int
    note: str | None = None


class Held(NamedTuple):
    """Not to be sent. `order`: it would be, if the order did not matter."""

    letter: Letter
    why: str
    order: bool = False


@dataclass(slots=True)
class RetryPlan:
    """`ready` in the order in which it must be sent."""

    ready: list[Ready] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)


def plan_retry(
    letters: Letters,
    selected: Collection[LetterPlace],
    meanwhile: Meanwhile,
    topics: Collection[str],
    partition_of: Callable[[bytes], int],
    *,
    out_of_order: bool,
) -> RetryPlan:
    """`topics`: the pipeline's commands topics. Letters that were handled before are not sent again, whoever asks."""
    plan = RetryPlan()
    groups: dict[Subject, list[Letter]] = {}
    for letter in sorted(letters.waiting(), key=lambda each: _order(letters, each)):
        why = _unfit(letter, topics)
        if why is None:
            groups.setdefault(Subject(letter.source.topic, letter.key or b""), []).append(letter)
        elif letter.place in selected:
            plan.held.append(Held(letter, why))
    for subject, group in groups.items():
        _plan_one(plan, letters, subject, group, selected, meanwhile, partition_of(subject.key), out_of_order)
    plan.ready.sort(key=lambda each: _order(letters, each.letter))
    plan.held.sort(key=lambda each: _order(letters, each.letter))
    return plan


def _plan_one(
    plan: RetryPlan,
    letters: Letters,
    subject: Subject,
    group: Sequence[Letter],
    selected: Collection[LetterPlace],
    meanwhile: Meanwhile,
    partition: int,
    out_of_order: bool,
) -> None:
    """Of one aggregate, its letters in their order."""
    left_behind: Letter | None = None
    applied, pending = meanwhile.applied.get(subject, ()), meanwhile.pending.get(subject, ())
    for letter in group:
        effect = _effect_of(letter, applied)
        if effect is not None:
            if letter.place in selected:
                plan.held.append(
                    Held(
                        letter,
                        f"it has taken effect meanwhile: its events begin with sequence {effect.sequence}. Drop the letter",
                    )
                )
            continue
        if letter.place not in selected:
            left_behind = left_behind or letter
            continue
        broken = next(_broken_order(letters, letter, left_behind, applied, pending), None)
        if broken is None or out_of_order:
            plan.ready.append(Ready(letter, partition, broken))
        else:
            plan.held.append(Held(letter, broken, order=True))
            left_behind = left_behind or letter


def may_be_sent(letter: Letter) -> bool:
    """Whether it is of any use to send these bytes again."""
    return letter.reason not in HOPELESS and letter.whole and letter.key is not None


def _unfit(letter: Letter, topics: Collection[str]) -> str | None:
    """Why it cannot be sent again at all."""
    if letter.reason in HOPELESS:
        return f"{HOPELESS[letter.reason]}: it would be refused again. Mend its producer, send it anew, drop the letter"
    if not letter.whole:
        return (
            "only its beginning is kept here, as it was too large. The whole command is in its topic, at "
            f"{letter.source}: send it from there, drop the letter"
        )
    if letter.source.topic not in topics:
        return f"its topic {letter.source.topic} is none of this pipeline's: was the aggregate renamed?"
    if letter.key is None:
        return f"{HOPELESS['null-key']}: it would be refused again"
    return None


def _effect_of(letter: Letter, applied: Iterable[Applied]) -> Applied | None:
    """Under its id, whoever sent it: the events stay for ever, an aggregate's memory does not."""
    meta = command_meta_alone(letter.value or b"")
    if meta is None:
        return None
    return next((each for each in applied if each.command_id == meta.id), None)


def _broken_order(
    letters: Letters,
    letter: Letter,
    left_behind: Letter | None,
    applied: Iterable[Applied],
    pending: Iterable[Pending],
) -> Iterator[str]:
    if left_behind is not None:
        yield f"an earlier command of this id, {left_behind.place}, is not sent before it"
    done = [each for each in applied if _is_later(letters, each.source, each.time_ms, letter)]
    if done:
        last = max(each.sequence for each in done)
        yield f"{_count(done)} of this id took effect after it failed, up to sequence {last} or more"
    waiting = [each for each in pending if _is_later(letters, each.source, each.time_ms, letter)]
    if waiting:
        yield f"{_count(waiting)} of this id would come before it: not processed yet"


def _is_later(letters: Letters, other: Source, time_ms: int, letter: Letter) -> bool:
    """By where both stood first, retries or not. Commands of different partitions have no order: by the clock."""
    theirs, own = letters.origin(other), letters.origin(letter.source)
    if theirs.partition == own.partition:
        return theirs.offset > own.offset
    return time_ms > letter.time_ms


def _order(letters: Letters, letter: Letter) -> Source:
    return letters.origin(letter.source)


def _count(found: Sequence[object]) -> str:
    return "a later command" if len(found) == 1 else f"{len(found)} later commands"

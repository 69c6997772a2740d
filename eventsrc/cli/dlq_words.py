"""Which dead letters the words and options of a command mean."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from eventsrc.cli.dlq import FORMS
from eventsrc.cli.errors import UsageError
from eventsrc.cli.finding import find_aggregate
from eventsrc.engine.letters import Letter, LetterPlace, Letters, Source
from eventsrc.errors import EventsrcError
from eventsrc.model.moments import parse_instant
from eventsrc.model.names import commands_topic

if TYPE_CHECKING:
    from eventsrc.model.pipeline import Pipeline

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE = re.compile(
    r"(?:dead letter of |command of partition )?(?:(?P<of>[A-Za-z0-9._-]+)/)?(?P<partition>\d{1,9})"
    r"(?:\s*@\s*|\s+(?:at\s+)?offset\s+)(?P<offset>\d{1,18})(?=[\s,]|$)",
    re.ASCII,
)


class LetterMissing(EventsrcError):  # noqa: N818 - named as the other errors are, by what happened
    """The place that was named holds no dead letter."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What a letter must be like; None is anything. Times are inclusive milliseconds."""

    reason: str | None = None
    topic: str | None = None
    key: bytes | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    @classmethod
    def read(
        cls,
        pipeline: Pipeline,
        reason: str | None,
        aggregate: str | None,
        id: str | None,
        since: str | None,
        until: str | None,
    ) -> Filter:
        """Raises `UsageError`, `InvalidMoment`."""
        now = datetime.now(UTC)
        topic = None if aggregate is None else commands_topic(pipeline.name, find_aggregate(pipeline, aggregate).name)
        return cls(
            reason,
            topic,
            None if id is None else id.encode(errors="surrogateescape"),
            None if since is None else _milliseconds(parse_instant(since, now)),
            None if until is None else _milliseconds(parse_instant(until, now)),
        )

    def admits(self, letter: Letter) -> bool:
        return (
            self.reason in (None, letter.reason)
            and self.topic in (None, letter.source.topic)
            and self.key in (None, letter.key)
            and (self.since_ms is None or letter.time_ms >= self.since_ms)
            and (self.until_ms is None or letter.time_ms <= self.until_ms)
        )


def read_places(pipeline: Pipeline, words: Iterable[str]) -> list[LetterPlace | Source]:
    """Raises `UsageError` at what is no place."""
    text, at = " ".join(words).strip(), 0
    topics = {commands_topic(pipeline.name, name) for name in pipeline.aggregates}
    found: list[LetterPlace | Source] = []
    while at < len(text):
        match = _PLACE.match(text, at)
        if match is None:
            raise UsageError(f"{text[at:]!r} is no place of a dead letter: write {FORMS}")
        partition, offset, of = int(match["partition"]), int(match["offset"]), match["of"]
        if of is None:
            found.append(LetterPlace(partition, offset))
        else:
            topic = of if of in topics else commands_topic(pipeline.name, find_aggregate(pipeline, of).name)
            found.append(Source(topic, partition, offset))
        at = match.end()
        while at < len(text) and text[at] in " ,":
            at += 1
    return found


def find_letter(letters: Letters, place: LetterPlace | Source) -> Letter:
    """Raises `LetterMissing`."""
    if isinstance(place, Source):
        letter = letters.from_source(place)
        where = f"the command at {place} has no dead letter"
    else:
        letter = letters.by_place.get(place)
        where = f"{place} is no dead letter" + (", but a record of another program" if place in letters.foreign else "")
    if letter is None:
        raise LetterMissing(f"{where}: see eventsrc dlq list --all-states; what is older than the topic keeps is gone")
    return letter


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)

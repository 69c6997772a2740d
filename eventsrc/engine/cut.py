"""What a moment means for the partitions of a log: a cut, which is a position in each, closed under causality.

The cut is the smallest closed one that holds every event up to the moment: no command is in it by half, and where an
event is in it, so is the event that caused it. It is closed by moving later, never earlier: nothing asked for is left out.

Pure: what is read, and from where, is the runtime's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from eventsrc.codec.keys import id_in
from eventsrc.errors import InvalidMoment
from eventsrc.model.moments import AtBoundary, AtPositions, AtSequence, AtTime, Moment, Place
from eventsrc.model.position import Position
from eventsrc.model.recorded import EventMeta


class Bound(NamedTuple):
    """What a moment asks of one partition: every event up to that hybrid time, below that position, or up to that event.
    All None: to the end."""

    time_us: int | None = None
    position: Position | None = None
    event: tuple[bytes, int] | None = None


@dataclass(slots=True)
class PartitionCut:
    """One partition's part of the cut, found while its events are read in order.

    `completed`: events later than asked that finish a command begun before. `caused`: those that came in when the cut moved
    to hold a cause. `last_time`: the latest in the cut; `last_offset`: of the last. `next_time`: of the first event that is
    not. `causes`: ids of the events that those in the cut name as their cause.
    """

    bound: Bound
    completed: int = 0
    caused: int = 0
    last_time: int | None = None
    last_offset: int | None = None
    next_time: int | None = None
    causes: set[bytes] = field(default_factory=set)
    _in_the_middle: set[bytes] = field(default_factory=set)
    _past_the_event: bool = False
    _moved: bool = False

    def admits(self, offset: int, identity: bytes, sequence: int, meta: EventMeta) -> bool:
        """Whether the next event belongs to the cut. Not to be asked again once it does not: the cut is at its offset."""
        if not self._asked_for(offset, meta.time):
            if not self._in_the_middle:
                self.next_time = meta.time
                return False
            self.completed += not self._moved
        self.caused += self._moved
        if meta.index + 1 < meta.count:
            self._in_the_middle.add(identity)
        else:
            self._in_the_middle.discard(identity)
        if meta.causation_id is not None:
            self.causes.add(meta.causation_id)
        self.last_offset = offset
        if self.last_time is None or meta.time > self.last_time:
            self.last_time = meta.time
        if self.bound.event is not None and identity == self.bound.event[0] and sequence >= self.bound.event[1]:
            self._past_the_event = True
        return True

    def takes_in(self, offset: int, key: bytes, meta: EventMeta) -> bool:
        """As `admits`, for the event under that key which is known to be asked for, and was folded; False where it is not."""
        if meta.count != 1 or self._in_the_middle:
            identity = id_in(key)
            (self._in_the_middle.add if meta.index + 1 < meta.count else self._in_the_middle.discard)(identity)
        if meta.causation_id is not None:
            self.causes.add(meta.causation_id)
        self.last_offset = offset
        if self.last_time is None or meta.time > self.last_time:
            self.last_time = meta.time
        return self.bound.time_us is None or meta.time <= self.bound.time_us

    def is_passed(self, offset: int, time_us: int) -> bool:
        """For a reader that follows one id and asks of its events alone: whether an event of another id, of about that time,
        shows that none of them can follow."""
        return not self._in_the_middle and not self._asked_for(offset, time_us)

    def move(self, position: Position) -> None:
        """From the event that was refused on, asks for everything below that position: an event there is a cause."""
        self.bound, self.next_time, self._moved = Bound(position=position), None, True

    def _asked_for(self, offset: int, time_us: int) -> bool:
        bound = self.bound
        if bound.time_us is not None:
            return time_us <= bound.time_us
        if bound.position is not None:
            return offset < bound.position
        return not self._past_the_event


def bounds_of(
    moment: Moment, aggregates: Mapping[str, int], identity: tuple[str, int, bytes] | None
) -> dict[Place, Bound]:
    """What the moment asks of each partition. `aggregates`: those of the pipeline with their partition counts;
    `identity`: aggregate, partition number and id where one alone is asked for. Raises `InvalidMoment`."""
    places = [Place(name, number) for name, count in aggregates.items() for number in range(count)]
    if identity is not None:
        places = [Place(identity[0], identity[1])]
    if isinstance(moment, AtTime):
        return dict.fromkeys(places, Bound(time_us=moment.time_us))
    if isinstance(moment, AtBoundary):
        return dict.fromkeys(places, Bound(position=Position(0)) if moment.which == "start" else Bound())
    if isinstance(moment, AtSequence):
        if identity is None:
            raise InvalidMoment(f"{moment} is a sequence of one aggregate: name it, with --aggregate and --id")
        return {places[0]: Bound(event=(identity[2], moment.sequence))}
    named = _named_positions(moment, aggregates)
    if identity is not None and places[0] not in named:
        text = identity[2].decode(errors="backslashreplace")
        raise InvalidMoment(f"{moment} does not name {places[0]}, where {identity[0]} {text} lies")
    return {place: Bound(position=named.get(place)) for place in places}


def _named_positions(moment: AtPositions, aggregates: Mapping[str, int]) -> dict[Place, Position]:
    found: dict[Place, Position] = {}
    for place, position in moment.positions.items():
        aggregate = place.aggregate
        if aggregate is None:
            if len(aggregates) != 1:
                first = next(iter(aggregates))
                raise InvalidMoment(
                    f"{moment} does not say of which aggregate p{place.partition} is: write "
                    f"@{first}/{place.partition}:{position} (there are {', '.join(aggregates)})"
                )
            aggregate = next(iter(aggregates))
        if aggregate not in aggregates:
            raise InvalidMoment(
                f"{moment} names {aggregate}, which is no aggregate here: there are {', '.join(aggregates)}"
            )
        if place.partition >= aggregates[aggregate]:
            raise InvalidMoment(
                f"{moment} names partition {place.partition} of {aggregate}, which has {aggregates[aggregate]}, from 0 on"
            )
        full = Place(aggregate, place.partition)
        if full in found:
            raise InvalidMoment(f"{moment} names {full} twice")
        found[full] = Position(position)
    return found


def check_within(place: Place, bound: Bound, start: int, end: int) -> None:
    """Raises `InvalidMoment` for a position that the partition's log, from start to end, does not have. 0 is before any."""
    position = bound.position
    if position is None or position == 0:
        return
    if position > end:
        raise InvalidMoment(f"{place}:{position} is above what is committed: {place} ends at {end}")
    if position < start:
        raise InvalidMoment(f"{place}:{position} is below the log: {place} begins at {start}")

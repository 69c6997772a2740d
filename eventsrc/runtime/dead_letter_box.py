"""What an operator does with dead letters: look at them, plan a retry, carry it out or drop them, in order and once.

Owns the order of the steps. What may be retried is `engine.retrying`'s; that it happens once is the adapter's.
"""

from __future__ import annotations

import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from types import FrameType

from confluent_kafka import murmur2

from eventsrc.adapters.kafka.dead_letter_writer import Act, DeadLetterWriter
from eventsrc.adapters.kafka.decided_ends import require_decided
from eventsrc.adapters.kafka.group_offsets import GroupOffsetsReader
from eventsrc.adapters.kafka.history import HistoryReader
from eventsrc.adapters.kafka.log_reader import LogReader, TopicPlace
from eventsrc.adapters.kafka.topics import dead_letter_message_bytes
from eventsrc.codec.framing import prefix_of
from eventsrc.codec.keys import is_control_key, parse_event_key
from eventsrc.engine.letters import Action, Audit, LetterPlace, Letters, Source
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.retrying import Applied, Meanwhile, Pending, Ready, RetryPlan, Subject, plan_retry
from eventsrc.model.names import commands_topic, dead_letter_topic, events_topic
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.position import Position
from eventsrc.runtime.catalogs import open_catalog
from eventsrc.runtime.settings import Settings

CHUNK_LETTERS = 100
CHUNK_BYTES = 4_000_000
_RECORDS_BETWEEN_LOOKS = 500

Progress = Callable[[int, int], object]
"""Is told how many offsets of how many have been read."""


class DeadLetterBox:
    """One pipeline's. Everything raises `Unreachable` and `TopicsInvalid`."""

    def __init__(self, pipeline: Pipeline, settings: Settings) -> None:
        self._pipeline, self._settings = pipeline, settings
        self._servers = settings.require_bootstrap_servers()
        self._topic = dead_letter_topic(pipeline.name)
        self._writer: DeadLetterWriter | None = None

    def take(self) -> None:
        """From now on nobody else handles letters of this group: whoever was at it is ended, and what it did is decided.
        Read the letters after this."""
        self._writer = DeadLetterWriter(
            self._topic,
            self._pipeline.settings.group_id,
            dead_letter_message_bytes(self._pipeline.settings),
            self._servers,
            self._settings.kafka,
        )

    def letters(self) -> Letters:
        """All that was written before this moment, whatever transactions stand open in between."""
        letters = Letters()
        with HistoryReader(self._servers, self._settings.kafka) as reader:
            places = [TopicPlace(self._topic, number) for number in range(reader.partition_count(self._topic))]
            require_decided(places, self._servers, self._settings.kafka)
            for place in places:
                for message in reader.messages(*place):
                    at = LetterPlace(place.partition, message.offset() or 0)
                    try:
                        headers = message.headers()
                    except Exception:  # noqa: BLE001 - the client library fails on a name that is not UTF-8
                        headers = None
                    letters.feed(at, message.timestamp()[1], message.key(), message.value(), headers)  # type: ignore[arg-type]  # bytes, as consumed
        return letters

    def plan(
        self,
        letters: Letters,
        selected: Collection[LetterPlace],
        *,
        out_of_order: bool,
        progress: Progress | None = None,
    ) -> RetryPlan:
        """Reads what has become of the selected letters' aggregates since: their events, and the commands that wait. Raises
        `UnknownSchema`, `DecodingError` where one of those events cannot be read."""
        topics = {commands_topic(self._pipeline.name, name): name for name in self._pipeline.aggregates}
        subjects = {
            Subject(letter.source.topic, letter.key)
            for letter in letters.waiting()
            if letter.place in selected and letter.source.topic in topics and letter.key is not None
        }
        return plan_retry(
            letters,
            selected,
            self._meanwhile(subjects, topics, progress),
            topics,
            self._partition_of,
            out_of_order=out_of_order,
        )

    def carry_out(
        self,
        letters: Letters,
        action: Action,
        todo: Sequence[Ready],
        by: str,
        why: str,
        done: Callable[[Audit], object],
    ) -> None:
        """Sends each again, or drops it, in this order. `done` is told of each once it is committed. Raises what the writer
        raises; KeyboardInterrupt between two transactions, never within one."""
        if self._writer is None:
            raise AssertionError("take() comes first, then the letters are read")
        with interrupts_between_steps() as check:
            for chunk in _chunks(todo):
                check()
                at = datetime.now(UTC)
                acts: list[Act] = [
                    (
                        letter,
                        Audit(letter.place, action, by, at, why, letters.origin(letter.source)),
                        partition if action == "retried" else None,
                    )
                    for letter, partition, _ in chunk
                ]
                for audit in self._writer.carry_out(acts):
                    done(audit)

    def __enter__(self) -> DeadLetterBox:
        return self

    def __exit__(self, *ended: object) -> None:
        if self._writer is not None:
            self._writer.close()

    # ---- what has happened since

    def _partition_of(self, key: bytes) -> int:
        return murmur2(key, self._pipeline.settings.partitions)

    def _meanwhile(self, subjects: set[Subject], topics: Mapping[str, str], progress: Progress | None) -> Meanwhile:
        if not subjects:
            return Meanwhile()
        keys = {PartitionKey(topics[topic], self._partition_of(key)) for topic, key in subjects}
        committed = self._committed(keys)  # before the events are read: what is below it and had effect is among them
        events = {self._place(key, events_topic): key for key in keys}
        commands = {self._place(key, commands_topic): key for key in keys}
        ends = require_decided([*events, *commands], self._servers, self._settings.kafka)
        with LogReader(self._servers, self._settings.kafka) as reader:
            starts = {place: reader.bounds(place).start for place in ends}
            for place, key in commands.items():
                starts[place] = max(starts[place], committed.get(key, Position(0)))
            for place, end in ends.items():
                reader.start(place, starts[place], end)
            return self._read(reader, subjects, events, starts, ends, progress)

    def _read(
        self,
        reader: LogReader,
        subjects: set[Subject],
        events: Mapping[TopicPlace, PartitionKey],
        starts: Mapping[TopicPlace, Position],
        ends: Mapping[TopicPlace, Position],
        progress: Progress | None,
    ) -> Meanwhile:
        applied: dict[Subject, list[Applied]] = defaultdict(list)
        pending: dict[Subject, list[Pending]] = defaultdict(list)
        terms: dict[TopicPlace, int] = {}
        catalog = open_catalog(self._pipeline, self._settings)
        total = sum(max(ends[place] - starts[place], 0) for place in ends)
        for number, (place, offset, key, value, time_ms) in enumerate(reader.records()):
            if progress is not None and number % _RECORDS_BETWEEN_LOOKS == 0:
                progress(number, total)
            of_events = events.get(place)
            if of_events is None:
                subject = Subject(place.topic, key or b"")
                if subject in subjects:
                    pending[subject].append(Pending(Source(*place, offset), time_ms))
                continue
            if key is not None and is_control_key(key):
                terms[place] = offset
                continue
            parsed = parse_event_key(key or b"")
            subject = Subject(commands_topic(self._pipeline.name, of_events.aggregate), parsed[0] if parsed else b"")
            if parsed is None or value is None or subject not in subjects or parsed[2] < terms.get(place, 0):
                continue  # of a deposed owner: it has no effect
            aggregate = self._pipeline.aggregates[of_events.aggregate]
            meta = catalog.event_reader(aggregate, prefix_of(value))(value)[0]
            if meta.index == 0:
                source = Source(subject.topic, place.partition, meta.source_offset)
                applied[subject].append(Applied(source, meta.command_id, parsed[1], time_ms))
        return Meanwhile(applied, pending)

    def _committed(self, keys: Collection[PartitionKey]) -> dict[PartitionKey, Position]:
        reader = GroupOffsetsReader(
            self._pipeline.name,
            {key.aggregate for key in keys},
            self._pipeline.settings.group_id,
            self._servers,
            self._settings.kafka,
        )
        with closing(reader):
            found = reader.read().partitions
        return {key: Position(found[key].committed or 0) for key in keys if key in found}

    def _place(self, key: PartitionKey, topic: Callable[[str, str], str]) -> TopicPlace:
        return TopicPlace(topic(self._pipeline.name, key.aggregate), key.number)


def _chunks(todo: Sequence[Ready]) -> Iterator[list[Ready]]:
    """As much as one transaction takes."""
    chunk: list[Ready] = []
    size = 0
    for each in todo:
        length = len(each.letter.key or b"") + len(each.letter.value or b"")
        if chunk and (len(chunk) >= CHUNK_LETTERS or size + length > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(each)
        size += length
    if chunk:
        yield chunk


@contextmanager
def interrupts_between_steps() -> Iterator[Callable[[], None]]:
    """A first SIGINT or SIGTERM is kept until the step is done: what is yielded raises KeyboardInterrupt then, and so does
    the end. A second one raises at once. Elsewhere than on the main thread, nothing changes."""
    asked = False

    def keep(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = {number: signal.signal(number, keep) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    check()

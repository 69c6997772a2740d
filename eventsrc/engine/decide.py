"""The hot path: commands of one partition -> events, answers, dead letters, and the way back.

Per command: decode, find the aggregate, skip it if remembered, `handle`, encode, `apply`. Pure: the only inputs are
the records, the partition's state and the clock readings passed in. A handler's failure concerns its own command
alone: the aggregate returns to its pre-image, the command is retried in place, then dead-lettered, and the rest of
the batch goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eventsrc.engine.batch import Answer, Batch, OutputRecord
from eventsrc.engine.compiled import CompiledCommand, payload_hash
from eventsrc.engine.dead_letters import Refused, dead_letter
from eventsrc.engine.memory import recall, remember
from eventsrc.engine.partition import Partition, UnknownSchemaHere
from eventsrc.engine.preimage import PreImage
from eventsrc.engine.records import ConsumedRecord
from eventsrc.errors import DecodingError, InvalidCommand, NotThisKind, Rejected, UnknownSchema
from eventsrc.model.identity import is_aggregate_id
from eventsrc.model.position import Offset, Position
from eventsrc.model.recorded import CommandMeta, Context, EventMeta, Recorded

logger = logging.getLogger("eventsrc.engine")


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is full, and what is refused."""

    records: int = 1000
    output_bytes: int = 4_000_000
    handler_attempts: int = 3
    max_command_bytes: int = 900_000
    max_event_bytes: int = 900_000
    purity_sample: int = 1000


@dataclass(slots=True)
class Surroundings:
    """What deciding needs of the world, passed in: topic names, the partitioner, schemas given up on."""

    commands_topic: Callable[[str], str]
    partition_of: Callable[[bytes, int], int]
    given_up: set[bytes] = field(default_factory=set)
    isolated: set[tuple[str, int, int]] = field(default_factory=set)
    """(aggregate, partition, offset) of commands that killed the process too often: never decoded again."""
    purity_countdown: int = 1


class SectionDecider:
    """Decides commands of one partition into one batch. Short-lived: one per partition and batch."""

    def __init__(
        self, partition: Partition, batch: Batch, limits: Limits, surroundings: Surroundings, now_us: int
    ) -> None:
        self._partition = partition
        self._batch = batch
        self._section = batch.sections.get(partition.key) or partition.section()
        self._limits = limits
        self._surroundings = surroundings
        self._compiled = compiled = partition.compiled
        self._live = partition.live
        self._kinds = compiled.events
        self._capture = compiled.capture
        self._output = self._section.records
        self._undo = self._section.undo
        self._answers = batch.answers
        self._time = max(partition.clock.last_us, now_us - 1)
        self._term = b"#%d" % partition.term
        self._keep = compiled.type.deduplicate

    def run(self, records: Sequence[ConsumedRecord], clock_s: Callable[[], float], deadline_s: float) -> int:
        """Decide records in order; returns how many were taken.

        Stops when the batch is full or its time is over, and at a command whose schema is not known
        (`partition.waiting_for`). A record below the partition's position was fetched before a rewind: skipped.
        """
        partition, batch, limits = self._partition, self._batch, self._limits
        room = limits.records - batch.commands
        taken = skipped = 0
        for record in records:
            if taken - skipped >= room or batch.output_bytes >= limits.output_bytes or clock_s() > deadline_s:
                break
            offset = record.offset()
            if offset is None or offset < partition.position:
                skipped += 1
            else:
                self._take(record, offset)
                if partition.waiting_for is not None:
                    break
                partition.position = Position(offset + 1)
            taken += 1
        self._close(taken - skipped)
        return taken

    def _close(self, commands: int) -> None:
        if not commands:
            return
        self._section.position = self._partition.position
        self._batch.sections[self._partition.key] = self._section
        self._batch.commands += commands
        self._partition.clock.merge(self._time)

    def _take(self, record: ConsumedRecord, offset: int) -> None:
        key, value = record.key(), record.value()
        try:
            instance = self._live.get(key)
            if instance is None:
                instance = self._admit(key)
            if value is None or len(value) > self._limits.max_command_bytes:
                raise _unfit(value, self._limits)
            how = self._compiled.commands.get(value[:10])
            if how is None:
                how = self._find(record, value, offset)
                if how is None:
                    return
            if self._surroundings.isolated and (*self._partition.key, offset) in self._surroundings.isolated:
                raise Refused("handler-failed", "deciding this command ended the process; it was set aside")
            meta, body_start, command = how.read(value)
            memory = instance._eventsrc_memory
            if meta[0] in memory and self._repeated(memory, meta, how, value, body_start):
                return
            if how.validate is not None:
                how.validate(command)
            self._execute(record, instance, how, meta, body_start, command)
        except Refused as refusal:
            self._bury(record, refusal)
        except NotThisKind as other:
            self._bury(record, Refused("not-a-command", str(other)))
        except DecodingError as unreadable:
            self._bury(record, Refused("undecodable", str(unreadable)))
        except InvalidCommand as broken:
            self._bury(record, Refused("constraint", str(broken)))

    def _admit(self, key: bytes | None) -> Any:
        """A new instance for an id not seen yet; it becomes live with its first event."""
        if key is None:
            raise Refused("null-key", "a command's key is its aggregate's id")
        if not is_aggregate_id(key):
            raise Refused("bad-id", "an id is 1-255 bytes of UTF-8 without NUL")
        partition = self._partition
        right = self._surroundings.partition_of(key, partition.partition_count)
        if right != partition.key.number:
            raise Refused("wrong-partition", f"this id belongs to partition {right} (murmur2, as Java's default)")
        return self._compiled.new(key)

    def _find(self, record: ConsumedRecord, value: bytes, offset: int) -> CompiledCommand | None:
        """The way to decide a kind of command met for the first time; None where the partition must wait."""
        try:
            return self._compiled.command(value)
        except UnknownSchema as unknown:
            if unknown.fingerprint in self._surroundings.given_up:
                raise Refused("unknown-schema", str(unknown)) from unknown
            self._partition.waiting_for = UnknownSchemaHere(Offset(offset), unknown.fingerprint)
            return None

    def _repeated(self, memory: bytes, meta: CommandMeta, how: CompiledCommand, value: bytes, body_start: int) -> bool:
        """Answer a command that took effect before; False if it did not (sixteen bytes matched by chance)."""
        known = recall(memory, meta[0])
        if known is None:
            return False
        self._partition.counts.duplicate += 1
        same = known.payload_hash == payload_hash(value, body_start, how.hash_seed)
        self._answer(meta, "duplicate" if same else "conflict", known.sequence)
        return True

    def _execute(
        self,
        record: ConsumedRecord,
        instance: Any,
        how: CompiledCommand,
        meta: CommandMeta,
        body_start: int,
        command: Any,
    ) -> None:
        before = self._capture(instance)
        mark, attempt = len(self._output), 1
        while True:
            try:
                if how.wants_context:
                    decided = how.handle(instance, command, _context(record, meta))
                else:
                    decided = how.handle(instance, command)
                self._surroundings.purity_countdown -= 1
                if self._surroundings.purity_countdown <= 0:
                    self._check_purity(instance, before, command)
                if decided is None:
                    self._partition.counts.empty += 1
                    self._answer(meta, "ok", before[-2])
                else:
                    events = (decided,) if type(decided) in self._kinds else tuple(decided)
                    self._emit(
                        record, instance, before, meta, payload_hash(record.value(), body_start, how.hash_seed), events
                    )
                return
            except Rejected as rejection:
                self._compiled.restore(instance, before)
                self._partition.counts.rejected += 1
                self._answer(meta, "rejected", before[-2], rejection.reason, rejection.details)
                return
            except Exception as failure:
                self._compiled.restore(instance, before)
                del self._output[mark:]
                if attempt >= self._limits.handler_attempts:
                    raise Refused.by_failure(failure, attempt) from failure
                attempt += 1
                command = how.read(record.value())[2]  # the failed attempt may have changed it

    def _emit(
        self,
        record: ConsumedRecord,
        instance: Any,
        before: PreImage,
        meta: CommandMeta,
        hashed: bytes,
        events: Sequence[Any],
    ) -> None:
        key: bytes = record.key()
        offset = record.offset() or 0
        count, size = len(events), 0
        if not count:
            self._partition.counts.empty += 1
            self._answer(meta, "ok", before[-2])
            return
        time, sequence = self._time, before[-2]
        encoded_events = []
        for index, event in enumerate(events):
            kind = self._kinds.get(type(event))
            if kind is None:
                raise TypeError(f"returned {type(event).__name__}, which no @apply method takes")
            time += 1
            sequence += 1
            encoded = kind.write(meta[0], meta[1], meta[2], offset, index, count, time, hashed, event)
            if len(encoded) > self._limits.max_event_bytes:
                raise ValueError(
                    f"event {type(event).__name__} takes {len(encoded)} bytes; at most {self._limits.max_event_bytes} fit"
                )
            instance._eventsrc_sequence = sequence
            if kind.reread is not None:
                event = kind.reread(encoded)[1]
            if kind.wants_recorded:
                stored = EventMeta(meta[0], meta[1], meta[2], offset, index, count, time, hashed)
                kind.apply(instance, event, Recorded(event, sequence, None, stored))
            else:
                kind.apply(instance, event)
            self._output.append(OutputRecord(b"%b@%d%b" % (key, sequence, self._term), encoded, time // 1000))
            encoded_events.append(encoded)
            size += len(encoded)
        self._time = time
        instance._eventsrc_memory = remember(before[-1], self._keep, meta[0], sequence, time, count, hashed)
        if key not in self._undo:
            self._undo[key] = (instance, before if key in self._live else None)
            self._live[key] = instance
        self._batch.output_bytes += size
        self._partition.counts.applied += 1
        if meta[4] is not None:
            self._answers.append(Answer(meta[4], meta[0], "ok", sequence, tuple(encoded_events), None, {}))

    def _answer(
        self,
        meta: CommandMeta,
        status: str,
        sequence: int,
        reason: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        if meta[4] is not None:
            self._answers.append(Answer(meta[4], meta[0], status, sequence, (), reason, details or {}))

    def _bury(self, record: ConsumedRecord, refusal: Refused) -> None:
        """Dead-letter the command in this very transaction, and tell the caller where it is known who asked."""
        partition = self._partition
        topic = self._surroundings.commands_topic(partition.key.aggregate)
        self._section.dead_letters.append(dead_letter(record, topic, refusal))
        partition.counts.dead += 1
        logger.warning(
            "dead letter: %s, command at %s/%d offset %s: %s",
            refusal.reason,
            topic,
            partition.key.number,
            record.offset(),
            refusal,
        )
        meta = refusal.meta_of(record, self._compiled)
        if meta is not None:
            instance = self._live.get(record.key())
            sequence = instance._eventsrc_sequence if instance is not None else 0
            details = {
                "topic": topic,
                "partition": partition.key.number,
                "offset": record.offset(),
                "message": str(refusal),
            }
            self._answer(meta, "failed", sequence, refusal.reason, details)

    def _check_purity(self, instance: Any, before: PreImage, command: Any) -> None:
        """Sampled: a handler that changes the state itself would make memory and log part ways."""
        self._surroundings.purity_countdown = self._limits.purity_sample
        if self._capture(instance) == before:
            return
        self._surroundings.purity_countdown = 0  # look at the next attempt too
        raise TypeError(
            f"the handler of {type(command).__name__} in {type(instance).__name__} changed the aggregate's state; "
            "a handler decides and returns events, only an @apply method changes state"
        )


def _context(record: ConsumedRecord, meta: CommandMeta) -> Context:
    seed = b"%b\x00%b\x00%d" % (meta[0], record.key(), record.offset() or 0)
    return Context(record.timestamp()[1], meta[0], meta[1], meta[2], seed)


def _unfit(value: bytes | None, limits: Limits) -> Refused:
    if value is None:
        return Refused("null-value", "a command record without a value")
    return Refused("oversize", f"{len(value)} bytes; max_command_bytes is {limits.max_command_bytes}")

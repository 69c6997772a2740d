"""The hot path: commands of one partition -> events, answers, dead letters, and the way back.

Per command: decode, find the aggregate, skip it if remembered, `handle`, encode, `apply`. Pure: the only inputs are
the records, the partition's state and the clock readings passed in. A handler's failure concerns its own command
alone: the aggregate returns to its pre-image, the command is retried in place, then dead-lettered, and the rest of
the batch goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xxhash import xxh3_64_digest

from eventsrc.codec.control import ReplyStatus
from eventsrc.codec.framing import parse_prefix
from eventsrc.engine.batch import Answer, Batch
from eventsrc.engine.compiled import CompiledCommand, payload_hash
from eventsrc.engine.dead_letters import Refused, dead_letter
from eventsrc.engine.known_ids import LONG_BYTES, has_remembered, holds
from eventsrc.engine.memory import (
    EARLIER,
    ENTRY_BYTES,
    LIMIT_BYTES,
    MOMENT_SHIFT,
    MOMENTS,
    WINDOW_US,
    forget,
    oldest_moment,
    pack_entry,
    recall,
)
from eventsrc.engine.partition import CommandPlace, Partition, UnknownSchemaHere
from eventsrc.engine.preimage import PreImage
from eventsrc.engine.records import ConsumedRecord
from eventsrc.errors import EncodingError, EventsrcError, InvalidSchema, Rejected, SnapshotDamaged, UnknownSchema
from eventsrc.model.identity import is_aggregate_id
from eventsrc.model.position import Offset, Position
from eventsrc.model.recorded import Context, EventMeta, Recorded

ENDED_THE_PROCESS = "deciding this command ended the process; it was set aside"


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is full, and what is refused."""

    records: int = 2000
    output_bytes: int = 4_000_000
    handler_attempts: int = 3
    max_command_bytes: int = 900_000
    max_event_bytes: int = 900_000
    max_dead_letter_bytes: int = 1_048_588
    """Of key and value together; what a dead letter adds comes on top."""
    purity_sample: int = 1000


@dataclass(slots=True)
class Surroundings:
    """What deciding needs of the world, passed in: topic names, the partitioner, schemas given up on."""

    commands_topic: Callable[[str], str]
    partition_of: Callable[[bytes, int], int]
    given_up: set[bytes] = field(default_factory=set)
    isolated: dict[CommandPlace, str] = field(default_factory=dict)
    """Commands that killed the process, or outlived its membership, too often, with the words for it: never decoded again."""
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
        self._compiled = partition.compiled
        self._live = partition.live
        self._answers = batch.answers
        self._answers_before = len(batch.answers)
        self._time = partition.clock.before(now_us)
        self._until_purity_check = surroundings.purity_countdown

    def run(self, records: Sequence[ConsumedRecord], clock_s: Callable[[], float], deadline_s: float) -> int:
        """Decide records in order; returns how many were taken.

        Stops when the batch is full or its time is over, and at a command whose schema is not known
        (`partition.waiting_for`). A record below the partition's position was fetched before a rewind: skipped.
        Raises SnapshotDamaged: then call `take_back`.
        """
        partition, batch, limits = self._partition, self._batch, self._limits
        room, start = limits.records - batch.commands, partition.position
        index = next((i for i, record in enumerate(records) if (record.offset() or 0) >= start), len(records))
        decided = self._decide_all(
            records[index : index + room] if index or room < len(records) else records, clock_s, deadline_s
        )
        if decided:
            self._section.position = partition.position
            batch.sections[partition.key] = self._section
            batch.commands += decided
            partition.clock.merge(self._time)
        self._surroundings.purity_countdown = self._until_purity_check
        return index + decided

    def take_back(self) -> None:
        """Undo what a `run` that raised had decided."""
        self._partition.take_back(self._section)
        self._batch.sections.pop(self._partition.key, None)
        del self._answers[self._answers_before :]

    def _decide_all(
        self, records: Sequence[ConsumedRecord], clock_s: Callable[[], float], deadline_s: float, attempt: int = 1
    ) -> int:
        # One function, in line and on local names: cut into methods it takes a third longer per command. What is rare
        # (a new id, a refusal, a failure) is a method; a failed command is tried again by calling this with it alone.
        partition, batch, limits, surroundings = self._partition, self._batch, self._limits, self._surroundings
        compiled, live, counts = self._compiled, self._live, partition.counts
        commands, kinds = compiled.commands, compiled.events
        capture, check_state = compiled.capture, compiled.check_state
        output, undo = self._section.records, self._section.undo
        max_event_bytes, max_command_bytes = limits.max_event_bytes, limits.max_command_bytes
        term, keep, isolated = b"#%d" % partition.term, compiled.type.deduplicate, surroundings.isolated
        full = keep * ENTRY_BYTES
        # a command that was begun is brought to its end, however full or late the batch is by then
        room_bytes = limits.output_bytes - batch.output_bytes if attempt == 1 else math.inf
        time, until_purity_check = self._time, self._until_purity_check
        size = done = applied = last = 0
        for record in records:
            if (size >= room_bytes or clock_s() > deadline_s) and batch.commands + done:
                break  # whatever the limits are, a batch takes one command
            offset, key, value = record.offset() or 0, record.key(), record.value()
            before: PreImage = ()
            mark, mark_size = len(output), size
            applying = again = new = False
            try:
                instance: Any = live.get(key)
                if instance is None:
                    instance = self._admit(key)
                    new = key not in live
                if value is None or len(value) > max_command_bytes:
                    raise _unfit(value, limits)
                if isolated:
                    self._refuse_isolated(offset)
                how = commands.get(value[:10]) or commands.get(value[:5])  # the second: a registry's framing
                if how is None:
                    how = self._find(value, offset)
                    if how is None:
                        break
                read, handle, wants_context, validate, seed = how
                command_id, correlation_id, causation_id, reply, body_start, command = read(value)
                memory = instance._eventsrc_memory
                # not `in`: for bytes it first raises and drops a TypeError; and backwards it is thrice as fast
                found = (
                    memory.rfind(command_id) >= 0 if len(memory) < LONG_BYTES else holds(instance, memory, command_id)
                )
                if not found or not self._repeated(instance, command_id, reply, payload_hash(value, body_start, seed)):
                    if validate is not None:
                        validate(command)
                    until_purity_check -= 1
                    before = capture(instance) if until_purity_check > 0 else self._capture_anew(instance)
                    if wants_context:
                        decided = handle(instance, command, _context(record, command_id, correlation_id, causation_id))
                    else:
                        decided = handle(instance, command)
                    events: Sequence[Any]
                    if type(decided) in kinds:
                        events, total = (decided,), 1
                    else:
                        events = () if decided is None else _listed(decided)
                        total = len(events)
                    if until_purity_check <= 0:  # after a generator has run
                        # where it fails, it stays due: the next attempt is looked at too
                        self._check_purity(instance, before, command)
                        until_purity_check = limits.purity_sample
                    sequence, at = before[-2], time
                    index, applying = 0, True
                    if total:
                        hashed = xxh3_64_digest(value[body_start:], seed)
                        for event in events:
                            kind = kinds.get(type(event))
                            if kind is None:
                                raise TypeError(f"returned {type(event).__name__}, which no @apply method takes")
                            write, apply, wants_recorded, reread = kind
                            at += 1
                            sequence += 1
                            encoded = write(
                                command_id, correlation_id, causation_id, offset, index, total, at, hashed, event
                            )
                            written = len(encoded)
                            if written > max_event_bytes:
                                raise _too_large(event, written, max_event_bytes)
                            instance._eventsrc_sequence = sequence
                            if reread is not None:
                                event = reread(encoded)[1]
                            if wants_recorded:
                                stored = EventMeta(
                                    command_id, correlation_id, causation_id, offset, index, total, at, hashed
                                )
                                apply(instance, event, Recorded(event, sequence, None, stored))
                            else:
                                apply(instance, event)
                            output.append((key + b"@%d" % sequence + term, encoded, at // 1000))
                            size += written
                            index += 1
                        check_state(instance)
                        time = at
                        if len(memory) >= full and (
                            oldest_moment(memory)[0] - (at - WINDOW_US >> MOMENT_SHIFT) & EARLIER
                            or len(memory) >= LIMIT_BYTES
                        ):
                            memory = forget(memory, keep, at)
                            if len(memory) < LONG_BYTES:
                                instance._eventsrc_known = None
                        instance._eventsrc_memory = memory + pack_entry(
                            command_id, at >> MOMENT_SHIFT & MOMENTS, total, hashed
                        )
                        if len(memory) >= LONG_BYTES:
                            has_remembered(instance, command_id)
                        if new:
                            undo[key], live[key] = (instance, None), instance
                            self._section.created += 1
                        elif key not in undo:
                            undo[key] = (instance, before)
                        applied += 1
                    else:
                        counts.empty += 1
                    if reply is not None:
                        bodies = tuple(each[1] for each in output[mark:])
                        self._answers.append(Answer(reply, command_id, "ok", sequence, bodies, None, {}))
            except BaseException as failure:
                # a handler that calls sys.exit(): no signal raises here, the worker's handlers only set an event
                if before:  # the handler was called
                    compiled.restore(instance, before)
                    del output[mark:]
                    size = mark_size
                    if isinstance(failure, Rejected) and not applying:  # an @apply method cannot reject: it failed
                        counts.rejected += 1
                        self._answer(command_id, reply, "rejected", before[-2], failure.reason, failure.details)
                    elif attempt < limits.handler_attempts:
                        again = True
                    else:
                        self._bury(record, Refused.by_handler(failure, attempt), (command_id, reply))
                elif isinstance(failure, SnapshotDamaged):
                    raise  # nothing is known of this aggregate: its command is not to blame
                else:
                    self._bury(record, Refused.by_reading(failure))
            if again:
                # From the bytes: the failed attempt may have changed the command. Outside the handling of its failure,
                # or each attempt's traceback would hold all those before it.
                self._time, self._until_purity_check = time, until_purity_check
                if not self._decide_all((record,), clock_s, math.inf, attempt + 1):
                    raise AssertionError("a command was neither decided nor set aside")
                time, until_purity_check = self._time, self._until_purity_check
                room_bytes = limits.output_bytes - batch.output_bytes  # what the attempt made is in the batch already
            done += 1
            last = offset
        if done:
            partition.position = Position(last + 1)
        self._time, self._until_purity_check = time, until_purity_check
        batch.output_bytes += size
        counts.applied += applied
        return done

    def _refuse_isolated(self, offset: int) -> None:
        why = self._surroundings.isolated.get((*self._partition.key, offset))
        if why is not None:
            raise Refused("handler-failed", why, deadly=True)

    def _admit(self, key: bytes | None) -> Any:
        """The instance of an id that is not live: as it was stored, or a new one, which becomes live with its first event."""
        if key is None:
            raise Refused("null-key", "a command's key is its aggregate's id")
        if not is_aggregate_id(key):
            raise Refused("bad-id", "an id is 1-255 bytes of UTF-8 without NUL")
        partition = self._partition
        right = self._surroundings.partition_of(key, partition.partition_count)
        if right != partition.key.number:
            raise Refused("wrong-partition", f"this id belongs to partition {right} (murmur2, as Java's default)")
        stored = partition.states.hydrate(key)
        return stored if stored is not None else self._compiled.new(key)

    def _find(self, value: bytes, offset: int) -> CompiledCommand | None:
        """The way to decide a kind of command met for the first time; None where the partition must wait."""
        why: EventsrcError
        try:
            return self._compiled.command(value)
        except UnknownSchema as unknown:
            fingerprint, why = unknown.fingerprint, unknown
        except InvalidSchema as damaged:  # its file is on its way here, or was edited: the command is not to blame
            fingerprint, why = parse_prefix(value), damaged
        if fingerprint in self._surroundings.given_up:
            raise Refused("unknown-schema", str(why)) from why
        self._partition.waiting_for = UnknownSchemaHere(Offset(offset), fingerprint)
        return None

    def _repeated(self, instance: Any, command_id: bytes, reply: int | None, hashed: bytes) -> bool:
        """Answer a command that took effect before; False if it did not (sixteen bytes matched by chance)."""
        known = recall(instance._eventsrc_memory, command_id, instance._eventsrc_sequence)
        if known is None:
            return False
        self._partition.counts.duplicate += 1
        same = known.payload_hash == hashed
        self._answer(command_id, reply, "duplicate" if same else "conflict", known.sequence)
        return True

    def _answer(
        self,
        command_id: bytes,
        reply: int | None,
        status: ReplyStatus,
        sequence: int,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        if reply is not None:
            self._answers.append(Answer(reply, command_id, status, sequence, (), reason, details or {}))

    def _bury(self, record: ConsumedRecord, refusal: Refused, caller: tuple[bytes, int | None] | None = None) -> None:
        """Dead-letter the command in this very transaction, and tell the caller where it is known who asked: the command's id
        and where to answer, if they have been read."""
        partition = self._partition
        topic = self._surroundings.commands_topic(partition.key.aggregate)
        if not self._section.dead_letters:
            self._section.first_refusal = f"{refusal.reason}: {refusal}"
        self._section.dead_letters.append(dead_letter(record, topic, refusal, self._limits.max_dead_letter_bytes))
        partition.counts.dead += 1
        if caller is None:
            meta = refusal.meta_of(record, self._compiled)
            caller = (meta.id, meta.reply_partition) if meta is not None else (b"", None)
        command_id, reply = caller
        if reply is not None:
            instance = self._live.get(record.key())
            sequence = instance._eventsrc_sequence if instance is not None else 0
            place = f"dead letter of {topic}/{partition.key.number} offset {record.offset()}"
            details = {"message": str(refusal), "dead_letter": place}
            self._answer(command_id, reply, "failed", sequence, refusal.reason, details)

    def _capture_anew(self, instance: Any) -> PreImage:
        """Of the state as it is, not to blame this handler for what another, which was not looked at, has changed; if that was to
        what cannot be encoded, it is taken back."""
        compiled = self._compiled
        try:
            return compiled.capture_anew(instance)
        except EncodingError:
            compiled.restore(instance, compiled.capture(instance))
            return compiled.capture_anew(instance)

    def _check_purity(self, instance: Any, before: PreImage, command: Any) -> None:
        """Sampled: a handler that changes the state itself would make memory and log part ways."""
        if self._compiled.capture_anew(instance) == before:
            return
        raise TypeError(
            f"the handler of {type(command).__name__} in {type(instance).__name__} changed the aggregate's state; "
            "a handler decides and returns events, only an @apply method changes state"
        )


def _context(
    record: ConsumedRecord, command_id: bytes, correlation_id: bytes | None, causation_id: bytes | None
) -> Context:
    seed = b"%b\x00%b\x00%d" % (command_id, record.key(), record.offset() or 0)
    return Context(record.timestamp()[1], command_id, correlation_id, causation_id, seed)


def _listed(decided: Any) -> tuple[Any, ...]:
    try:
        events = iter(decided)
    except TypeError:
        raise TypeError(
            f"a handler returned {type(decided).__name__}, which is no event that this aggregate applies; return None, an "
            "event with an @apply method, or an iterable of such events"
        ) from None
    return tuple(events)


def _too_large(event: object, size: int, limit: int) -> ValueError:
    return ValueError(
        f"event {type(event).__name__} takes {size} bytes; at most {limit} fit (max_command_bytes bounds events too)"
    )


def _unfit(value: bytes | None, limits: Limits) -> Refused:
    if value is None:
        return Refused("null-value", "a command record without a value")
    return Refused("oversize", f"{len(value)} bytes; max_command_bytes is {limits.max_command_bytes}")

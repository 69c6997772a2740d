"""`scenario(Account).given(...).when(...).then(...)`: what an aggregate decides, tested without services.

The commands are decided by the engine itself: validated as a client does, encoded, decided, the events encoded and
applied from their decoded copies. Beyond what a worker does, every handler call is held to leave the state alone, and after
every decision the whole log is folded anew: a replay has to make the same state.

Steps never change: one that is kept can be continued several times.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast
from uuid import UUID

from eventsrc.codec.control import reply_details, reply_reason
from eventsrc.errors import EncodingError, EventsrcError, LogInconsistent
from eventsrc.model.given import Aggregate
from eventsrc.model.identity import check_aggregate_id, command_id_for
from eventsrc.testing.assertion_duty import Duty
from eventsrc.testing.deciding import AggregateLog, Decision, Sending, Subject, subject_of
from eventsrc.testing.differences import differences
from eventsrc.testing.wording import aggregate_told, details_told, listed, told

A = TypeVar("A")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)
"""When a scenario plays, unless `at` says otherwise."""


class MisusedScenario(EventsrcError):  # noqa: N818 - what happened to it
    """The scenario itself is written wrongly; nothing is said of the aggregate."""


@dataclass(frozen=True, slots=True)
class _Circumstances:
    """Of the next command. An id of None: one is made up, the same in every run."""

    now: datetime = START
    command_id: bytes | None = None
    correlation_id: bytes | None = None
    causation_id: bytes | None = None
    uuids: tuple[UUID, ...] = ()
    random_seed: int | None = None


class _Step(Generic[A]):
    """A place in a scenario: the aggregate's log so far, and what holds for what comes next."""

    def __init__(self, log: AggregateLog, circumstances: _Circumstances) -> None:
        self._log = log
        self._next = circumstances
        self._duty = Duty(f"scenario({log.subject.name})")

    def at(self, moment: datetime) -> Self:
        """From here on it is that time: `context.now` of commands, and the time of events. To the millisecond, as Kafka keeps
        a record's."""
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            raise self._misused(
                f".at({moment!r}) is no aware datetime: write datetime(2026, 11, 22, 10, 0, tzinfo=UTC), as context.now is"
            )
        return self._with(now=moment)

    def command_id(self, command_id: UUID) -> Self:
        """The id of the next command: sent twice under one, it takes effect once."""
        return self._with(command_id=self._uuid("command_id", command_id))

    def correlation_id(self, correlation_id: UUID) -> Self:
        """What the next commands name as the first command of their chain of causes."""
        return self._with(correlation_id=self._uuid("correlation_id", correlation_id))

    def causation_id(self, causation_id: UUID) -> Self:
        """What the next commands name as the event that caused them."""
        return self._with(causation_id=self._uuid("causation_id", causation_id))

    def uuids(self, *ids: UUID) -> Self:
        """What `context.uuid()` gives in each of the next commands, one after the other; then its own again."""
        for each in ids:
            self._uuid("uuids", each)
        return self._with(uuids=ids)

    def random_seed(self, seed: int) -> Self:
        """`context.random` of the next commands is as `random.Random(b"%d" % seed)`."""
        return self._with(random_seed=seed)

    def when(self, *commands: Any) -> Decided[A]:
        """Decides commands one after the other. Raises `InvalidCommand` where one breaks a constraint of its class, as a client
        does before it sends; `ImpureHandler` where a handler changes the state; `UnsoundFold` where a replay of the events
        makes another state."""
        self._duty.meet()
        if not commands:
            raise self._misused(".when() names no command")
        log, decisions, after = self._log, [], self._next
        for number, command in enumerate(commands):
            self._check_instance("when", command)
            if type(command) in log.subject.pipeline.events:
                raise self._misused(f".when({command!r}) is an event: history is given, .given({command!r})")
            decision, log = log.decide(command, self._sending(log, after))
            after = replace(after, command_id=None)
            if number + 1 < len(commands) and decision.status != "ok":
                raise AssertionError(
                    f"{aggregate_told(log)}: command {number + 1} of {len(commands)}, {told(decision)}; only the last one may be"
                ) from decision.failure
            decisions.append(decision)
        return Decided(log, after, tuple(decisions))

    def compensating(self, event: Any) -> Decided[A]:
        """Takes an event of the history back, by its `@compensate` method: the latest that is equal to it."""
        self._duty.meet()
        log = self._log
        self._check_event("compensating", event)
        if type(event) not in log.subject.aggregate.compensations:
            raise self._misused(f"{log.subject.name} has no @compensate method for {type(event).__name__}")
        found = [each for each in log.recorded() if _same_event(log.subject, each.event, event)]
        if not found:
            raise self._misused(
                f".compensating({event!r}) is not in the history: give it first, .given(..., {event!r}). It holds "
                f"{listed([each.event for each in log.recorded()])}"
            )
        decision, log = log.compensate(found[-1], self._sending(log, self._next))
        return Decided(log, replace(self._next, command_id=None), (decision,))

    def _sending(self, log: AggregateLog, under: _Circumstances) -> Sending:
        made_up = command_id_for(
            log.subject.pipeline.name, log.subject.aggregate.name, log.key.decode(), f"scenario {log.offset}"
        )
        return Sending(
            (under.now - _EPOCH) // timedelta(microseconds=1),
            under.command_id or made_up,
            under.correlation_id,
            under.causation_id,
            under.uuids,
            under.random_seed,
        )

    def _with(self, **changed: Any) -> Self:
        self._duty.meet()
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._next = replace(self._next, **changed)
        made._duty = Duty(f"scenario({self._log.subject.name})")
        return made

    def _uuid(self, what: str, value: Any) -> bytes:
        if not isinstance(value, UUID):
            raise self._misused(f".{what}({value!r}) takes a UUID, as context.{what.rstrip('s')} gives one")
        return value.bytes

    def _misused(self, what: str) -> MisusedScenario:
        self._duty.meet()
        return MisusedScenario(f"scenario({self._log.subject.name}): {what}")

    def _check_instance(self, step: str, thing: Any) -> None:
        if isinstance(thing, type):
            raise self._misused(f".{step}({thing.__name__}) is a class: write .{step}({thing.__name__}(...))")

    def _check_event(self, step: str, event: Any) -> None:
        self._check_instance(step, event)
        applied = self._log.subject.aggregate.appliers
        if type(event) not in applied:
            names = ", ".join(sorted(each.__name__ for each in applied))
            raise self._misused(
                f".{step}({event!r}) is no event that {self._log.subject.name} applies; it applies {names}"
            )


class Scenario(_Step[A]):
    """What has happened before; `when` decides."""

    def with_id(self, aggregate_id: str) -> Self:
        """The aggregate's id: `self.id`. Stands before `given`. Raises `InvalidId`."""
        self._duty.meet()
        if self._log.records:
            raise self._misused(".with_id(...) comes too late: it stands before .given(...)")
        log = replace(self._log, key=check_aggregate_id(aggregate_id))
        made = self._with()
        made._log = log
        return made

    def given(self, *history: Any) -> Self:
        """What has happened: events, or commands that are decided, of which none may be refused. Nothing: a new aggregate."""
        self._duty.meet()
        log, after = self._log, self._next
        for each in history:
            self._check_instance("given", each)
            sending, after = self._sending(log, after), replace(after, command_id=None)
            if type(each) in log.subject.aggregate.handlers:
                decision, log = log.decide(each, sending)
                if decision.status != "ok":
                    raise AssertionError(f"{aggregate_told(log)}: in given, {told(decision)}") from decision.failure
                continue
            self._check_event("given", each)
            try:
                log = log.appended(each, sending.time_us, sending.command_id)
            except EncodingError as wrong:
                raise self._misused(f".given({each!r}) cannot be encoded: {wrong}") from wrong
            except LogInconsistent as failed:
                raise AssertionError(f"{aggregate_told(log)}: given {each!r}, a replay fails: {failed}") from failed
        made = self._with(command_id=after.command_id)
        made._log = log
        return made

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("then"):
                raise self._misused(f".{name} comes before .when(...): nothing was decided yet")
            raise AttributeError(f"a scenario has no {name!r}")


class Decided(_Step[A]):
    """What was decided by the last `when` or `compensating`; each `then...` asserts, and returns it again."""

    def __init__(self, log: AggregateLog, circumstances: _Circumstances, decisions: tuple[Decision, ...]) -> None:
        super().__init__(log, circumstances)
        self._decisions = decisions

    @property
    def events(self) -> tuple[Any, ...]:
        """What was decided, as a reader of the log sees it, for assertions of one's own."""
        self._duty.meet()
        return tuple(event for decision in self._decisions for event in decision.events)

    @property
    def aggregate(self) -> A:
        """The aggregate after it, folded from its events: an object of the test's own."""
        self._duty.meet()
        return cast("A", self._log.state())

    def then(self, *events: Any) -> Self:
        """Exactly these events, in this order."""
        if not events:
            raise self._misused(".then() names no event: write .then_nothing()")
        for each in events:
            self._check_event("then", each)
        self._check_status("ok", listed(events))
        self._check_events(events)
        return self

    def then_nothing(self) -> Self:
        """No event, and no refusal either."""
        self._check_status("ok", "nothing")
        if self.events:
            raise self._failed(f"made {listed(self.events)}, expected nothing")
        return self

    def then_rejected(self, reason: str, **details: Any) -> Self:
        """The last command was rejected for this reason. Details that are named have to be these; others are free."""
        wanted = f"to be rejected: {reason}{details_told(details)}"
        self._check_status("rejected", wanted)
        last = self._decisions[-1]
        found = reply_details(last.details)
        expected = reply_details(details)
        others = {name for name, value in expected.items() if name not in found or found[name] != value}
        if reply_reason(last.reason) != reason or others:
            raise self._failed(f"{told(last)}; expected {wanted}")
        return self

    def then_failed(self, kind: type[BaseException]) -> Self:
        """The last command's handler, or an `@apply` method, raised this: a worker would try it again, then dead-letter it."""
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise self._misused(f".then_failed({kind!r}) takes a class of exceptions, such as ValueError")
        self._check_status("failed", f"it to raise {kind.__name__}")
        last = self._decisions[-1]
        if not isinstance(last.failure, kind):
            raise self._failed(f"{told(last)}; expected it to raise {kind.__name__}") from last.failure
        return self

    def then_duplicate(self) -> Self:
        """The last command had the id of one that took effect before, and has no further effect."""
        self._check_status("duplicate", "to be taken for a duplicate")
        return self

    def then_state(self, **fields: Any) -> Self:
        """The aggregate's fields afterwards; those that are not named are free."""
        if not fields:
            raise self._misused(".then_state() names no field: write .then_state(balance=5)")
        state: Any = self.aggregate
        known = [field.name for field in self._log.subject.aggregate.record.fields]
        for name in fields:
            if name not in known:
                raise self._misused(
                    f".then_state({name}=...) names no field of {self._log.subject.name}: {', '.join(known)}"
                )
        wrong = [line for name, value in fields.items() for line in differences(value, getattr(state, name), name)]
        if wrong:
            raise self._failed("leaves another state:\n  " + "\n  ".join(wrong))
        return self

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in ("given", "with_id"):
                raise self._misused(f".{name} comes after .when(...): history is given first")
            raise AttributeError(f"a scenario that was decided has no {name!r}")

    def _check_status(self, status: str, wanted: str) -> None:
        self._duty.meet()
        last = self._decisions[-1]
        if last.status != status:
            raise self._failed(f"{told(last)}; expected {wanted}") from last.failure

    def _check_events(self, expected: tuple[Any, ...]) -> None:
        subject, found = self._log.subject, self.events
        same = [_same_event(subject, each, other) for each, other in zip(found, expected, strict=False)]
        if len(found) == len(expected) and all(same):
            return
        lines = []
        for number in range(max(len(found), len(expected))):
            was, wanted = (found[number : number + 1] or (None,))[0], (expected[number : number + 1] or (None,))[0]
            if was is not None and wanted is not None and same[number]:
                lines.append(f"  {number + 1}  {was!r}")
                continue
            lines.append(f"  {number + 1}  expected {'nothing more' if wanted is None else repr(wanted)}")
            lines.append(f"     decided  {'nothing more' if was is None else repr(was)}")
            if type(was) is type(wanted):
                lines += [f"       {line}" for line in differences(wanted, was, words=("expected", "decided"))]
        raise self._failed("made other events than expected:\n" + "\n".join(lines))

    def _failed(self, what: str) -> AssertionError:
        self._duty.meet()
        last = self._decisions[-1]
        words = what if what.startswith(repr(last.asked)) else f"{last.asked!r} {what}"
        return AssertionError(f"{aggregate_told(self._log)}: {words}")


def scenario(aggregate: type[A]) -> Scenario[A]:
    """A test of one aggregate: `scenario(Account).given(Opened("Ada")).when(Deposit(5)).then(Deposited(5))`.

    Raises `MisusedScenario` for a class that no pipeline has declared as an aggregate.
    """
    pipeline = getattr(aggregate, "_eventsrc_pipeline", None)
    if not isinstance(aggregate, type) or not issubclass(aggregate, Aggregate) or pipeline is None:
        name = aggregate.__name__ if isinstance(aggregate, type) else repr(aggregate)
        raise MisusedScenario(f"scenario({name}): that is no class declared with @pipeline.aggregate")
    subject = subject_of(pipeline, pipeline.aggregate_type(aggregate).name)
    return Scenario(AggregateLog(subject, f"{subject.aggregate.name}-1".encode()), _Circumstances())


def _same_event(subject: Subject, one: Any, other: Any) -> bool:
    """Equal, or written alike: a NaN is not equal to itself."""
    if type(one) is not type(other):
        return False
    if one == other:
        return True
    write = subject.catalog.event_writer(subject.aggregate, type(one))
    try:
        first, second = (write(bytes(16), None, None, 0, 0, 1, 0, bytes(8), each) for each in (one, other))
    except EncodingError as wrong:
        raise MisusedScenario(f"{other!r} cannot be encoded: {wrong}") from wrong
    return first == second

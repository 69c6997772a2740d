"""One seeded history: commands, workers, faults in any interleaving, then calm; and the checks.

During the run: every open partition's live state is the model's at its position; an answer is sent only for what is
committed; nothing halts. After it: the events, dead letters and offsets are exactly the model's.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from eventsrc.codec.keys import is_control_key, parse_event_key
from eventsrc.engine import checkpoint, taking_over
from eventsrc.engine.effects import (
    Assigned,
    CheckpointFailed,
    CheckpointWritten,
    Effect,
    Halt,
    Input,
    LoopTurned,
    SendAnswers,
    SnapshotLoaded,
    StableOffsetFetched,
    Ticked,
)
from eventsrc.engine.partition import Partition, PartitionKey
from eventsrc.engine.takeover import Phase
from eventsrc.errors import SnapshotDamaged, SnapshotsUnavailable
from eventsrc.model.snapshot import StoredCheckpoint
from eventsrc.runtime.snapshot_calls import read_states
from eventsrc.testing.memory_snapshots import MemorySnapshots
from tests.property.simulation.checkpoint_checks import comparable, decoded, state_of, wrong
from tests.property.simulation.cluster import DEAD, Cluster
from tests.property.simulation.model import Command, ExpectedEvent, PartitionModel
from tests.property.simulation.store import KilledError, SharedStore
from tests.property.simulation.worker import NO_FAULTS, EndedError, Faults, Guards, Worker
from tests.unit.engine.shop import (
    ACCOUNT,
    BASKET,
    Audit,
    Deposit,
    Deposited,
    DepositParts,
    Placed,
    Poison,
    Put,
    Withdraw,
    Withdrawn,
    catalog,
    command_value,
    key_on,
)

KEYS = tuple(PartitionKey(name, number) for name in ("account", "basket") for number in (0, 1))
IDS = {number: [key_on(number, prefix=prefix) for prefix in ("a", "b", "c")] for number in (0, 1)}
STEPS = 400
CALM_STEPS = 6_000
_HARMLESS = (Ticked, LoopTurned, StableOffsetFetched, Assigned)


@dataclass(frozen=True, slots=True)
class Climate:
    """What a history is made of, where it is not left to the seed: weights of what happens, by name; number of worker
    slots; how much of a worker's time goes to its transactions; whether there is a snapshot store."""

    weights: Mapping[str, float] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    slots: int | None = None
    pace: float | None = None
    store: bool | None = None


class ViolationError(Exception):
    """An invariant does not hold."""


@dataclass
class History:
    """`run` raises ViolationError, or whatever the engine raised."""

    seed: int
    guards: Guards = field(default_factory=Guards)
    climate: Climate = field(default_factory=Climate)
    steps: int = STEPS
    rng: random.Random = field(init=False)
    cluster: Cluster = field(init=False)
    models: dict[PartitionKey, PartitionModel] = field(init=False)
    workers: list[Worker] = field(default_factory=list)
    sent: list[tuple[PartitionKey, bytes, Command]] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    frozen: list[Worker] = field(default_factory=list)
    shared: SharedStore | None = None
    live_aggregates: int = 1_000
    _inside: list[Worker] = field(default_factory=list)
    _failed: Exception | None = None
    _calmed: bool = False
    _weather: dict[Callable[[list[str]], None], float] = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.cluster = Cluster(self.rng, KEYS)
        self.models = {key: PartitionModel() for key in KEYS}
        self._weather = self._make_weather()
        stores = self.climate.store
        if stores or (stores is None and self.rng.random() < 0.7):
            self.shared = SharedStore(self.rng, self._check_checkpoint)
        self.live_aggregates = self.rng.choice((1, 4, 8, 1_000))

    def run(self) -> None:
        with patch.object(checkpoint, "SLICE_STATES", 1), patch.object(taking_over, "SNAPSHOT_DEADLINE_S", 2.0):
            self._run()

    def _run(self) -> None:
        slots = [f"w{number}" for number in range(self.climate.slots or self.rng.choice((1, 2, 2, 3)))]
        self._start(slots[0])
        for _ in range(self.steps):
            self._happen(slots)
        self._calm(slots)
        self._check_end()

    # ---- what happens

    def _start(self, slot: str) -> None:
        pace = self.climate.pace or self.rng.choice((0.1, 0.4, 0.6))
        faults = NO_FAULTS if self._calmed else self.climate.faults
        worker = Worker(
            slot,
            self.cluster,
            self.rng,
            self.guards,
            faults,
            pace,
            self._watch,
            self.shared,
            self._act_meanwhile,
            self.live_aggregates,
        )
        self.workers.append(worker)
        self.happened["start"] += 1

    def _happen(self, slots: list[str]) -> None:
        happen = self.rng.choices(list(self._weather), list(self._weather.values()))[0]
        happen(slots)

    def _make_weather(self) -> dict[Callable[[list[str]], None], float]:
        """How often each thing happens: drawn once for a history, so that some are stormy in one way, some in another."""
        draw = self.rng.choice
        drawn: dict[Callable[[list[str]], None], float] = {
            self._turn_one: 120,
            self._send: draw((4, 10)),
            self._write_marker: draw((8, 20, 60)),
            self._deliver: draw((1, 6)),
            self._freeze_one: draw((0, 1, 3)),
            self._crash_one: draw((0.2, 1)),
            self._start_one: draw((2, 4)),
            self._expel_one: draw((0.1, 0.5, 1.5)),
            self._rebalance: draw((0.1, 1)),
            self._expire_one: draw((0, 0.5)),
            self._change_store: draw((0, 1, 4)),
            self._request: 0.5,
        }
        given = self.climate.weights
        return {happen: given.get(happen.__name__.strip("_"), weight) for happen, weight in drawn.items()}

    def _turn_one(self, slots: list[str]) -> None:
        awake = [each for each in self.workers if each not in self.frozen]
        if awake:
            self._turn(self.rng.choice(awake))

    def _freeze_one(self, slots: list[str]) -> None:
        """A worker that stands still, and goes on later as if nothing had been."""
        if self.frozen and self.rng.random() < 0.5:
            self.frozen.pop()
        elif self.workers:
            self.frozen.append(self.rng.choice(self.workers))

    def _crash_one(self, slots: list[str]) -> None:
        if self.workers:
            self.workers.remove(self.rng.choice(self.workers))

    def _expel_one(self, slots: list[str]) -> None:
        """Of a silent worker its session ends first."""
        members = self.cluster.group.members
        silent = sorted({each.slot for each in self.frozen} & set(members))
        if members:
            self.cluster.group.expel(self.rng.choice(silent or sorted(members)))

    def _write_marker(self, slots: list[str]) -> None:
        self.cluster.write_marker()

    def _deliver(self, slots: list[str]) -> None:
        self.cluster.deliver()

    def _rebalance(self, slots: list[str]) -> None:
        self.cluster.group.rebalance()

    def _expire_one(self, slots: list[str]) -> None:
        self.cluster.expire(f"shop-{self.rng.choice(slots)}")

    def _change_store(self, slots: list[str]) -> None:
        if self.shared is None:
            return
        match self.rng.choice(("copied", "copied", "restored", *["damaged"] * 4, "discarded", "away or back")):
            case "away or back":
                self.shared.database.available = not self.shared.database.available or self.rng.random() < 0.3
            case "discarded":
                self.shared.discarded(self.rng.choice(KEYS))
            case "copied":
                self.shared.copied()
            case "restored":
                self.shared.restored()
            case _:
                self.shared.damaged()

    def _request(self, slots: list[str]) -> None:
        if self.shared is not None and self.shared.database.available:
            MemorySnapshots(self.shared.database).request(self.rng.choice(KEYS))

    def _act_meanwhile(self) -> None:
        """Between two statements of one worker, others go on; or it dies there."""
        if self._calmed or len(self._inside) > 1:
            return
        if self.rng.random() < 0.1:
            raise KilledError
        stopped = self.rng.random() < 0.25
        if stopped:  # for so long that it is a zombie when it goes on
            self.cluster.group.expel(self._inside[-1].slot)
        for _ in range(120 if stopped else self.rng.randint(1, 12)):
            others = [each for each in self.workers if each not in self.frozen and each not in self._inside]
            if others:
                self._turn_inside(self.rng.choice(others))
            self.cluster.write_marker()

    def _turn_inside(self, worker: Worker) -> None:
        """What goes wrong there is nothing that the worker around it may take for its own trouble."""
        try:
            self._turn(worker)
        except Exception as failure:
            self._failed = failure
            raise KilledError from failure

    def _start_one(self, slots: list[str]) -> None:
        """Seldom a second life beside the first one, which then is a zombie."""
        down = sorted(set(slots) - {worker.slot for worker in self.workers})
        if down or self.rng.random() < 0.15:
            self._start(self.rng.choice(down or slots))

    def _turn(self, worker: Worker) -> None:
        self._inside.append(worker)
        try:
            for _ in range(self.rng.randint(1, 4)):
                worker.turn()
        except (EndedError, KilledError) as ended:
            if worker in self.workers:
                self.workers.remove(worker)
            self.happened["fenced" if isinstance(ended, EndedError) else "killed"] += 1
        finally:
            self._inside.remove(worker)
        if self._failed is not None:
            raise self._failed

    def _send(self, slots: list[str]) -> None:
        """A new command, or one sent before once more, now and then with another payload."""
        for _ in range(self.rng.randint(1, 3)):
            if self.sent and self.rng.random() < 0.25:
                key, of_key, command = self.rng.choice(self.sent)
                if self.rng.random() < 0.2:
                    command = Command(command.id, self._payload(key))
            else:
                key = self.rng.choice(KEYS)
                of_key = self.rng.choice(IDS[key.number])
                command = Command(b"%016d" % len(self.sent), self._payload(key))
                self.sent.append((key, of_key, command))
            record = self.cluster.send_command(key, of_key, self._value(key, command))
            self.models[key].add(record, command)

    def _payload(self, key: PartitionKey) -> Any:
        amount = self.rng.randint(1, 9)
        if self.rng.random() < 0.04:
            return None
        if key.aggregate == "basket":
            return Put(self.rng.choice("pqrstuvw"), [str(amount)])
        return self.rng.choice(
            (Deposit(amount), Deposit(amount), DepositParts(amount, amount % 4), Withdraw(amount), Audit(), Poison())
        )

    @staticmethod
    def _value(key: PartitionKey, command: Command) -> bytes:
        if command.payload is None:
            return b"\xc3\x01 of no schema" if command.id.endswith(b"7") else b"no command"
        aggregate = BASKET if key.aggregate == "basket" else ACCOUNT
        return command_value(command.payload, command.id.decode(), of=aggregate)

    def _calm(self, slots: list[str]) -> None:
        """No more faults: old zombies die, one worker at least is alive, and everything is done in bounded time."""
        alive = {worker.slot: worker for worker in self.workers}  # the latest life of each slot
        self.workers = [alive[slot] for slot in sorted(alive) if self.rng.random() < 0.7]
        for worker in self.workers:
            worker.faults = NO_FAULTS
        self._calmed = True
        if self.shared is not None:
            self.shared.calm()
        for step in range(CALM_STEPS):
            if not self.workers:
                self._start(slots[0])
            self.cluster.write_marker()
            if step % 20 == 19:  # a broker aborts in seconds what a dead worker left open
                self.cluster.deliver()
                for slot in sorted(set(slots) - {worker.slot for worker in self.workers}):
                    self.cluster.expire(f"shop-{slot}")
                    self.cluster.group.expel(slot)
            self._turn(self.rng.choice(self.workers))
            if step % 10 == 0 and self._done():
                return
        raise ViolationError(f"I16: no progress: {[(w.slot, w.engine.owned, w.jobs) for w in self.workers]}")

    def _done(self) -> bool:
        ends = {key: self.cluster.commands_end(key) for key in KEYS}
        opened = {
            key
            for worker in self.workers
            for key, ownership in worker.engine.owned.items()
            if ownership.phase is Phase.OPEN and worker.engine.quiet
        }
        return (
            opened == set(KEYS)
            and not self.cluster.undecided
            and not self.cluster.network
            and all(self._committed_position(key) == ends[key] for key in KEYS)
        )

    def _committed_position(self, key: PartitionKey) -> int:
        return self.cluster.offsets[key].position if key in self.cluster.offsets else 0

    # ---- checks

    def _watch(self, worker: Worker, happened: Input, effects: list[Effect]) -> None:
        self.happened[_named(happened)] += 1
        for ownership in worker.engine.owned.values():
            if ownership.partition is not None and not isinstance(happened, _HARMLESS):
                self._check_live(worker, ownership.partition)
        for effect in effects:
            self.happened[type(effect).__name__] += 1
            if isinstance(effect, Halt):
                raise ViolationError(f"I16: {worker.slot}: {effect}")
            if isinstance(effect, SendAnswers):
                self._check_answers(effect)

    def _check_live(self, worker: Worker, partition: Partition) -> None:
        expected = self.models[partition.key].at(partition.position)
        held = {key: state_of(instance) for key, instance in partition.live.items()}
        if self.shared is not None or len(held) != len(expected):
            for key in partition.states.keys():  # noqa: SIM118 - not a dictionary
                if key not in held:
                    held[key] = decoded(partition.key, key, partition.states.encoded(key))
        if held != {key: comparable(state) for key, state in expected.items()}:
            raise ViolationError(
                f"I10: {worker.slot} holds of {partition.key} at {partition.position}: {held}, not {expected}"
            )

    def _check_checkpoint(self, key: PartitionKey, stored: StoredCheckpoint, shared: SharedStore) -> None:
        """It has become a head: I6, and that no deposed owner's did."""
        term = stored.checkpoint.term
        if term < shared.claimed.get(key, term):
            self._fail(f"I6: a checkpoint of {key} was written in term {term} after {shared.claimed[key]} had claimed")
        try:
            states = read_states(MemorySnapshots(shared.database), stored)
        except (SnapshotDamaged, SnapshotsUnavailable):
            return  # a segment that it extends has been damaged since
        found = wrong(self.cluster, self.models[key], key, stored, states)
        if found is not None:
            self._fail(f"I6: checkpoint of {key} at {stored.checkpoint.position}: {found}")

    def _fail(self, what: str) -> None:
        self._failed = ViolationError(what)
        raise KilledError

    def _check_answers(self, effect: SendAnswers) -> None:
        outcomes = [model.outcomes for model in self.models.values()]
        for answer in effect.answers:
            expected = next(each[answer.command_id] for each in outcomes if answer.command_id in each)
            if (answer.status, answer.sequence) not in expected:
                raise ViolationError(f"I1: {answer}, not one of {expected}")
            if not self.cluster.committed_values.issuperset(answer.events):
                raise ViolationError(f"I10: {answer} was sent before its events were committed")

    def _check_end(self) -> None:
        for key, model in self.models.items():
            found = self._events(key)
            if found != model.events:
                raise ViolationError(f"I1-I4, I11: {key} holds {found}, not {model.events}")
            if self._committed_position(key) != self.cluster.commands_end(key):
                raise ViolationError(f"I5: {key} committed {self._committed_position(key)}")
        dead = Counter(record.of_value for record in self.cluster.logs[DEAD].committed())
        expected = Counter(
            record.of_value
            for key, model in self.models.items()
            for record in self.cluster.commands[key]
            if record.at in model.dead
        )
        if dead != expected:
            raise ViolationError(f"I5: dead letters {dead}, not {expected}")

    def _events(self, key: PartitionKey) -> list[ExpectedEvent]:
        """A plain reader's view; it also sees that nothing of a deposed owner stands above a newer barrier."""
        aggregate = ACCOUNT if key.aggregate == "account" else BASKET
        found, term = [], -1
        for record in self.cluster.logs[key].committed():
            if is_control_key(record.of_key or b""):
                term = record.at
                continue
            parsed = parse_event_key(record.of_key or b"")
            if parsed is None or parsed[2] != term:
                raise ViolationError(f"I4: {record} stands above the barrier at {term}")
            value = record.of_value or b""
            meta, event = catalog.event_reader(aggregate, value[:10])(value)
            found.append(
                ExpectedEvent(
                    parsed[0], parsed[1], _content(event), meta.command_id, meta.source_offset, meta[4], meta[5]
                )
            )
        return found


def _named(happened: Input) -> str:
    match happened:
        case SnapshotLoaded(checkpoint=StoredCheckpoint(), refused=[_, *_]):
            return "SnapshotLoaded older"
        case SnapshotLoaded(checkpoint=StoredCheckpoint()):
            return "SnapshotLoaded newest"
        case SnapshotLoaded(problem=str()):
            return "SnapshotLoaded away"
        case CheckpointWritten(attempt=None):
            return "CheckpointWritten merged"
        case CheckpointFailed(attempt=None):
            return "CheckpointFailed damaged"
        case CheckpointFailed(superseded=True):
            return "CheckpointFailed superseded"
    return type(happened).__name__


def _content(event: Any) -> tuple[Any, ...]:
    match event:
        case Deposited(amount):
            return "Deposited", amount
        case Withdrawn(amount):
            return "Withdrawn", amount
        case Placed(item, tags):
            return "Placed", item, tuple(tags)
    raise AssertionError(event)

"""Whether a pipeline's `@apply` methods make the same state of the same events, whoever folds them; whether its handlers
leave the state alone. Without a broker, on histories that are made up from the declarations.

Each history is folded twice, once more with the state written and read back after every event, and in processes of other
hash seeds; the encodings after every event are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eventsrc.codec.catalog import Catalog
from eventsrc.errors import EventsrcError
from eventsrc.model.pipeline import Pipeline
from eventsrc.testing.deciding import state_differences
from eventsrc.testing.folding import FoldProcess, MadeHistory, States, fold_states
from eventsrc.testing.histories import make_histories
from eventsrc.testing.importing import where_imported

HASH_SEEDS = (1, 2)


@dataclass(frozen=True, slots=True)
class DeterminismReport:
    """`problems`: what would let a replay, another worker or a checkpoint disagree, or handlers that change the state; each
    names the aggregate, and the event and field, or the command. `notes`: what is worth a look. `hash_seeds`: those of
    the other processes; empty where they could not be asked, which a note says."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    histories: int
    events: int
    commands: int
    hash_seeds: tuple[int, ...]


def check_determinism(
    pipeline: Pipeline, *, app: str | None = None, seed: int = 0, hash_seeds: Sequence[int] = HASH_SEEDS
) -> DeterminismReport:
    """Takes about a second. `app`: where other processes import the pipeline from, `module:attribute`; found by itself
    where it is a global of the module that declares an aggregate. `seed`: of the histories.

    In a test: `assert not check_determinism(pipeline).problems`.
    """
    made = make_histories(pipeline, seed)
    problems, notes = list(made.impure.values()), list(made.notes.values())
    app = app or where_imported(pipeline)
    processes = [FoldProcess(app, each, made.histories) for each in hash_seeds] if app and made.histories else []
    try:
        catalog = Catalog(pipeline, None)
        first = [fold_states(catalog, pipeline, each) for each in made.histories]
        compare = _Comparison(pipeline, catalog, made.histories, first)
        compare.with_others("folded a second time", [fold_states(catalog, pipeline, each) for each in made.histories])
        restored = [fold_states(catalog, pipeline, each, restored=True) for each in made.histories]
        compare.with_others("restored from a checkpoint before each event", restored)
        asked = []
        for process in processes:
            try:
                compare.with_others(f"folded under PYTHONHASHSEED={process.hash_seed}", process.states())
                asked.append(process.hash_seed)
            except EventsrcError as failed:
                notes.append(f"not compared under another hash seed: {failed}")
    finally:
        for process in processes:
            process.end()
    if hash_seeds and app is None:
        notes.append(
            "not compared under other hash seeds: the pipeline is no global of a module that can be imported; name it, "
            'check_determinism(pipeline, app="module:attribute")'
        )
    events = sum(len(each.records) for each in made.histories)
    return DeterminismReport(
        (*problems, *compare.problems),
        (*notes, *compare.notes),
        len(made.histories),
        events,
        made.commands,
        tuple(asked),
    )


class _Comparison:
    """Each aggregate's event type is told once."""

    def __init__(
        self, pipeline: Pipeline, catalog: Catalog, histories: Sequence[MadeHistory], first: Sequence[States]
    ) -> None:
        self._pipeline = pipeline
        self._catalog = catalog
        self._histories = histories
        self._first = first
        self._told: set[tuple[str, str]] = set()
        self.problems: list[str] = []
        self.notes: list[str] = []
        for history, states in zip(histories, first, strict=True):
            if states and isinstance(states[-1], str):
                where = self.problems if history.decided else self.notes
                self._tell(history, len(states) - 1, f"the state cannot be kept: {states[-1]}", where)

    def with_others(self, how: str, others: Sequence[States]) -> None:
        for history, one, other in zip(self._histories, self._first, others, strict=True):
            number = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
            if number is not None:
                lines = "; ".join(self._fields(history, one[number], other[number]))
                self._tell(history, number, f"{how}, it makes another state: {lines}", self.problems)

    def _tell(self, history: MadeHistory, number: int, what: str, where: list[str]) -> None:
        aggregate = self._pipeline.aggregates[history.aggregate]
        value = history.records[number][1]
        event = self._catalog.event_reader(aggregate, value[:10])(value)[1]
        name = type(event).__name__
        if (history.aggregate, name) not in self._told:
            self._told.add((history.aggregate, name))
            applier = aggregate.appliers[type(event)].function.__name__
            where.append(f"{aggregate.cls.__name__}.{applier} (event {number + 1} of a history, {event!r}): {what}")

    def _fields(self, history: MadeHistory, one: bytes | str, other: bytes | str) -> list[str]:
        if isinstance(one, str) or isinstance(other, str):
            return [str(each) for each in (one, other) if isinstance(each, str)]
        aggregate = self._pipeline.aggregates[history.aggregate]
        return state_differences(aggregate, self._state(history, one), self._state(history, other), ("first", "then"))

    def _state(self, history: MadeHistory, encoded: bytes) -> Any:
        aggregate = self._pipeline.aggregates[history.aggregate]
        instance = aggregate.new(history.key)
        self._catalog.state_reader(aggregate)(encoded, instance)
        return instance

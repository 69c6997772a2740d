"""I6: what a checkpoint must be, told from the cluster's own log and the model of the commands.

Knows nothing of how the engine takes one: the log is read as it lies in the cluster, transactions that were decided to
commit and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from eventsrc.codec.blocks import StoredRuns, split_entry
from eventsrc.codec.keys import is_control_key, parse_event_key
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.recorded import EventMeta
from eventsrc.model.snapshot import StoredCheckpoint
from tests.harness.remembered import remembered
from tests.property.simulation.cluster import Cluster
from tests.property.simulation.model import AggregateState, PartitionModel
from tests.unit.engine.shop import catalog, pipeline


class LoggedEvent(NamedTuple):
    offset: int
    key: bytes
    sequence: int
    meta: EventMeta


def committed_events(cluster: Cluster, key: PartitionKey) -> Iterator[LoggedEvent]:
    """Also those whose marker readers have still to see."""
    aggregate = pipeline.aggregates[key.aggregate]
    for each in cluster.logs[key].entries:
        of_key, value = each.record.of_key or b"", each.record.of_value or b""
        parsed = parse_event_key(of_key)
        if each.transaction.commit is True and parsed is not None and not is_control_key(of_key):
            yield LoggedEvent(
                each.record.at, parsed[0], parsed[1], catalog.event_reader(aggregate, value[:10])(value)[0]
            )


def wrong(
    cluster: Cluster, model: PartitionModel, key: PartitionKey, stored: StoredCheckpoint, states: StoredRuns
) -> str | None:
    """What is wrong with a checkpoint of those states; None: nothing."""
    said, log = stored.checkpoint, list(committed_events(cluster, key))
    held = {of: decoded(key, of, encoded) for of, encoded in states}
    below = [each for each in log if each.offset < said.position]
    for event in below:
        if event.key not in held or held[event.key][0] < event.sequence:
            return f"its states do not cover {event}, which is below its position {said.position}: {held}"
    for of, state in held.items():
        if state not in [comparable(each[of]) for each in model.states if of in each]:
            return f"{of!r} never was {state}"
        last = next((each for each in log if (each.key, each.sequence) == (of, state[0])), None)
        if last is None:
            return f"{of!r} has sequence {state[0]}, which was not committed"
        if last.offset >= said.seen_position:
            return f"{of!r} has seen offset {last.offset}, and nothing from {said.seen_position} on was to be seen"
    anchor = next((each.record for each in cluster.logs[key].entries if each.record.at == said.anchor.offset), None)
    if anchor is None or anchor.of_key != said.anchor.key:
        return f"its anchor is not in the log: {said.anchor}"
    first = {each.key for each in below if each.sequence == 1}
    applied = [each for each in below if each.offset > said.term and each.meta.index == each.meta.count - 1]
    told = (said.events, said.aggregates, said.applied, said.highest_source)
    true = (len(below), len(first), len(applied), max((each.meta.source_offset for each in below), default=None))
    if told != true:
        return f"it says events, aggregates, applied, highest source {told}, not {true}"
    late = [each for each in below if each.meta.source_offset >= said.commands_position]
    early = [each for each in log[len(below) :] if each.meta.source_offset < said.commands_position]
    return f"its commands position is {said.commands_position}, and {late or early}" if late or early else None


def decoded(key: PartitionKey, of: bytes, encoded: bytes) -> tuple[Any, ...]:
    """A stored state, to be compared."""
    aggregate = pipeline.aggregates[key.aggregate]
    instance = aggregate.new(of)
    instance._eventsrc_sequence, instance._eventsrc_memory, state = split_entry(encoded)
    catalog.state_reader(aggregate)(state, instance)
    return state_of(instance)


def state_of(instance: Any) -> tuple[Any, ...]:
    """A live aggregate, to be compared."""
    known = tuple(remembered(instance))
    if hasattr(instance, "balance"):
        content: tuple[Any, ...] = (instance.balance, instance.deposits)
    else:
        content = tuple((item, tuple(instance.tags[item])) for item in instance.items)
    return instance._eventsrc_sequence, content, known


def comparable(state: AggregateState) -> tuple[Any, ...]:
    """A state of the model, to be compared."""
    return state.sequence, state.content, tuple((known, sequence) for known, sequence, _ in state.known)

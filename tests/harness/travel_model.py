"""What a replay of `travel.py` must say, by the wire contract alone: which events are in a cut, the states, their digest.

Reads records with a plain consumer and fastavro, folds over dictionaries. Nothing of the product is in here.
"""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import fastavro
from fastavro.schema import parse_schema

from tests.harness.evidence import LogRecord
from tests.harness.wire import Schemas, event_id, parse_event_key

State = dict[str, Any]
Place = tuple[str, int]

_SCHEMAS = {
    "basket": parse_schema(
        {
            "type": "record",
            "name": "Basket",
            "fields": [
                {"name": "owner", "type": "string"},
                {"name": "total", "type": "long"},
                {"name": "items", "type": {"type": "map", "values": "long"}},
                {"name": "history", "type": {"type": "array", "items": "string"}},
            ],
        }
    ),
    "parcel": parse_schema(
        {
            "type": "record",
            "name": "Parcel",
            "fields": [{"name": "contents", "type": {"type": "map", "values": "long"}}],
        }
    ),
}


@dataclass(frozen=True)
class Event:
    aggregate: str
    partition: int
    offset: int
    id: bytes
    sequence: int
    name: str
    body: dict[str, Any]
    index: int
    count: int
    time: int
    cause: bytes | None

    @property
    def event_id(self) -> bytes:
        return event_id(self.aggregate, self.id, self.sequence)


def read_events(records: Iterable[LogRecord], schemas: Schemas) -> dict[Place, list[Event]]:
    """By aggregate and partition, in offset order."""
    found: dict[Place, list[Event]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.offset):
        key = parse_event_key(record.key or b"")
        if key is None or record.value is None:
            continue
        decoded = schemas.decode(record.value)
        aggregate = record.topic.split(".")[1]
        body = {name: value for name, value in decoded.fields.items() if name != "meta"}
        meta = decoded.meta
        found[aggregate, record.partition].append(
            Event(
                aggregate, record.partition, record.offset, key.id, key.sequence, decoded.short_name, body,
                meta["index"], meta["count"], meta["time"], meta["causation_id"],
            )
        )  # fmt: skip
    return dict(found)


def closed_cut(log: dict[Place, list[Event]], asked: Callable[[Event], bool]) -> dict[Place, int]:
    """How many events of each partition are in the smallest closed cut that holds what is asked for."""
    cut = {
        place: next((n for n, each in enumerate(events) if not asked(each)), len(events))
        for place, events in log.items()
    }
    places = {each.event_id: (place, n) for place, events in log.items() for n, each in enumerate(events)}
    while True:
        before = dict(cut)
        for place, events in log.items():
            while is_half(events[: cut[place]]):
                cut[place] += 1
            for each in events[: cut[place]]:
                if each.cause in places:
                    other, number = places[each.cause]
                    cut[other] = max(cut[other], number + 1)
        if cut == before:
            return cut


def is_half(events: list[Event]) -> bool:
    left: set[bytes] = set()
    for each in events:
        (left.add if each.index + 1 < each.count else left.discard)(each.id)
    return bool(left)


def fold(events: Iterable[Event]) -> dict[tuple[str, bytes], tuple[int, State]]:
    """Aggregate and id -> sequence and state."""
    states: dict[tuple[str, bytes], tuple[int, State]] = {}
    for each in events:
        _, state = states.get((each.aggregate, each.id), (0, None))
        new = _basket(state, each) if each.aggregate == "basket" else _parcel(state, each)
        states[each.aggregate, each.id] = each.sequence, new
    return states


def _basket(state: State | None, event: Event) -> State:
    before = state or {"owner": "", "total": 0, "items": {}, "history": []}
    item, items = event.body["item"], dict(before["items"])
    if event.name == "Added":
        amount = event.body["amount"]
        items[item] = items.get(item, 0) + amount
    else:
        amount = -items.pop(item, 0)
    return {
        "owner": event.id.decode() if event.name == "Added" else before["owner"],
        "total": before["total"] + amount,
        "items": items,
        "history": [*before["history"], f"{'+' if event.name == 'Added' else '-'}{item}"],
    }


def _parcel(state: State | None, event: Event) -> State:
    contents = dict((state or {"contents": {}})["contents"])
    contents[event.body["item"]] = contents.get(event.body["item"], 0) + event.body["amount"]
    return {"contents": contents}


def digest(states: dict[tuple[str, bytes], tuple[int, State]]) -> str:
    """As docs/time-travel.md lays it out."""
    total = 0
    for (aggregate, id), (sequence, state) in states.items():
        body = io.BytesIO()
        fastavro.schemaless_writer(body, cast(Any, _SCHEMAS[aggregate]), _ordered(state))
        parts = (aggregate.encode(), id, body.getvalue())
        name, identity, encoded = (len(part).to_bytes(4, "big") + part for part in parts)
        total += int.from_bytes(hashlib.sha256(name + identity + sequence.to_bytes(8, "big") + encoded).digest(), "big")
    return f"{total % (1 << 128):032x}"


def _ordered(state: State) -> State:
    return {name: dict(sorted(each.items())) if isinstance(each, dict) else each for name, each in state.items()}

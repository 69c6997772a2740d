"""Our codec against fastavro, to and from the user's own classes: `python -m benchmarks.codec [--json]`.

Both sides do the whole of what a worker needs for one record: framing, meta, the body, and an object of the user's
class. fastavro's side is the shortest code that does it: a dict display from the object's attributes, `schemaless_writer`
into a BytesIO, and back by `schemaless_reader` and the class's constructor.
Microseconds of processor time per record: the best of several rounds, in which the sides take turns, so that a slow
spell of the machine hits both.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import fastavro
import pydantic

from benchmarks import results
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.framing import PREFIX_BYTES
from eventsrc.codec.metas import with_meta
from eventsrc.codec.nodes import parse
from eventsrc.codec.reader import compile_reader
from eventsrc.codec.resolution import build
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.marks import apply, handle
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.recorded import EventMeta

pipeline = Pipeline("bench")


@pipeline.event
class Small:
    account: str
    amount: int
    currency: str
    rate: float
    final: bool


@dataclass(slots=True)
class Line:
    sku: str
    quantity: int
    price: Annotated[Decimal, pydantic.Field(decimal_places=2)]


@pipeline.event
class Large:
    order: str
    customer: str
    created: datetime
    lines: list[Line]
    tags: list[str]
    labels: dict[str, str]
    note: str | None
    total: Annotated[Decimal, pydantic.Field(decimal_places=2)]
    paid: bool
    weight: float
    attempt: int
    parcels: int
    warehouse: str
    priority: int
    signature: bytes


@pipeline.command
class Go:
    pass


@pipeline.aggregate
class Bench:
    seen: int = 0

    @handle
    def go(self, command: Go) -> None: ...

    @apply
    def small(self, event: Small) -> None: ...

    @apply
    def large(self, event: Large) -> None: ...


SMALL = Small("alice-0042", 1250, "EUR", 1.0825, True)
LARGE = Large(
    order="order-2026-000042",
    customer="customer-77",
    created=datetime(2026, 11, 22, 10, 0, 0, 123456, UTC),
    lines=[Line(f"sku-{n}", n + 1, Decimal("19.99")) for n in range(3)],
    tags=["gift", "express"],
    labels={"shop": "berlin", "channel": "web"},
    note=None,
    total=Decimal("119.94"),
    paid=True,
    weight=2.75,
    attempt=1,
    parcels=2,
    warehouse="north",
    priority=300,
    signature=b"0123456789abcdef",
)
META = EventMeta(b"c" * 16, None, b"e" * 16, 123_456_789, 0, 1, 1_795_000_000_123_456, b"hashhash")


def small_dict(event: Any) -> dict[str, Any]:
    return {
        "account": event.account,
        "amount": event.amount,
        "currency": event.currency,
        "rate": event.rate,
        "final": event.final,
    }


def large_dict(event: Any) -> dict[str, Any]:
    return {
        "order": event.order,
        "customer": event.customer,
        "created": event.created,
        "lines": [{"sku": line.sku, "quantity": line.quantity, "price": line.price} for line in event.lines],
        "tags": event.tags,
        "labels": event.labels,
        "note": event.note,
        "total": event.total,
        "paid": event.paid,
        "weight": event.weight,
        "attempt": event.attempt,
        "parcels": event.parcels,
        "warehouse": event.warehouse,
        "priority": event.priority,
        "signature": event.signature,
    }


def small_from(values: dict[str, Any]) -> Any:
    del values["meta"]
    return Small(**values)


def large_from(values: dict[str, Any]) -> Any:
    del values["meta"]
    values["lines"] = [Line(**line) for line in values["lines"]]
    return Large(**values)


class Case(NamedTuple):
    name: str
    ours: Callable[[], Any]
    fastavro: Callable[[], Any]


def cases() -> list[Case]:
    catalog = Catalog(pipeline, None)
    bench = pipeline.aggregate_type(Bench)
    return [
        *both_ways("5 fields", catalog, bench, SMALL, small_dict, small_from),
        *both_ways("15 fields, nested", catalog, bench, LARGE, large_dict, large_from),
        older_writer(catalog, bench),
    ]


def both_ways(
    name: str,
    catalog: Catalog,
    bench: AggregateType,
    event: Any,
    to_dict: Callable[[Any], dict[str, Any]],
    from_dict: Callable[[dict[str, Any]], Any],
) -> list[Case]:
    write = catalog.event_writer(bench, type(event))
    value = write(*META, event)
    prefix, body = value[:PREFIX_BYTES], value[PREFIX_BYTES:]
    schema = fastavro.parse_schema(next(f.schema for f in catalog.schemas() if f.name == type(event).__name__))
    readers = catalog.event_readers(bench)

    def write_theirs() -> bytes:
        out = io.BytesIO()
        out.write(prefix)
        meta = {
            "command_id": META.command_id,
            "correlation_id": META.correlation_id,
            "causation_id": META.causation_id,
            "source_offset": META.source_offset,
            "index": META.index,
            "count": META.count,
            "time": META.time,
            "payload_hash": META.payload_hash,
        }
        fastavro.schemaless_writer(out, schema, {"meta": meta, **to_dict(event)})
        return out.getvalue()

    def read_theirs() -> Any:
        values: Any = fastavro.schemaless_reader(io.BytesIO(value[PREFIX_BYTES:]), schema, None)
        return EventMeta(**values["meta"]), from_dict(values)

    assert write_theirs() == value == prefix + body
    assert read_theirs() == readers[prefix](value) == (META, event)
    return [
        Case(f"write, {name}", lambda: write(*META, event), write_theirs),
        Case(f"read, {name}", lambda: readers[value[:PREFIX_BYTES]](value), read_theirs),
    ]


def older_writer(catalog: Catalog, bench: AggregateType) -> Case:
    """An older schema: one field removed since, one added with a default, one promoted."""
    file = next(f for f in catalog.schemas() if f.name == "Small")
    now = file.schema
    fields = {each["name"]: each for each in now["fields"]}
    older = {
        **now,
        "fields": [
            fields["meta"],
            fields["account"],
            {"name": "branch", "type": "string"},
            fields["amount"],
            fields["currency"],
            {"name": "rate", "type": "float"},
        ],
    }
    newer = {**now, "fields": [*now["fields"][:-1], {**fields["final"], "default": False}]}
    record = bench.events[Small].record
    with_default = type(record)(
        record.cls, record.name, (*record.fields[:-1], type(record.fields[0])("final", record.fields[-1].type, False))
    )
    plan = build(with_meta("event", with_default), parse(newer), parse(older))
    read = compile_reader("older Small", plan, "meta+value", 0)
    writer_schema, reader_schema = fastavro.parse_schema(older), fastavro.parse_schema(newer)
    out = io.BytesIO()
    body = {"meta": META._asdict(), **small_dict(SMALL), "branch": "north", "rate": 1.5}
    fastavro.schemaless_writer(out, writer_schema, body)
    value = out.getvalue()

    def read_theirs() -> Any:
        values: Any = fastavro.schemaless_reader(io.BytesIO(value), writer_schema, reader_schema)
        return EventMeta(**values["meta"]), small_from(values)

    assert read(value) == read_theirs()
    return Case("read an older writer's", lambda: read(value), read_theirs)


def per_call(function: Callable[[], Any], calls: int) -> float:
    """Microseconds."""
    start = time.process_time()
    for _ in range(calls):
        function()
    return (time.process_time() - start) / calls * 1e6


def measure(case: Case, rounds: int, calls: int) -> tuple[float, float]:
    pairs = [(per_call(case.ours, calls), per_call(case.fastavro, calls)) for _ in range(rounds)]
    return min(ours for ours, _ in pairs), min(theirs for _, theirs in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    results.add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=2000)
    arguments = parser.parse_args()
    measured = {case.name: measure(case, arguments.rounds, arguments.calls) for case in cases()}
    rows = {name: {"ours_us": a, "fastavro_us": b, "ratio": b / a} for name, (a, b) in measured.items()}

    def table() -> None:
        print(f"{'microseconds a record':<28}{'ours':>8}{'fastavro':>10}{'ratio':>8}")
        for name, (ours, theirs) in measured.items():
            print(f"{name:<28}{ours:>8.2f}{theirs:>10.2f}{theirs / ours:>7.2f}x")

    results.tell(arguments, {"python": sys.version.split()[0], "fastavro": fastavro.__version__, "cases": rows}, table)


if __name__ == "__main__":
    main()

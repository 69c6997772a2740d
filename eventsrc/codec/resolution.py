"""How bytes of a writer's schema become values of a reader's types: Avro's schema resolution, decided once.

The answer is a plan, a tree from which `reader` generates code. What can never be read raises `Unresolvable` with the
path and the reason. Looks at schemas and types only, never at bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from eventsrc.codec import scalars
from eventsrc.codec.nodes import (
    ArrayNode,
    EnumNode,
    FieldNode,
    FixedNode,
    MapNode,
    NamedNode,
    Node,
    PrimitiveNode,
    RecordNode,
    UnionNode,
)
from eventsrc.codec.schema import default_of, enum_symbols, literal_symbols, python_class, wire_type
from eventsrc.model.types import (
    MISSING,
    DecimalScaled,
    DictOf,
    EnumOf,
    Field,
    FieldType,
    Fixed,
    ListOf,
    LiteralOf,
    Primitive,
    RecordOf,
    RecordType,
    SetOf,
    TupleOf,
    UnionOf,
)


class Unresolvable(Exception):  # noqa: N818 - an answer of this module, turned into an error by its callers
    """The reader's type can never take what the writer's schema writes."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path or 'the record'}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(slots=True, eq=False, repr=False)
class Scalar:
    """One value read by the rule of `wire` (an Avro primitive or `fixed`), then converted."""

    wire: str
    size: int = 0
    convert: Callable[[Any], Any] | None = None
    moment: bool = False


@dataclass(slots=True, eq=False, repr=False)
class Symbols:
    """Values by the writer's index; `unknown` are the writer's symbols that have no value here."""

    values: dict[int, Any]
    count: int
    unknown: tuple[str, ...] = ()


@dataclass(slots=True, eq=False, repr=False)
class Items:
    item: Plan
    node: Node
    container: type


@dataclass(slots=True, eq=False, repr=False)
class Entries:
    value: Plan


@dataclass(slots=True, eq=False, repr=False)
class Choice:
    """By the writer's branch; one that cannot be read says why when it is met."""

    branches: tuple[Plan | Unresolvable, ...]


@dataclass(slots=True, eq=False, repr=False)
class Skip:
    node: Node


@dataclass(slots=True, eq=False, repr=False)
class Step:
    """One field of the writer's: its plan, and the reader's field that it fills, if any."""

    plan: Plan
    target: int | None


@dataclass(slots=True, eq=False, repr=False)
class Build:
    """The writer's fields in their order; then the reader's class from `count` values, the rest being defaults."""

    record: RecordType | None  # None: a plain tuple
    steps: tuple[Step, ...]
    count: int


Plan = Scalar | Symbols | Items | Entries | Choice | Skip | Build

_WIRE = {
    "null": "null",
    "bool": "boolean",
    "int": "long",
    "float": "double",
    "str": "string",
    "bytes": "bytes",
    "uuid": "string",
    "datetime": "long",
    "date": "int",
    "time": "long",
    "timedelta": "long",
    "decimal-text": "string",
}
_CONVERT: dict[str, Callable[[Any], Any]] = {
    "uuid": scalars.uuid_from,
    "datetime": scalars.datetime_from,
    "date": scalars.date_from,
    "time": scalars.time_from,
    "timedelta": scalars.timedelta_from,
    "decimal-text": scalars.decimal_text_from,
}
_PROMOTED = {
    "long": {"long", "int"},
    "int": {"int"},
    "double": {"double", "float", "long", "int"},
    "string": {"string", "bytes"},
    "bytes": {"bytes", "string"},
    "boolean": {"boolean"},
    "null": {"null"},
}
MOMENT = Primitive("int")
"""An int that, known by being this very object, holds a time in microseconds: it is read by a faster path."""

# a plain writer type that a logical reader type may take over: its values are checked one by one
_ADOPTED = {"uuid", "decimal-text"}


def resolve(declared: FieldType, reader: Node, writer: Node, path: str = "") -> Plan:
    """The plan for one type. `reader` is the node that `declared` was derived to."""
    if isinstance(writer, UnionNode):
        return _from_union(declared, reader, writer, path)
    if isinstance(declared, UnionOf):
        return _into_union(declared, reader, writer, path)
    if isinstance(declared, Primitive):
        return _primitive(declared, reader, writer, path)
    if isinstance(declared, DecimalScaled):
        _same_logical(reader, writer, path)
        return Scalar(_promoted("bytes", writer, path, exact=True), convert=scalars.scaled_from(declared.places))
    if isinstance(declared, Fixed):
        return _fixed(declared, reader, writer, path)
    if isinstance(declared, EnumOf | LiteralOf):
        return _symbols(declared, reader, writer, path)
    if isinstance(declared, RecordOf):
        return build(declared.record, reader, writer, path)
    if isinstance(declared, TupleOf) and not declared.variadic:
        return _tuple(declared, reader, writer, path)
    return _container(declared, reader, writer, path)


def build(record: RecordType, reader: Node, writer: Node, path: str = "") -> Build:
    """The plan for a class. The writer's fields are matched by name, then by the reader's aliases."""
    if not isinstance(writer, RecordNode) or not isinstance(reader, RecordNode):
        raise Unresolvable(path, f"a record where the writer has {describe(writer)}")
    _same_name(reader, writer, path)
    by_name = {field.name: index for index, field in enumerate(writer.fields)}
    targets: dict[int, int] = {}
    for index, field in enumerate(record.fields):
        found = next((by_name[name] for name in (field.name, *field.aliases) if name in by_name), None)
        if found is not None and found not in targets:
            targets[found] = index
        elif default_of(field) is MISSING:
            raise Unresolvable(_join(path, field.name), "the writer has no such field, and it has no default")
    steps = tuple(
        _step(record.fields[targets[i]], targets[i], reader, written, path) if i in targets else _skip(written)
        for i, written in enumerate(writer.fields)
    )
    return Build(record, steps, len(record.fields))


def _step(field: Field, index: int, reader: RecordNode, written: FieldNode, path: str) -> Step:
    own = next(node for node in reader.fields if node.name == field.name)
    return Step(resolve(wire_type(field), own.node, written.node, _join(path, field.name)), index)


def _skip(written: FieldNode) -> Step:
    return Step(Skip(written.node), None)


def _primitive(declared: Primitive, reader: Node, writer: Node, path: str) -> Scalar:
    wire = _promoted(_WIRE[declared.kind], writer, path, exact=reader.logical is not None)
    _same_logical(reader, writer, path)
    convert = _CONVERT.get(declared.kind)
    if declared.kind == "float" and wire in {"long", "int"}:
        convert = float
    if declared.kind == "bytes" and wire == "string":
        return Scalar("bytes")
    if _WIRE[declared.kind] == "string":
        return Scalar("string", convert=convert)
    return Scalar(wire, convert=convert, moment=declared is MOMENT or declared.kind == "datetime")


def _promoted(wanted: str, writer: Node, path: str, *, exact: bool) -> str:
    allowed = {wanted} if exact else _PROMOTED[wanted]
    if not isinstance(writer, PrimitiveNode) or writer.type not in allowed:
        raise Unresolvable(path, f"{wanted} where the writer has {describe(writer)}")
    return writer.type


def _same_logical(reader: Node, writer: Node, path: str) -> None:
    if reader.logical is None or reader.logical == writer.logical:
        return
    if writer.logical is None and reader.logical in _ADOPTED:
        return
    raise Unresolvable(path, f"{describe(reader)} where the writer has {describe(writer)}")


def _fixed(declared: Fixed, reader: Node, writer: Node, path: str) -> Scalar:
    if not isinstance(writer, FixedNode) or writer.size != declared.size:
        raise Unresolvable(path, f"{describe(reader)} where the writer has {describe(writer)}")
    _same_name(reader, writer, path)
    return Scalar("fixed", declared.size)


def _symbols(declared: EnumOf | LiteralOf, reader: Node, writer: Node, path: str) -> Plan:
    if isinstance(declared, EnumOf):
        named = enum_symbols(declared.cls) is not None
        values: dict[Any, Any] = dict(declared.cls.__members__)
    else:
        named = literal_symbols(declared) is not None
        values = {value: value for value in declared.values}
    if not named:
        wire = {str: "string", int: "long", bool: "boolean"}[
            str if isinstance(declared, EnumOf) else type(declared.values[0])
        ]
        return Scalar(_promoted(wire, writer, path, exact=True), convert=values.__getitem__)
    if not isinstance(writer, EnumNode):
        raise Unresolvable(path, f"an enum where the writer has {describe(writer)}")
    _same_name(reader, writer, path)
    known = {index: values[symbol] for index, symbol in enumerate(writer.symbols) if symbol in values}
    if not known:
        raise Unresolvable(path, f"the enum has none of the writer's symbols {', '.join(writer.symbols)}")
    return Symbols(known, len(writer.symbols), tuple(symbol for symbol in writer.symbols if symbol not in values))


def _tuple(declared: TupleOf, reader: Node, writer: Node, path: str) -> Build:
    if not isinstance(writer, RecordNode) or not isinstance(reader, RecordNode):
        raise Unresolvable(path, f"a tuple where the writer has {describe(writer)}")
    _same_name(reader, writer, path)
    places = {node.name: index for index, node in enumerate(reader.fields)}
    missing = places.keys() - {written.name for written in writer.fields}
    if missing:
        raise Unresolvable(path, f"the writer has no {', '.join(sorted(missing))}")
    steps = tuple(
        Step(
            resolve(declared.items[places[written.name]], reader.fields[places[written.name]].node, written.node, path),
            places[written.name],
        )
        if written.name in places
        else _skip(written)
        for written in writer.fields
    )
    return Build(None, steps, len(declared.items))


def _container(declared: FieldType, reader: Node, writer: Node, path: str) -> Plan:
    if isinstance(declared, DictOf):
        if not isinstance(writer, MapNode) or not isinstance(reader, MapNode):
            raise Unresolvable(path, f"a map where the writer has {describe(writer)}")
        return Entries(resolve(declared.value, reader.values, writer.values, f"{path}[values]"))
    if not isinstance(writer, ArrayNode) or not isinstance(reader, ArrayNode):
        raise Unresolvable(path, f"an array where the writer has {describe(writer)}")
    assert isinstance(declared, ListOf | SetOf | TupleOf)
    item = declared.items[0] if isinstance(declared, TupleOf) else declared.item
    container = python_class(declared)
    return Items(resolve(item, reader.items, writer.items, f"{path}[items]"), writer.items, container)


# ---- what a plan cannot read


def losses(record: RecordType, reader: Node, writer: Node) -> list[Unresolvable]:
    """Everything that stands between the writer's schema and the class, field by field: what makes a plan impossible,
    and the values that a plan refuses when it meets them. Empty where whatever was written can be read."""
    found: list[Unresolvable] = []
    for field in record.fields:
        try:
            plan = build(RecordType(record.cls, record.name, (field,), record.aliases), reader, writer)
        except Unresolvable as failure:
            found.append(failure)
        else:
            found += refusals(plan, "")
    return found


def refusals(plan: Plan, path: str) -> Iterator[Unresolvable]:
    """What a plan refuses when it meets it: branches of a union, symbols of an enum."""
    if isinstance(plan, Symbols) and plan.unknown:
        yield Unresolvable(path, f"what was written may hold {', '.join(plan.unknown)}, which the code's type has not")
    elif isinstance(plan, Choice):
        for branch in plan.branches:
            if isinstance(branch, Unresolvable):
                yield branch
            else:
                yield from refusals(branch, path)
    elif isinstance(plan, Items):
        yield from refusals(plan.item, f"{path}[items]")
    elif isinstance(plan, Entries):
        yield from refusals(plan.value, f"{path}[values]")
    elif isinstance(plan, Build):
        for step in plan.steps:
            if step.target is not None:
                name = f"[{step.target}]" if plan.record is None else plan.record.fields[step.target].name
                yield from refusals(step.plan, _join(path, name))


# ---- unions


def _from_union(declared: FieldType, reader: Node, writer: UnionNode, path: str) -> Choice:
    branches: list[Plan | Unresolvable] = []
    for branch in writer.branches:
        try:
            branches.append(resolve(declared, reader, branch, path))
        except Unresolvable as failure:
            branches.append(failure)
    if all(isinstance(branch, Unresolvable) for branch in branches):
        raise Unresolvable(path, f"{describe(reader)} where the writer has {describe(writer)}")
    return Choice(tuple(branches))


def _into_union(declared: UnionOf, reader: Node, writer: Node, path: str) -> Plan:
    """Avro's order: a member of the very type first, then the first that takes it by promotion."""
    assert isinstance(reader, UnionNode)
    reasons = []
    members = list(zip(declared.members, reader.branches, strict=True))
    for exact in (True, False):
        for member, node in members:
            for candidate, written in _unwrapped(member, node, writer):
                if _alike(candidate, written) is exact:
                    try:
                        return resolve(member, candidate, written, path)
                    except Unresolvable as failure:
                        reasons.append(failure.reason)
    raise Unresolvable(path, f"no member of the union takes {describe(writer)}")


def _unwrapped(member: FieldType, reader: Node, writer: Node) -> Iterator[tuple[Node, Node]]:
    """A member may stand in a record of one field, for the reader, for the writer or for both: the bytes are the
    same. A record of the user's is never looked into."""
    if not is_wrapper(member, reader):
        if isinstance(reader, RecordNode) or not _has_one_value(writer):
            yield reader, writer
        return
    assert isinstance(reader, RecordNode)
    inner = reader.fields[0].node
    if isinstance(writer, RecordNode) and len(writer.fields) == 1 and _matching_names(reader, writer):
        yield inner, writer.fields[0].node
    else:
        yield inner, writer


def is_wrapper(member: FieldType, node: Node) -> bool:
    """Whether a union's branch is the record that `schema` puts around a member, or the framework around an int."""
    plain = not isinstance(member, RecordOf) and not (isinstance(member, TupleOf) and not member.variadic)
    return plain and isinstance(node, RecordNode)


def _has_one_value(node: Node) -> bool:
    return isinstance(node, RecordNode) and len(node.fields) == 1 and node.fields[0].name == "value"


def _alike(reader: Node, writer: Node) -> bool:
    if isinstance(reader, NamedNode) and isinstance(writer, NamedNode):
        return reader.type == writer.type and _matching_names(reader, writer)
    return reader.type == writer.type and reader.logical == writer.logical


# ---- names


def _same_name(reader: Node, writer: Node, path: str) -> None:
    assert isinstance(reader, NamedNode)
    assert isinstance(writer, NamedNode)
    if not _matching_names(reader, writer):
        mend = f"give the class or field the alias {_simple(writer.name)!r}"
        raise Unresolvable(path, f"{reader.name} where the writer has {writer.name}: {mend}")


def _matching_names(reader: NamedNode, writer: NamedNode) -> bool:
    """By unqualified name, as Avro's resolution does, or by an alias."""
    wanted = _simple(writer.name)
    return wanted == _simple(reader.name) or wanted in map(_simple, reader.aliases)


def _simple(name: str) -> str:
    return name.rpartition(".")[2]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def describe(node: Node) -> str:
    """A type in a few words, for messages."""
    if isinstance(node, UnionNode):
        return f"a union of {', '.join(describe(branch) for branch in node.branches)}"
    if isinstance(node, NamedNode):
        return f"{node.type} {node.name}"
    return node.type if node.logical is None else f"{node.type} ({node.logical})"

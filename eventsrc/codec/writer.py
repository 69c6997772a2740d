"""Generates, from field types, the function that writes objects as one schema's bytes.

A writer refuses every value that would not decode to an equal value of the same type. The generated code only finds
out that something is wrong; `mistakes` then walks the value and says what and where. Knows nothing of files,
fingerprints or aggregates; a prefix is written as it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from eventsrc.codec import scalars, wire
from eventsrc.codec.blocks import pack_entry_head
from eventsrc.codec.mistakes import explain
from eventsrc.codec.nodes import ArrayNode, MapNode, Node, RecordNode, UnionNode, minimum_bytes
from eventsrc.codec.resolution import is_wrapper
from eventsrc.codec.schema import enum_symbols, literal_symbols, python_class, wire_type
from eventsrc.codec.source import Lines, Source, attribute
from eventsrc.errors import EncodingError
from eventsrc.model.types import (
    DecimalScaled,
    DictOf,
    EnumOf,
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

_LOOPS_INLINE = 3
_INDENT_INLINE = 12


class _Mistyped(Exception):  # noqa: N818 - raised and caught within one generated function
    """A value is not of its field's type. `explain` finds out where."""


class _TooManyEmpty(Exception):  # noqa: N818 - as above
    """More items without bytes than a reader takes."""


def _mistyped(*_: object) -> bytes:
    raise _Mistyped


_NAMES: dict[str, Any] = {
    "INTS": wire.INTS,
    "LOWS": wire.LOWS,
    "TAILS": wire.TAILS,
    "tail_of": wire.tail_of,
    "long_bytes": wire.long_bytes,
    "moment_bytes": wire.moment_bytes,
    "double_bytes": wire.double_bytes,
    "join": b"".join,
    "pack_entry_head": pack_entry_head,
    "Mistyped": _Mistyped,
    "TooManyEmpty": _TooManyEmpty,
    "mistyped": _mistyped,
}

_CONVERT: dict[str, Callable[[Any], Any]] = {
    "uuid": str,
    "datetime": scalars.microseconds_of,
    "date": scalars.days_of,
    "time": scalars.time_of_day_of,
    "timedelta": scalars.timedelta_of,
    "decimal-text": scalars.decimal_text_of,
}

Shape = Literal["event", "command", "value", "entry"]

_SIGNATURES: dict[Shape, str] = {
    "event": "command_id, correlation_id, causation_id, source_offset, index, count, time, payload_hash, value",
    "command": "id, correlation_id, causation_id, time, reply_partition, value",
    "value": "value",
    "entry": "value",
}


def _tailed(name: str) -> tuple[tuple[str, ...], list[str]]:
    """Lines and parts for an integer whose bytes but the first two are like those of the one written before."""
    head, tail = f"{name}_head", f"{name}_tail"
    lines = (
        f"if {name} >= {wire.SMALLEST_TAILED}:",
        f"    {head} = LOWS[{name} & 8191]",
        f"    try: {tail} = TAILS[{name} >> 13]",
        f"    except KeyError: {tail} = tail_of({name})",
        f"else: {head} = long_bytes({name}); {tail} = b''",
    )
    return lines, [head, tail]


_TIME_LINES, _TIME = _tailed("time")
_OFFSET_LINES, _OFFSET = _tailed("source_offset")
_META_LINES: dict[Shape, tuple[str, ...]] = {
    "event": (*_TIME_LINES, *_OFFSET_LINES),
    "command": _TIME_LINES,
    "value": (),
    "entry": ("memory = value._eventsrc_memory",),
}
# the two metas, written out: ids are bytes of a known length, integers are the framework's own
_META: dict[Shape, list[str]] = {
    "event": [
        "command_id",
        r"(b'\0' if correlation_id is None else b'\2' + correlation_id)",
        r"(b'\0' if causation_id is None else b'\2' + causation_id)",
        *_OFFSET,
        r"(b'\0\2' if count == 1 and index == 0 else long_bytes(index) + long_bytes(count))",
        *_TIME,
        "payload_hash",
    ],
    "command": [
        "id",
        r"(b'\0' if correlation_id is None else b'\2' + correlation_id)",
        r"(b'\0' if causation_id is None else b'\2' + causation_id)",
        *_TIME,
        r"(b'\0' if reply_partition is None else b'\2' + long_bytes(reply_partition))",
    ],
    "value": [],
    # as `codec.blocks.entry`, with a copy of the bytes less
    "entry": ["pack_entry_head(value._eventsrc_sequence, len(memory))", "memory"],
}
_META_CHECKS: dict[Shape, str] = {
    "event": "len(command_id) != 16 or len(payload_hash) != 8 or (correlation_id is not None and len(correlation_id) != 16)"
    " or (causation_id is not None and len(causation_id) != 16)",
    "command": "len(id) != 16 or (correlation_id is not None and len(correlation_id) != 16)"
    " or (causation_id is not None and len(causation_id) != 16)",
}


def compile_writer(
    name: str, record: RecordType, node: RecordNode, shape: Shape, prefix: bytes = b"", *, canonical: bool = False
) -> Callable[..., bytes]:
    """`write(meta's values..., value) -> bytes`: the prefix, meta as `shape` says, then the record's fields.

    `node` is what the record (with meta, if any) was derived to. `canonical`: maps by sorted key instead of insertion
    order, so that equal values have equal bytes. Raises `EncodingError` with the path to the field.
    """
    source = Source(_NAMES)
    source.names["refused"] = _refused(name, record, not canonical)
    lines = source.function(f"write({_SIGNATURES[shape]})")
    emitter = _Emitter(source, lines, canonical)
    with lines.block("try"):
        if shape in _META_CHECKS:
            lines.add(f"if {_META_CHECKS[shape]}: raise Mistyped")
        for line in _META_LINES[shape]:
            lines.add(line)
        if _holds_zero_width_items(node):
            lines.add(f"z = [{wire.ZERO_WIDTH_LIMIT}]")
        if prefix:
            emitter.parts.append(source.constant(prefix))
        emitter.parts += _META[shape]
        own = {field.name: field.node for field in node.fields}
        emitter.record(record, own, "value", check=not canonical)
        lines.add(f"return {emitter.result()}")
    lines.add("except MemoryError: raise")  # of the process, not of the value
    with lines.block("except Exception as error"):
        lines.add("raise refused(value, error) from None")
    return source.compile("write", f"<eventsrc writer of {name}>")


def _refused(name: str, record: RecordType, check: bool) -> Callable[[Any, Exception], EncodingError]:
    def refused(value: Any, error: Exception) -> EncodingError:
        found = explain(record, value, check=check)
        if found is not None:
            path, reason = found
            return EncodingError(f"{record.name}{path}: {reason}")
        if isinstance(error, _TooManyEmpty):
            return EncodingError(f"{name}: more than {wire.ZERO_WIDTH_LIMIT} items that take no bytes")
        return EncodingError(f"{name}: {type(error).__name__} {error}".rstrip())

    return refused


class _Emitter:
    """Code for one function. Parts of the output wait as expressions, until a branch or a loop needs them out."""

    def __init__(self, source: Source, lines: Lines, canonical: bool) -> None:
        self.source = source
        self.lines = lines
        self.canonical = canonical
        self.parts: list[str] = []
        self.listed = False
        self.loops = 0

    def result(self) -> str:
        if self.listed:
            self.flush()
            return "join(out)"
        return f"join(({', '.join(self.parts)}{',' if self.parts else ''}))"

    def flush(self) -> None:
        """Moves what waits into the list `out`, which is made where it is needed first."""
        if not self.listed:
            self.lines.add(f"out = [{', '.join(self.parts)}]")
        elif len(self.parts) == 1:
            self.lines.add(f"out.append({self.parts[0]})")
        elif self.parts:
            self.lines.add(f"out += ({', '.join(self.parts)})")
        self.listed = True
        self.parts = []

    # -- records

    def record(self, record: RecordType, nodes: dict[str, Node], value: str, *, check: bool = True) -> None:
        if check:
            self.lines.add(f"if type({value}) is not {self.source.constant(record.cls, 'C')}: raise Mistyped")
        for field in record.fields:
            own = self.source.fresh("f")
            self.lines.add(f"{own} = {value}.{attribute(field.name)}")
            self.value(wire_type(field), nodes[field.name], own)

    # -- values

    def value(self, declared: FieldType, node: Node, value: str) -> None:
        """Emits what checks and writes the value that the name `value` stands for."""
        if isinstance(declared, Primitive):
            self.primitive(declared, value)
        elif isinstance(declared, DecimalScaled):
            octets = self.converted(declared, scalars.scaled_bytes(declared.places), value)
            self.sized(octets)
        elif isinstance(declared, Fixed):
            self.lines.add(f"if type({value}) is not bytes or len({value}) != {declared.size}: raise Mistyped")
            self.parts.append(value)
        elif isinstance(declared, EnumOf):
            self.enum(declared, value)
        elif isinstance(declared, LiteralOf):
            self.literal(declared, value)
        elif isinstance(declared, UnionOf):
            self.union(declared, node, value)
        elif isinstance(declared, RecordOf):
            assert isinstance(node, RecordNode)
            self.record(declared.record, {field.name: field.node for field in node.fields}, value)
        elif isinstance(declared, TupleOf) and not declared.variadic:
            self.tuple(declared, node, value)
        elif self.loops >= _LOOPS_INLINE or self.lines.depth >= _INDENT_INLINE:
            self.outlined(declared, node, value)
        elif isinstance(declared, DictOf):
            self.map(declared, node, value)
        else:
            self.array(declared, node, value)

    def primitive(self, declared: Primitive, value: str) -> None:
        kind = declared.kind
        if kind == "null":
            self.lines.add(f"if {value} is not None: raise Mistyped")
        elif kind == "bool":
            self.parts.append(rf"(b'\1' if {value} is True else b'\0' if {value} is False else mistyped({value}))")
        elif kind == "int":
            self.lines.add(f"if type({value}) is not int: raise Mistyped")
            self.parts.append(f"(INTS[{value}] if -1024 <= {value} < 1024 else long_bytes({value}))")
        elif kind == "float":
            self.lines.add(f"if type({value}) is not float: raise Mistyped")
            self.parts.append(f"double_bytes({value})")
        elif kind == "bytes":
            self.lines.add(f"if type({value}) is not bytes: raise Mistyped")
            self.sized(value)
        elif kind == "str":
            self.lines.add(f"if type({value}) is not str: raise Mistyped")
            self.text(value)
        else:
            converted = self.converted(declared, _CONVERT[kind], value)
            if kind in {"uuid", "decimal-text"}:
                self.text(converted)
            else:
                self.parts.append(f"{'moment' if kind == 'datetime' else 'long'}_bytes({converted})")

    def converted(self, declared: FieldType, convert: Callable[[Any], Any], value: str) -> str:
        cls = self.source.constant(python_class(declared), "C")
        converted = self.source.fresh("x")
        self.lines.add(f"if type({value}) is not {cls}: raise Mistyped")
        self.lines.add(f"{converted} = {self.source.constant(convert, 'T')}({value})")
        return converted

    def text(self, value: str) -> None:
        octets = self.source.fresh("s")
        self.lines.add(f"{octets} = {value}.encode()")
        self.sized(octets)

    def sized(self, octets: str) -> None:
        length = self.source.fresh("n")
        self.lines.add(f"{length} = len({octets})")
        self.parts += [f"(INTS[{length}] if {length} < 1024 else long_bytes({length}))", octets]

    def enum(self, declared: EnumOf, value: str) -> None:
        self.lines.add(f"if type({value}) is not {self.source.constant(declared.cls, 'C')}: raise Mistyped")
        if enum_symbols(declared.cls) is None:
            encoded = {
                member.name: wire.long_bytes(len(name)) + name
                for member in declared.cls
                for name in [member.name.encode()]
            }
        else:
            encoded = {member.name: wire.long_bytes(index) for index, member in enumerate(declared.cls)}
        self.parts.append(f"{self.source.constant(encoded)}[{value}._name_]")

    def literal(self, declared: LiteralOf, value: str) -> None:
        cls = type(declared.values[0])
        self.lines.add(f"if type({value}) is not {self.source.constant(cls, 'C')}: raise Mistyped")
        named = literal_symbols(declared) is not None
        encoded = {known: _literal_bytes(known, index, named) for index, known in enumerate(declared.values)}
        self.parts.append(f"{self.source.constant(encoded)}[{value}]")

    def tuple(self, declared: TupleOf, node: Node, value: str) -> None:
        assert isinstance(node, RecordNode)
        count = len(declared.items)
        self.lines.add(f"if type({value}) is not tuple or len({value}) != {count}: raise Mistyped")
        for index, (item, field) in enumerate(zip(declared.items, node.fields, strict=True)):
            own = self.source.fresh("f")
            self.lines.add(f"{own} = {value}[{index}]")
            self.value(item, field.node, own)

    # -- unions

    def union(self, declared: UnionOf, node: Node, value: str) -> None:
        """Flat members give one part each; where a member holds a container, everything goes through the list."""
        assert isinstance(node, UnionNode)
        flat = all(_is_flat(member) for member in declared.members)
        waiting = self.parts
        if not flat:
            self.flush()
        part = self.source.fresh("u")
        for index, (member, branch) in enumerate(zip(declared.members, node.branches, strict=True)):
            with self.lines.block(f"{'if' if index == 0 else 'elif'} {self.is_member(member, value)}"):
                self.parts = [repr(wire.long_bytes(index))]
                self.value(member, _inside(member, branch), value)
                if flat:
                    self.lines.add(f"{part} = {' + '.join(self.parts)}")
                else:
                    self.flush()
        self.lines.add("else: raise Mistyped")
        self.parts = [*waiting, part] if flat else []

    def is_member(self, member: FieldType, value: str) -> str:
        if isinstance(member, Primitive) and member.kind == "null":
            return f"{value} is None"
        test = f"type({value}) is {self.source.constant(python_class(member), 'C')}"
        if isinstance(member, LiteralOf):
            test += f" and {value} in {self.source.constant(frozenset(member.values))}"
        return test

    # -- containers

    def array(self, declared: FieldType, node: Node, value: str) -> None:
        assert isinstance(node, ArrayNode)
        self.lines.add(f"if type({value}) is not {python_class(declared).__name__}: raise Mistyped")
        if minimum_bytes(node.items) == 0:
            self.lines.add(f"z[0] -= len({value})")
            self.lines.add("if z[0] < 0: raise TooManyEmpty")
        if isinstance(declared, SetOf):
            self.count(value)
            self.set_items(declared, node, value)
        else:
            assert isinstance(declared, ListOf | TupleOf)
            item = declared.item if isinstance(declared, ListOf) else declared.items[0]
            self.count(value)
            name = self.source.fresh("i")
            with self.loop(f"for {name} in {value}"):
                self.value(item, node.items, name)
        self.parts.append(r"b'\0'")

    def count(self, value: str) -> None:
        """A block's count; none for an empty container, whose closing zero is all."""
        length = self.source.fresh("n")
        self.lines.add(f"{length} = len({value})")
        self.parts.append(rf"(INTS[{length}] if 0 < {length} < 1024 else long_bytes({length}) if {length} else b'')")

    def loop(self, head: str) -> _Loop:
        self.flush()
        return _Loop(self, head)

    def set_items(self, declared: SetOf, node: ArrayNode, value: str) -> None:
        """Sorted by encoded item: equal sets have equal bytes whatever order they iterate in."""
        self.flush()
        write = self.part_writer(declared.item, node.items)
        budget = ", z" if _holds_zero_width_items(node.items) else ""
        item = self.source.fresh("i")
        self.lines.add(f"out += sorted([{write}({item}{budget}) for {item} in {value}])")

    def map(self, declared: DictOf, node: Node, value: str) -> None:
        assert isinstance(node, MapNode)
        self.lines.add(f"if type({value}) is not dict: raise Mistyped")
        self.count(value)
        key, item = self.source.fresh("k"), self.source.fresh("i")
        entries = f"sorted({value}.items())" if self.canonical else f"{value}.items()"
        if self.canonical:
            entries = self.source.fresh("k")
            self.lines.add(f"{entries} = sorted({value})")
            with self.loop(f"for {key} in {entries}"):
                self.lines.add(f"{item} = {value}[{key}]")
                self.entry(declared, node, key, item)
        else:
            with self.loop(f"for {key}, {item} in {entries}"):
                self.entry(declared, node, key, item)
        self.parts.append(r"b'\0'")

    def entry(self, declared: DictOf, node: MapNode, key: str, item: str) -> None:
        self.lines.add(f"if type({key}) is not str: raise Mistyped")
        self.text(key)
        self.value(declared.value, node.values, item)

    def outlined(self, declared: FieldType, node: Node, value: str) -> None:
        """A container too deep for more nesting becomes a function of its own."""
        budget = ", z" if _holds_zero_width_items(node) else ""
        self.parts.append(f"{self.part_writer(declared, node)}({value}{budget})")

    def part_writer(self, declared: FieldType, node: Node) -> str:
        name = self.source.fresh("write")
        budget = ", z" if _holds_zero_width_items(node) else ""
        inner = _Emitter(self.source, self.source.function(f"{name}(x{budget})"), self.canonical)
        inner.value(declared, node, "x")
        inner.lines.add(f"return {inner.result()}")
        return name


class _Loop:
    """A loop's body; what it wrote goes into the list before the next round."""

    def __init__(self, emitter: _Emitter, head: str) -> None:
        self.emitter = emitter
        self.block = emitter.lines.block(head)

    def __enter__(self) -> None:
        self.block.__enter__()
        self.emitter.loops += 1

    def __exit__(self, *exception: Any) -> None:
        self.emitter.flush()
        self.emitter.loops -= 1
        self.block.__exit__(None, None, None)


def _literal_bytes(value: str | int | bool, index: int, named: bool) -> bytes:
    if named:
        return wire.long_bytes(index)
    if isinstance(value, bool):
        return b"\1" if value else b"\0"
    if isinstance(value, int):
        return wire.long_bytes(value)
    return wire.long_bytes(len(value.encode())) + value.encode()


def _inside(member: FieldType, branch: Node) -> Node:
    """A wrapping record's one field is written as the member itself would be."""
    if is_wrapper(member, branch):
        assert isinstance(branch, RecordNode)
        return branch.fields[0].node
    return branch


def _is_flat(declared: FieldType) -> bool:
    """Whether values are written without a loop."""
    if isinstance(declared, RecordOf):
        return all(_is_flat(field.type) for field in declared.record.fields)
    if isinstance(declared, TupleOf):
        return not declared.variadic and all(map(_is_flat, declared.items))
    if isinstance(declared, UnionOf):
        return all(map(_is_flat, declared.members))
    return not isinstance(declared, ListOf | SetOf | DictOf)


def _holds_zero_width_items(node: Node) -> bool:
    if isinstance(node, ArrayNode):
        return minimum_bytes(node.items) == 0 or _holds_zero_width_items(node.items)
    if isinstance(node, MapNode):
        return _holds_zero_width_items(node.values)
    if isinstance(node, UnionNode):
        return any(_holds_zero_width_items(branch) for branch in node.branches)
    return isinstance(node, RecordNode) and any(_holds_zero_width_items(field.node) for field in node.fields)

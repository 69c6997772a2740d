"""Generates, from a plan, the function that reads one schema's bytes into objects.

Positions are tracked while generating: as long as only fixed-size values came before, they are constants. Slices are
not checked against the end one by one: a position never moves back, so one comparison at the end finds both truncated
and trailing bytes, and loops check their counts against what is left before they begin. Knows nothing of files,
fingerprints or aggregates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from struct import Struct
from types import MemberDescriptorType
from typing import Any, Literal

from eventsrc.codec import wire
from eventsrc.codec.nodes import (
    ArrayNode,
    EnumNode,
    FixedNode,
    MapNode,
    Node,
    PrimitiveNode,
    RecordNode,
    UnionNode,
    minimum_bytes,
)
from eventsrc.codec.resolution import Build, Choice, Entries, Items, Plan, Scalar, Skip, Symbols, Unresolvable
from eventsrc.codec.source import Lines, Source, attribute
from eventsrc.errors import DecodingError
from eventsrc.model.types import Field, RecordType

_LOOPS_INLINE = 3  # Python nests 20 blocks at most, and deep indentation is slower to compile than a call
_INDENT_INLINE = 12
_REASON_CHARACTERS = 200  # a value that is refused may stand in the reason, and be as long as the bytes

# A command's meta where it came from outside, as nearly all do: an id, no correlation and no causation (two bytes), a time
# of eight bytes (every byte but the last is marked). The time is not decoded: deciding does not look at it.
_PLAIN_META = Struct("<16sHQ")
_MARKS, _EIGHT_BYTES = 0x8080808080808080, 0x0080808080808080

_NAMES: dict[str, Any] = {
    "ZIGZAG": wire.ZIGZAG,
    "BOOLEANS": (False, True),
    "long_at": wire.long_at,
    "wide_at": wire.wide_at,
    "wide_int_at": wire.wide_int_at,
    "HIGHS": wire.HIGHS,
    "high_of": wire.high_of,
    "span_at": wire.span_at,
    "block_at": wire.block_at,
    "double_at": wire.double_at,
    "float_at": wire.float_at,
    "new_object": object.__new__,
    "new_tuple": tuple.__new__,
    "plain_meta_at": _PLAIN_META.unpack_from,
}

Shape = Literal["value", "meta+value", "meta+start+value", "deciding", "into"]


def compile_reader(name: str, plan: Build, shape: Shape, start: int) -> Callable[..., Any]:
    """`read(value)` for a record's bytes that begin at `start`. `name` is for messages.

    `value` -> the object; `meta+value` -> (meta, object) and `meta+start+value` -> (meta, where the fields after meta
    begin, object), for a plan whose first field is meta; `deciding` -> (id, correlation, causation, reply, where the fields
    after meta begin, object), for a command's; `into`: `read(value, instance)` sets the instance's fields.
    Every failure is a `DecodingError`, but for a lack of memory.
    """
    source = Source(_NAMES)
    source.names["undecodable"] = _undecodable(name)
    lines = source.function("read(v, instance)" if shape == "into" else "read(v)")
    emitter = _Emitter(source, lines, "", start)
    with lines.block("try"):
        if _holds_zero_width_items(plan):
            lines.add(f"z = [{wire.ZERO_WIDTH_LIMIT}]")
        statements, result = emitter.top(plan, shape)
        with lines.block(f"if {emitter.at()} == len(v)"):
            for statement in statements:
                lines.add(statement)
            lines.add(f"return {result}")
    lines.add("except MemoryError: raise")  # of the process, not of the bytes
    with lines.block("except Exception as error"):
        lines.add("raise undecodable(v, error) from error")
    lines.add("raise undecodable(v, None)")
    return source.compile("read", f"<eventsrc reader of {name}>")


def _undecodable(name: str) -> Callable[[bytes, Exception | None], DecodingError]:
    def undecodable(value: bytes, error: Exception | None) -> DecodingError:
        if error is None:
            return DecodingError(f"{name}: its {len(value)} bytes are too few or too many for its schema")
        reason = "the bytes end too early" if isinstance(error, IndexError) else f"{type(error).__name__}: {error}"
        return DecodingError(f"{name}: {reason[:_REASON_CHARACTERS]} ({len(value)} bytes)")

    return undecodable


class _Emitter:
    """Code for one function. The position is `base + offset`; without a base it is a constant."""

    def __init__(self, source: Source, lines: Lines, base: str, offset: int) -> None:
        self.source = source
        self.lines = lines
        self.base = base
        self.offset = offset
        self.loops = 0

    # -- positions

    def at(self, extra: int = 0) -> str:
        offset = self.offset + extra
        if not self.base:
            return str(offset)
        return f"{self.base} + {offset}" if offset else self.base

    def settle(self) -> None:
        """Brings the position into the variable, where branches meet and loops begin."""
        if self.at() != "p":
            self.lines.add(f"p = {self.at()}")
        self.moved()

    def moved(self) -> None:
        self.base, self.offset = "p", 0

    @contextmanager
    def branch(self, head: str) -> Iterator[None]:
        """A branch that begins where the code stands now, and leaves the position in the variable."""
        base, offset = self.base, self.offset
        with self.lines.block(head):
            yield
            self.settle()
        self.base, self.offset = base, offset

    # -- records

    def top(self, plan: Build, shape: Shape) -> tuple[list[str], str]:
        """Reads all fields; what is left to do once the end was found in its place, and the result."""
        assert plan.record is not None
        if shape == "into":
            pairs = zip(plan.record.fields, self.fields(plan), strict=True)
            return [f"instance.{attribute(field.name)} = {value}" for field, value in pairs], "instance"
        if shape == "value":
            return [], self.construct(plan.record, self.fields(plan))
        meta = self.deciding_meta(plan.steps[0].plan) if shape == "deciding" else self.value(plan.steps[0].plan)
        body_start = self.source.fresh("s")
        self.lines.add(f"{body_start} = {self.at()}")
        body = dataclasses.replace(plan.record, fields=plan.record.fields[1:])
        steps = tuple(
            dataclasses.replace(step, target=None if step.target is None else step.target - 1)
            for step in plan.steps[1:]
        )
        instance = self.construct(body, self.fields(Build(body, steps, plan.count - 1)))
        return [], f"({meta}, {instance})" if shape == "meta+value" else f"({meta}, {body_start}, {instance})"

    def deciding_meta(self, plan: Plan) -> str:
        """A command's meta as four names, not as a tuple, which takes as long to make as all of it to read."""
        assert isinstance(plan, Build)
        if not _is_todays_command_meta(plan):
            command_id, correlation_id, causation_id, _, reply = self.fields(plan)
            return f"{command_id}, {correlation_id}, {causation_id}, {reply}"
        steps, end = plan.steps, self.at(_PLAIN_META.size)
        self.lines.add("origin = None")
        self.lines.add(f"if len(v) >= {end}: command_id, origin, time = plain_meta_at(v, {self.at()})")
        with self.branch(f"if origin == 0 and time & {_MARKS} == {_EIGHT_BYTES}"):
            self.lines.add("correlation_id = causation_id = None")
            self.offset += _PLAIN_META.size
        with self.branch("else"):
            for name, step in zip(("command_id", "correlation_id", "causation_id"), steps[:3], strict=True):
                self.lines.add(f"{name} = {self.value(step.plan)}")
            self.long()
        self.moved()
        return f"command_id, correlation_id, causation_id, {self.value(steps[4].plan)}"

    def fields(self, plan: Build) -> list[str]:
        """Reads the writer's fields; the values' names in the reader's order, defaults included."""
        values: dict[int, str] = {}
        for step in plan.steps:
            if step.target is None:
                self.skip_plan(step.plan)
            else:
                values[step.target] = self.value(step.plan)
        fields = () if plan.record is None else plan.record.fields
        return [values[index] if index in values else self.default(fields[index]) for index in range(plan.count)]

    def default(self, field: Field) -> str:
        if field.default_factory is not None:
            return f"{self.source.constant(field.default_factory)}()"
        return self.source.constant(field.default)

    def construct(self, record: RecordType | None, values: list[str]) -> str:
        """An object from its fields. Setting the fields of a plain dataclass is what its `__init__` does, in two
        thirds of the time; a class with an `__init__` or `__post_init__` of its own gets its call."""
        joined = "".join(f"{value}, " for value in values)
        if record is None:
            return f"({joined})"
        cls = self.source.constant(record.cls, "C")
        if issubclass(record.cls, tuple):
            return f"new_tuple({cls}, ({joined}))"
        how = _construction(record)
        if how == "call":
            return f"{cls}({joined})"
        instance = self.source.fresh("o")
        self.lines.add(f"{instance} = new_object({cls})")
        for field, value in zip(record.fields, values, strict=True):
            if how == "set":
                self.lines.add(f"{instance}.{attribute(field.name)} = {value}")
            else:
                setter = self.source.constant(record.cls.__dict__[field.name].__set__, "S")
                self.lines.add(f"{setter}({instance}, {value})")
        return instance

    # -- values

    def value(self, plan: Plan) -> str:
        """Emits the reading of one value and returns the name, or expression, that stands for it."""
        if isinstance(plan, Scalar):
            return self.scalar(plan)
        if isinstance(plan, Symbols):
            return self.symbols(plan)
        if isinstance(plan, Build):
            instance = self.construct(plan.record, self.fields(plan))
            if instance.isidentifier():
                return instance
            value = self.source.fresh("x")
            self.lines.add(f"{value} = {instance}")
            return value
        if isinstance(plan, Choice):
            return self.choice(plan)
        assert isinstance(plan, Items | Entries)
        if self.loops >= _LOOPS_INLINE or self.lines.depth >= _INDENT_INLINE:
            return self.outlined(plan)
        return self.items(plan) if isinstance(plan, Items) else self.entries(plan)

    def scalar(self, plan: Scalar) -> str:
        if plan.moment:
            return self.converted(self.moment(), plan)
        read = {"long": self.long, "int": self.short, "string": self.text, "bytes": self.octets}.get(plan.wire)
        return self.converted(read() if read is not None else self.sized(plan), plan)

    def sized(self, plan: Scalar) -> str:
        if plan.wire == "null":
            return "None"
        value = self.source.fresh("x")
        if plan.wire == "boolean":
            self.lines.add(f"{value} = BOOLEANS[v[{self.at()}]]")
            self.offset += 1
        elif plan.wire == "fixed":
            self.lines.add(f"{value} = v[{self.at()}:{self.at(plan.size)}]")
            self.offset += plan.size
        else:
            self.lines.add(f"({value},) = {plan.wire}_at(v, {self.at()})")
            self.offset += 8 if plan.wire == "double" else 4
        return value

    def converted(self, value: str, plan: Scalar) -> str:
        if plan.convert is None:
            return value
        convert = "float" if plan.convert is float else self.source.constant(plan.convert, "T")
        self.lines.add(f"{value} = {convert}({value})")
        return value

    def short(self) -> str:
        return self.long("wide_int_at")

    def long(self, slow: str = "wide_at") -> str:
        value, byte, second = self.source.fresh("x"), self.source.fresh("b"), self.source.fresh("c")
        self.lines.add(f"{byte} = v[{self.at()}]")
        self.lines.add(f"if {byte} < 128: {value} = ZIGZAG[{byte}]; p = {self.at(1)}")
        self.lines.add(
            f"elif ({second} := v[{self.at(1)}]) < 128:"
            f" {value} = ({second} << 6 | ({byte} & 127) >> 1) ^ -({byte} & 1); p = {self.at(2)}"
        )
        self.lines.add(f"else: {value}, p = {slow}(v, {self.at()}, {byte}, {second})")
        self.moved()
        return value

    def moment(self) -> str:
        """A present time in microseconds: eight bytes, the last five of which were met before."""
        value, first, second, third = (self.source.fresh(prefix) for prefix in "xbcd")
        tail = f"v[{self.at(3)}:{self.at(8)}]"
        self.lines.add(f"try: {value} = HIGHS[{tail}]")
        self.lines.add(f"except KeyError: {value} = high_of({tail})")
        self.lines.add(
            f"if {value} is not None and ({first} := v[{self.at()}]) & 129 == 128"
            f" and ({second} := v[{self.at(1)}]) > 127 and ({third} := v[{self.at(2)}]) > 127:"
            f" {value} += ({first} >> 1) + ({second} << 6) + ({third} << 13); p = {self.at(8)}"
        )
        self.lines.add(f"else: {value}, p = long_at(v, {self.at()})")
        self.moved()
        return value

    def span(self) -> str:
        """A length; leaves the end in the position and returns the start."""
        byte, start = self.source.fresh("b"), self.source.fresh("s")
        self.lines.add(f"{byte} = v[{self.at()}]")
        self.lines.add(f"if {byte} & 129: {start}, p = span_at(v, {self.at()})")
        self.lines.add(f"else: {start} = {self.at(1)}; p = {start} + ({byte} >> 1)")
        self.moved()
        return start

    def octets(self) -> str:
        start, value = self.span(), self.source.fresh("x")
        self.lines.add(f"{value} = v[{start}:p]")
        return value

    def text(self) -> str:
        start, value = self.span(), self.source.fresh("x")
        self.lines.add(f"{value} = v[{start}:p].decode()")
        return value

    def symbols(self, plan: Symbols) -> str:
        value = self.source.fresh("x")
        if plan.count > 64:
            index = self.long()
            self.lines.add(f"{value} = {self.source.constant(plan.values)}[{index}]")
            return value
        by_byte = self.source.constant({index << 1: symbol for index, symbol in plan.values.items()})
        self.lines.add(f"{value} = {by_byte}[v[{self.at()}]]")
        self.offset += 1
        return value

    def choice(self, plan: Choice) -> str:
        value, byte = self.source.fresh("x"), self.source.fresh("b")
        self.lines.add(f"{byte} = v[{self.at()}]")
        self.offset += 1
        for index, branch in enumerate(plan.branches):
            with self.branch(f"{'if' if index == 0 else 'elif'} {byte} == {index << 1}"):
                if isinstance(branch, Unresolvable):
                    self.lines.add(f"raise ValueError({self.source.constant(str(branch))})")
                else:
                    self.lines.add(f"{value} = {self.value(branch)}")
        self.lines.add(f"else: raise ValueError(f'no branch {{{byte}}} in a union of {len(plan.branches)}')")
        self.moved()
        return value

    # -- containers

    def items(self, plan: Items) -> str:
        value = self.source.fresh("x")
        self.lines.add(f"{value} = []")
        with self.loop(minimum_bytes(plan.node)):
            item = self.value(plan.item)
            self.lines.add(f"{value}.append({item})")
        if plan.container is not list:
            self.lines.add(f"{value} = {plan.container.__name__}({value})")
        return value

    def entries(self, plan: Entries) -> str:
        value = self.source.fresh("x")
        self.lines.add(f"{value} = {{}}")
        with self.loop(1):
            key = self.text()
            item = self.value(plan.value)
            self.lines.add(f"{value}[{key}] = {item}")
        return value

    @contextmanager
    def loop(self, minimum: int) -> Iterator[None]:
        """The blocks of an array or a map; a count is believed once the bytes left could hold it."""
        count, end = self.source.fresh("n"), self.source.fresh("e")
        self.block_head(count, end)
        with self.lines.block(f"while {count}"):
            if minimum == 0:
                self.lines.add(f"z[0] -= {count}")
                self.lines.add(f"if z[0] < 0: raise ValueError(f'too many items without bytes: {{{count}}}')")
            else:
                left = "len(v) - p" if minimum == 1 else f"(len(v) - p) // {minimum}"
                self.lines.add(f"if {count} > {left}: raise ValueError(f'a count of {{{count}}} past the end')")
            self.loops += 1
            with self.lines.block(f"for _ in range({count})"):
                yield
                self.settle()
            self.loops -= 1
            self.lines.add(f"if {end} and p != {end}: raise ValueError('a block is not as long as it says')")
            self.lines.add("if not v[p]: p += 1; break")  # as good as always, one block is all
            self.block_head(count, end)

    def block_head(self, count: str, end: str) -> None:
        byte = self.source.fresh("b")
        self.lines.add(f"{byte} = v[{self.at()}]")
        self.lines.add(f"if {byte} & 129: {count}, p, {end} = block_at(v, {self.at()})")
        self.lines.add(f"else: {count} = {byte} >> 1; p = {self.at(1)}; {end} = 0")
        self.moved()

    def outlined(self, plan: Plan) -> str:
        """A container too deep for more nesting becomes a function of its own."""
        name, value = self.source.fresh("read"), self.source.fresh("x")
        budget = ", z" if _holds_zero_width_items(plan) else ""
        lines = self.source.function(f"{name}(v, p{budget})")
        inner = _Emitter(self.source, lines, "p", 0)
        result = inner.value(plan) if not isinstance(plan, Skip) else inner.skip(plan.node)
        lines.add(f"return {result}, {inner.at()}")
        self.lines.add(f"{value}, p = {name}(v, {self.at()}{budget})")
        self.moved()
        return value

    # -- what the reader does not want

    def skip_plan(self, plan: Plan) -> None:
        assert isinstance(plan, Skip)
        self.skip(plan.node)

    def skip(self, node: Node) -> str:
        if isinstance(node, PrimitiveNode):
            self.skip_primitive(node.type)
        elif isinstance(node, FixedNode):
            self.offset += node.size
        elif isinstance(node, EnumNode):
            index = self.long()
            self.lines.add(f"if not 0 <= {index} < {len(node.symbols)}: raise ValueError('no such symbol')")
        elif isinstance(node, RecordNode):
            for field in node.fields:
                self.skip(field.node)
        elif isinstance(node, UnionNode):
            self.skip_union(node)
        elif self.loops >= _LOOPS_INLINE or self.lines.depth >= _INDENT_INLINE:
            self.outlined(Skip(node))
        else:
            self.skip_container(node)
        return "None"

    def skip_primitive(self, kind: str) -> None:
        if kind in {"string", "bytes"}:
            self.span()
        elif kind in {"int", "long"}:
            self.long()
        else:
            self.offset += {"null": 0, "boolean": 1, "float": 4, "double": 8}[kind]

    def skip_union(self, node: UnionNode) -> None:
        byte = self.source.fresh("b")
        self.lines.add(f"{byte} = v[{self.at()}]")
        self.offset += 1
        for index, branch in enumerate(node.branches):
            with self.branch(f"{'if' if index == 0 else 'elif'} {byte} == {index << 1}"):
                self.skip(branch)
        self.lines.add("else: raise ValueError('no such branch')")
        self.moved()

    def skip_container(self, node: ArrayNode | MapNode) -> None:
        if isinstance(node, MapNode):
            with self.loop(1):
                self.span()
                self.skip(node.values)
        else:
            with self.loop(minimum_bytes(node.items)):
                self.skip(node.items)


def _is_todays_command_meta(plan: Build) -> bool:
    """Whether the writer had the fields of `CommandMeta`, all of them and in this order."""
    if [step.target for step in plan.steps] != [0, 1, 2, 3, 4]:
        return False
    command_id, correlation_id, causation_id, time, _ = (step.plan for step in plan.steps)
    return (
        isinstance(command_id, Scalar) and command_id.wire == "fixed"
        and _is_optional_id(correlation_id) and _is_optional_id(causation_id)
        and isinstance(time, Scalar) and time.moment
    )  # fmt: skip


def _is_optional_id(plan: Plan) -> bool:
    if not isinstance(plan, Choice) or len(plan.branches) != 2:
        return False
    absent, present = plan.branches
    return (
        isinstance(absent, Scalar) and absent.wire == "null" and isinstance(present, Scalar) and present.wire == "fixed"
    )


def _construction(record: RecordType) -> Literal["call", "set", "slots"]:
    cls: Any = record.cls  # Any: what is compared below are functions, as found on the class
    names = [field.name for field in record.fields]
    if (
        "__dataclass_params__" not in vars(cls)
        or hasattr(cls, "__post_init__")
        or cls.__new__ is not object.__new__
        or not _has_generated_init(cls)
        or [field.name for field in dataclasses.fields(cls)] != names
    ):
        return "call"
    if not cls.__dataclass_params__.frozen:
        return "set" if cls.__setattr__ is object.__setattr__ else "call"
    return "slots" if all(isinstance(vars(cls).get(name), MemberDescriptorType) for name in names) else "call"


def _has_generated_init(cls: Any) -> bool:
    """Whether `dataclasses` wrote the class's `__init__`: it does not replace one that the user wrote."""
    code = getattr(cls.__init__, "__code__", None)
    return code is not None and code.co_qualname.startswith("__create_fn__.")


def _holds_zero_width_items(plan: Plan | Unresolvable) -> bool:
    if isinstance(plan, Items):
        return minimum_bytes(plan.node) == 0 or _holds_zero_width_items(plan.item)
    if isinstance(plan, Entries):
        return _holds_zero_width_items(plan.value)
    if isinstance(plan, Choice):
        return any(_holds_zero_width_items(branch) for branch in plan.branches)
    if isinstance(plan, Build):
        return any(_holds_zero_width_items(step.plan) for step in plan.steps)
    return isinstance(plan, Skip) and _skips_zero_width_items(plan.node)


def _skips_zero_width_items(node: Node) -> bool:
    if isinstance(node, ArrayNode):
        return minimum_bytes(node.items) == 0 or _skips_zero_width_items(node.items)
    if isinstance(node, MapNode):
        return _skips_zero_width_items(node.values)
    if isinstance(node, UnionNode):
        return any(_skips_zero_width_items(branch) for branch in node.branches)
    return isinstance(node, RecordNode) and any(_skips_zero_width_items(field.node) for field in node.fields)

"""Avro schemas as trees: parsing, the parsing canonical form, the CRC-64-AVRO fingerprint.

Parsed here are schemas from files, so everything is checked; recursive types are refused, because no class of ours
can declare one. Knows no Python class and no value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eventsrc.errors import InvalidSchema

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FULL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_DEPTH_LIMIT = 64

JsonValue = str | int | float | bool | Mapping[str, "JsonValue"] | Sequence["JsonValue"] | None


@dataclass(slots=True, eq=False, repr=False)
class PrimitiveNode:
    """`logical` is the logical type's name; a decimal's carries its scale: `decimal:2`."""

    type: str
    logical: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class FixedNode:
    name: str
    size: int
    logical: str | None = None
    aliases: tuple[str, ...] = ()
    type: str = "fixed"


@dataclass(slots=True, eq=False, repr=False)
class EnumNode:
    name: str
    symbols: tuple[str, ...]
    default: str | None = None
    aliases: tuple[str, ...] = ()
    type: str = "enum"
    logical: None = None


@dataclass(slots=True, eq=False, repr=False)
class ArrayNode:
    items: Node
    type: str = "array"
    logical: None = None


@dataclass(slots=True, eq=False, repr=False)
class MapNode:
    values: Node
    type: str = "map"
    logical: None = None


@dataclass(slots=True, eq=False, repr=False)
class UnionNode:
    branches: tuple[Node, ...]
    type: str = "union"
    logical: None = None


@dataclass(slots=True, eq=False, repr=False)
class FieldNode:
    name: str
    node: Node
    aliases: tuple[str, ...] = ()


@dataclass(slots=True, eq=False, repr=False)
class RecordNode:
    name: str
    fields: tuple[FieldNode, ...]
    aliases: tuple[str, ...] = ()
    type: str = "record"
    logical: None = None


Node = PrimitiveNode | FixedNode | EnumNode | ArrayNode | MapNode | UnionNode | RecordNode
NamedNode = FixedNode | EnumNode | RecordNode


def parse(schema: JsonValue) -> Node:
    """The tree of a schema given as JSON values. `InvalidSchema` names what is wrong."""
    return _Parser().node(schema, "", 0)


class _Parser:
    def __init__(self) -> None:
        self.named: dict[str, NamedNode | None] = {}  # None while its own definition is being read

    def node(self, schema: JsonValue, namespace: str, depth: int) -> Node:
        if depth > _DEPTH_LIMIT:
            raise InvalidSchema(f"nested more than {_DEPTH_LIMIT} deep")
        if isinstance(schema, str):
            return self.reference(schema, namespace)
        if isinstance(schema, Mapping):
            return self.complex(schema, namespace, depth)
        if isinstance(schema, Sequence):
            return self.union(schema, namespace, depth)
        raise InvalidSchema(f"{schema!r} is not a schema")

    def reference(self, name: str, namespace: str) -> Node:
        if name in PRIMITIVES:
            return PrimitiveNode(name)
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        for candidate in (full, name):
            if candidate in self.named:
                node = self.named[candidate]
                if node is None:
                    raise InvalidSchema(f"the type {candidate} contains itself: recursive types are not supported")
                return node
        raise InvalidSchema(f"the type {name!r} is not defined before it is used")

    def complex(self, schema: Mapping[str, JsonValue], namespace: str, depth: int) -> Node:
        kind = schema.get("type")
        if not isinstance(kind, str):
            if kind is None:
                raise InvalidSchema("a schema object without a type")
            return self.node(kind, namespace, depth + 1)
        if kind in PRIMITIVES:
            return PrimitiveNode(kind, _logical(schema))
        if kind == "array":
            return ArrayNode(self.node(_member(schema, "items"), namespace, depth + 1))
        if kind == "map":
            return MapNode(self.node(_member(schema, "values"), namespace, depth + 1))
        if kind in {"record", "enum", "fixed"}:
            return self.named_type(kind, schema, namespace, depth)
        return self.reference(kind, namespace)

    def union(self, schema: Sequence[JsonValue], namespace: str, depth: int) -> Node:
        if not 1 <= len(schema) <= 64:
            raise InvalidSchema(f"a union of {len(schema)} types: 1 to 64 are supported")
        branches = tuple(self.node(branch, namespace, depth + 1) for branch in schema)
        kinds = [branch.name if isinstance(branch, NamedNode) else branch.type for branch in branches]
        if "union" in kinds or len(set(kinds)) != len(kinds):
            raise InvalidSchema(f"a union with two of a kind: {', '.join(kinds)}")
        return UnionNode(branches)

    def named_type(self, kind: str, schema: Mapping[str, JsonValue], namespace: str, depth: int) -> Node:
        name = _full_name(schema, namespace)
        if name in self.named or name in PRIMITIVES:
            raise InvalidSchema(f"the type {name} is defined twice")
        own_namespace = name.rpartition(".")[0]
        aliases = tuple(
            a if "." in a or not own_namespace else f"{own_namespace}.{a}" for a in _texts(schema, "aliases")
        )
        self.named[name] = None
        node: NamedNode
        if kind == "record":
            node = RecordNode(name, self.fields(schema, name, own_namespace, depth), aliases)
        elif kind == "enum":
            node = _enum(schema, name, aliases)
        else:
            size = schema.get("size")
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= 1_000_000:
                raise InvalidSchema(f"the fixed type {name} has the size {size!r}")
            node = FixedNode(name, size, _logical(schema), aliases)
        self.named[name] = node
        return node

    def fields(self, schema: Mapping[str, JsonValue], record: str, namespace: str, depth: int) -> tuple[FieldNode, ...]:
        listed = _member(schema, "fields")
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            raise InvalidSchema(f"the fields of {record} are not a list")
        fields = tuple(self.field(field, record, namespace, depth) for field in listed)
        names = [field.name for field in fields]
        if len(set(names)) != len(names):
            raise InvalidSchema(f"{record} has two fields of one name")
        return fields

    def field(self, schema: JsonValue, record: str, namespace: str, depth: int) -> FieldNode:
        if not isinstance(schema, Mapping):
            raise InvalidSchema(f"a field of {record} is not an object")
        name = schema.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise InvalidSchema(f"a field of {record} is named {name!r}")
        node = self.node(_member(schema, "type"), namespace, depth + 1)
        return FieldNode(name, node, _texts(schema, "aliases"))


def _member(schema: Mapping[str, JsonValue], key: str) -> JsonValue:
    if key not in schema:
        raise InvalidSchema(f"a schema of type {schema.get('type')!r} without {key!r}")
    return schema[key]


def _texts(schema: Mapping[str, JsonValue], key: str) -> tuple[str, ...]:
    listed = schema.get(key, ())
    if isinstance(listed, str) or not isinstance(listed, Sequence):
        raise InvalidSchema(f"{key} is not a list")
    texts = tuple(text for text in listed if isinstance(text, str))
    if len(texts) != len(listed):
        raise InvalidSchema(f"{key} holds something that is not text")
    return texts


def _full_name(schema: Mapping[str, JsonValue], namespace: str) -> str:
    name = schema.get("name")
    given = schema.get("namespace", namespace)
    if not isinstance(name, str) or not isinstance(given, str):
        raise InvalidSchema(f"a {schema.get('type')} without a name")
    full = name if "." in name or not given else f"{given}.{name}"
    if not FULL_NAME.fullmatch(full):
        raise InvalidSchema(f"{full!r} is not a name")
    return full


def _enum(schema: Mapping[str, JsonValue], name: str, aliases: tuple[str, ...]) -> EnumNode:
    symbols = _texts(schema, "symbols")
    if len(set(symbols)) != len(symbols) or not all(NAME.fullmatch(symbol) for symbol in symbols):
        raise InvalidSchema(f"the symbols of {name} are not distinct names")
    default = schema.get("default")
    if default is not None and default not in symbols:
        raise InvalidSchema(f"the default of {name} is none of its symbols")
    return EnumNode(name, symbols, default if isinstance(default, str) else None, aliases)


def _logical(schema: Mapping[str, JsonValue]) -> str | None:
    logical = schema.get("logicalType")
    if logical == "decimal":
        scale = schema.get("scale", 0)
        if not isinstance(scale, int) or isinstance(scale, bool) or not 0 <= scale <= 1000:
            raise InvalidSchema(f"a decimal with the scale {scale!r}")
        return f"decimal:{scale}"
    return logical if isinstance(logical, str) else None


# ---- canonical form and fingerprint


def canonical_form(node: Node) -> str:
    """Avro's parsing canonical form: what decides whether two schemas write the same bytes."""
    return _canonical(node, set())


def _canonical(node: Node, seen: set[str]) -> str:
    if isinstance(node, PrimitiveNode):
        return f'"{node.type}"'
    if isinstance(node, ArrayNode):
        return f'{{"type":"array","items":{_canonical(node.items, seen)}}}'
    if isinstance(node, MapNode):
        return f'{{"type":"map","values":{_canonical(node.values, seen)}}}'
    if isinstance(node, UnionNode):
        return f"[{','.join(_canonical(branch, seen) for branch in node.branches)}]"
    if node.name in seen:
        return f'"{node.name}"'
    seen.add(node.name)
    if isinstance(node, FixedNode):
        return f'{{"name":"{node.name}","type":"fixed","size":{node.size}}}'
    if isinstance(node, EnumNode):
        symbols = ",".join(f'"{symbol}"' for symbol in node.symbols)
        return f'{{"name":"{node.name}","type":"enum","symbols":[{symbols}]}}'
    fields = ",".join(f'{{"name":"{f.name}","type":{_canonical(f.node, seen)}}}' for f in node.fields)
    return f'{{"name":"{node.name}","type":"record","fields":[{fields}]}}'


_EMPTY = 0xC15D213AA4D7A795


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ _EMPTY & -(value & 1)
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def crc64_avro(octets: bytes) -> int:
    """The Rabin fingerprint that Avro's specification calls CRC-64-AVRO."""
    value = _EMPTY
    for octet in octets:
        value = value >> 8 ^ _TABLE[(value ^ octet) & 255]
    return value


def fingerprint(node: Node) -> int:
    """CRC-64-AVRO of the canonical form, unsigned."""
    return crc64_avro(canonical_form(node).encode())


def parse_text(text: str) -> Node:
    """As `parse`, from a file's text."""
    try:
        schema: JsonValue = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidSchema(f"not JSON: {error}") from error
    return parse(schema)


def minimum_bytes(node: Node) -> int:
    """The fewest bytes that a value can take: bounds how many items bytes can hold."""
    if isinstance(node, PrimitiveNode):
        return {"null": 0, "float": 4, "double": 8}.get(node.type, 1)
    if isinstance(node, FixedNode):
        return node.size
    if isinstance(node, RecordNode):
        return sum(minimum_bytes(field.node) for field in node.fields)
    if isinstance(node, UnionNode):
        return 1 + min(minimum_bytes(branch) for branch in node.branches)
    return 1

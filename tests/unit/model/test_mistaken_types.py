"""Mistakes in the types of fields.

Each test is a source and the exact report. Line 1 of every source is an import: its own first line is line 2.
"""

from __future__ import annotations

from tests.unit.model.conftest import Report


def test_no_avro_type(report: Report) -> None:
    source = """
        class Money: ...

        @pipeline.event
        class Paid:
            amount: Money
            factor: complex
            what: Any
            items: list
            each: Sequence[int]
            by_number: dict[int, str]
            shape: tuple[()]
            nothing: typing.Callable[[], None]
    """
    assert (
        report(source)
        == """
        class Paid (app.py:5) has 8 mistakes
          amount (app.py:6): `Money` is neither a type with an Avro form nor a dataclass.
              use  another type, or write @dataclass above that class
          factor (app.py:7): `complex` does not say which class comes back from the log.
              write  factor: tuple[float, float]
          what (app.py:8): `Any` fits every value, and a schema has to name a type.
              name  the type, or a union of types
          items (app.py:9): `list` does not say what it holds.
              write  items: list[str]
          each (app.py:10): `Sequence[int]` does not say which class comes back from the log.
              write  each: list[...]
          by_number (app.py:11): the keys of a dict are str, not int.
              write  by_number: dict[str, str]
          shape (app.py:12): `tuple[()]` does not say which class comes back from the log.
              write  shape: tuple[str, ...]
          nothing (app.py:13): `Callable[[], None]` has no Avro type.
              use  str, int, float, bool, bytes, Decimal, datetime, date, time, timedelta, UUID, an Enum, Literal,
                   list, tuple, set, dict[str, ...], a dataclass, or a union of these
    """
    )


def test_sets_of_what_has_no_hash(report: Report) -> None:
    source = """
        @dataclass
        class Point:
            x: int

        @dataclass(frozen=True)
        class Fixed:
            x: int

        @pipeline.event
        class Seen:
            lists: set[list[int]]
            points: frozenset[Point]
            fixed: set[Fixed]
            pairs: set[tuple[str, int | None]]
    """
    assert (
        report(source)
        == """
        class Seen (app.py:11) has 2 mistakes
          lists (app.py:12): a list[int] cannot be in a set: it has no hash.
              use  list[list[int]], or @dataclass(frozen=True) for what it holds
          points (app.py:13): a Point cannot be in a set: it has no hash.
              use  list[Point], or @dataclass(frozen=True) for what it holds
    """
    )


def test_classes_of_other_frameworks(report: Report) -> None:
    source = """
        class Point(NamedTuple):
            x: int

        class Model(BaseModel):
            x: int

        class Name(str): ...

        class Extra(dict): ...

        @pipeline.event
        class Drawn:
            point: Point
            model: Model
            name: Name
            extra: Extra
    """
    assert (
        report(source)
        == """
        class Drawn (app.py:13) has 4 mistakes
          point (app.py:14): `Point` is a tuple with names.
              use  a dataclass with the same fields
          model (app.py:15): `Model` is a pydantic model.
              use  a dataclass with the same fields
          name (app.py:16): `Name` is a subclass, which would come back from the log as its base class.
              use  the base class, or a NewType of it
          extra (app.py:17): `Extra` is a kind of dict.
              use  a dataclass with the same fields, or dict[str, ...]
    """
    )


def test_literal_and_enum(report: Report) -> None:
    source = """
        class Colour(enum.Enum):
            pass

        class Size(enum.Enum):
            größe = 1

        class Access(enum.Flag):
            READ = 1

        @pipeline.event
        class Painted:
            mode: Literal["a", 1]
            maybe: Literal["a", None]
            colour: Colour
            size: Size
            access: Access
    """
    assert (
        report(source)
        == """
        class Painted (app.py:12) has 5 mistakes
          mode (app.py:13): the values of Literal['a', 1] are of different kinds: all have to be str, or all int, or all bool.
              write  Literal["a", "b"], with `| None` behind it where it may be absent
          maybe (app.py:14): the values of Literal['a', None] are of different kinds: all have to be str, or all int, or all bool.
              write  Literal["a", "b"], with `| None` behind it where it may be absent
          colour (app.py:15): Colour has no members.
              give  Colour at least one member
          size (app.py:16): Size.größe is no Avro symbol: letters, digits and _, not beginning with a digit.
              spell  Size.größe in ASCII
          access (app.py:17): Access is a Flag, whose combinations have no name.
              use  set[...] of an Enum
    """
    )


def test_union_members_that_a_value_does_not_tell_apart(report: Report) -> None:
    source = """
        @pipeline.event
        class Painted:
            either: list[int] | list[str]
            text: str | Literal["a"]
            amount: Decimal | Annotated[Decimal, Field(decimal_places=2)]
            places: Annotated[Decimal, Field(decimal_places=39)]
    """
    assert (
        report(source)
        == """
        class Painted (app.py:3) has 4 mistakes
          either (app.py:4): a value does not tell which of list[int] and list[str] it is.
              use  a dataclass for each of them, and the union of those classes
          text (app.py:5): a value does not tell which of str and Literal['a'] it is.
              use  a dataclass for each of them, and the union of those classes
          amount (app.py:6): a value does not tell which of Decimal and Decimal with 2 places it is.
              use  a dataclass for each of them, and the union of those classes
          places (app.py:7): decimal_places=39 is outside 0..38.
              write  places: Annotated[Decimal, Field(decimal_places=2)]
    """
    )


def test_nested_classes(report: Report) -> None:
    source = """
        @dataclass
        class Node:
            children: list[Node]

        @dataclass
        class Leaf:
            size: complex
            name: str

        @pipeline.event
        class Grown:
            root: Node
            leaf: Leaf
    """
    assert (
        report(source, future=True)
        == """
        class Grown (app.py:12) has 2 mistakes
          root (app.py:13): in Node.children: Node holds itself.
              use  the other one's id, or a flat list: a schema has a fixed depth
          leaf (app.py:14): in Leaf.size: `complex` does not say which class comes back from the log.
              write  size: tuple[float, float]
    """
    )


def test_two_classes_of_one_name(report: Report) -> None:
    source = """
        def one():
            @dataclass
            class Line:
                sku: str
            return Line

        def two():
            @dataclass
            class Line:
                text: str
            return Line

        @pipeline.event
        class Printed:
            first: one()
            second: two()
    """
    assert (
        report(source)
        == """
        class Printed (app.py:15) has a mistake
          second (app.py:17): app.one.<locals>.Line and app.two.<locals>.Line have one name and meet in one message.
              use  another name for one of them: both would be one type in the schema
    """
    )

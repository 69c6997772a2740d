"""Mistakes in fields and their defaults: what is said, where, and how to mend it.

Each test is a source and the exact report. Line 1 of every source is an import: its own first line is line 2.
"""

from __future__ import annotations

from tests.unit.model.conftest import Report


def test_a_default_shared_by_all_instances(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            history: list[str] = []
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has a mistake
          history (app.py:4): the default [] would be shared by every Account.
              write  history: list[str] = field(default_factory=list)
    """
    )


def test_mutable_dataclass_default(report: Report) -> None:
    source = """
        @dataclass
        class Address:
            street: str = ""

        @pipeline.event
        class Moved:
            to: Address = Address()
    """
    assert (
        report(source)
        == """
        class Moved (app.py:7) has a mistake
          to (app.py:8): the default Address(street='') would be shared by every Moved event.
              write  to: Address = field(default_factory=Address)
    """
    )


def test_mutable_default_with_content(report: Report) -> None:
    source = """
        @pipeline.event
        class Tagged:
            tags: set[str] = {"new"}
    """
    assert (
        report(source)
        == """
        class Tagged (app.py:3) has a mistake
          tags (app.py:4): the default {'new'} would be shared by every Tagged event.
              write  tags: set[str] = field(default_factory=set)   # and fill it in an @apply method
    """
    )


def test_reserved_names(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            id: str = ""
            sequence: int = 0
            meta: str = ""
            _eventsrc_key: str = ""
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has 4 mistakes
          id (app.py:4): the field name id is reserved: every aggregate's own id is given as self.id.
              rename  it, or leave it out and read self.id
          sequence (app.py:5): the field name sequence is reserved: the number of an aggregate's last event is given as self.sequence.
              rename  it, or leave it out and read self.sequence
          meta (app.py:6): the field name meta is reserved: the first field of every record is named meta.
              rename  it, as in details
          _eventsrc_key (app.py:7): names that begin with _eventsrc are the framework's own.
              rename  the field
    """  # noqa: E501 - as it is printed
    )


def test_reserved_in_an_event(report: Report) -> None:
    source = """
        @pipeline.event
        class Paid:
            id: str
            sequence: int
            meta: str
    """
    assert (
        report(source)
        == """
        class Paid (app.py:3) has 3 mistakes
          id (app.py:4): the field name id is reserved: every aggregate's own id is given as self.id.
              rename  it after what it identifies, as in order_id
          sequence (app.py:5): the field name sequence is reserved: the number of an aggregate's last event is given as self.sequence.
              rename  it, as in number
          meta (app.py:6): the field name meta is reserved: the first field of every record is named meta.
              rename  it, as in details
    """  # noqa: E501 - as it is printed
    )


def test_missing_default(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            owner: str
            balance: int
            price: Annotated[Decimal, Field(decimal_places=2)]
            tags: set[str]
            note: str | None
            on: date
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has 6 mistakes
          owner (app.py:4): has no default, which it needs before the first event is applied.
              write  owner: str = ""
          balance (app.py:5): has no default, which it needs before the first event is applied.
              write  balance: int = 0
          price (app.py:6): has no default, which it needs before the first event is applied.
              write  price: Annotated[Decimal, Field(decimal_places=2)] = Decimal("0")
          tags (app.py:7): has no default, which it needs before the first event is applied.
              write  tags: set[str] = field(default_factory=set)
          note (app.py:8): has no default, which it needs before the first event is applied.
              write  note: str | None = None
          on (app.py:9): has no default, which it needs before the first event is applied.
              write  on: date = date(1970, 1, 1)
    """
    )


def test_a_field_without_default_after_one_with(report: Report) -> None:
    source = """
        @pipeline.command
        class Pay:
            amount: int = 0
            to: str
    """
    assert (
        report(source)
        == """
        class Pay (app.py:3) has a mistake
          to (app.py:5): has no default, but follows amount, which has one.
              move  to above amount, or give it a default
    """
    )


def test_default_of_a_wrong_type(report: Report) -> None:
    source = """
        class Colour(enum.Enum):
            RED = 1

        @pipeline.event
        class Painted:
            layers: int = "2"
            ratio: float = 1
            count: int = 2**63
            at: datetime = datetime(2026, 1, 1)
            until: time = time(10, tzinfo=UTC)
            price: Annotated[Decimal, Field(decimal_places=2)] = Decimal("1.005")
            free: Decimal = Decimal("NaN")
            colour: Colour = "red"
            mode: Literal["a", "b"] = "c"
            pair: tuple[int, str] = (1,)
            either: int | None = "x"
            kinds: tuple[str, ...] = ("a", 1)
    """
    assert (
        report(source)
        == """
        class Painted (app.py:6) has 12 mistakes
          layers (app.py:7): the default '2' is no int.
              write  layers: int = 0
          ratio (app.py:8): the default 1 is no float.
              write  ratio: float = 0.0
          count (app.py:9): the default 9223372036854775808 has more than 64 bits.
              write  count: int = 0
          at (app.py:10): the default datetime.datetime(2026, 1, 1, 0, 0) has no time zone.
              write  at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
          until (app.py:11): the default datetime.time(10, 0, tzinfo=datetime.timezone.utc) has a time zone, which a time of day does not keep.
              write  until: time = time()
          price (app.py:12): the default Decimal('1.005') has more than 2 decimal places.
              write  price: Annotated[Decimal, Field(decimal_places=2)] = Decimal("0")
          free (app.py:13): the default Decimal('NaN') is not finite.
              write  free: Decimal = Decimal("0")
          colour (app.py:14): the default 'red' is no member of Colour.
              write  colour: Colour = Colour.RED
          mode (app.py:15): the default 'c' is none of 'a', 'b'.
              write  mode: Literal['a', 'b'] = 'a'
          pair (app.py:16): the default (1,) has 1 items instead of 2.
              write  pair: tuple[int, str] = (0, "",)
          either (app.py:17): the default 'x' fits no member of the union.
              write  either: int | None = None
          kinds (app.py:18): the default ('a', 1) holds 1, which is no str.
              write  kinds: tuple[str, ...] = ()
    """  # noqa: E501 - as it is printed
    )


def test_default_factories(report: Report) -> None:
    source = """
        @dataclass
        class Address:
            street: str

        @pipeline.event
        class Moved:
            to: Address = field(default_factory=Address)
            tags: list[str] = field(default_factory=lambda: ["new"])
            names: set[str] = field(default_factory=list)
    """
    assert (
        report(source)
        == """
        class Moved (app.py:7) has 3 mistakes
          to (app.py:8): default_factory=Address, but Address has fields without a default.
              give  every field of Address a default
          tags (app.py:9): a default_factory is list, dict, set or a nested class: a schema cannot hold other code.
              write  tags: list[str] = field(default_factory=list)
          names (app.py:10): default_factory=list does not make a set[str]: [] is no set.
              write  names: set[str] = field(default_factory=set)
    """
    )


def test_options_of_fields(report: Report) -> None:
    source = """
        @pipeline.event
        class Moved:
            one: int = field(init=False, default=1)
            two: int = field(kw_only=True)
            three: InitVar[int]
            _: KW_ONLY
            four: int = Field(gt=0)
            five: Annotated[int, Field(alias="old_five")]
            six: int = field(metadata={"aliases": "old_six"})
            seven: int = field(metadata={"aliases": ["old-seven"]})
            größe: int
    """
    assert (
        report(source)
        == """
        class Moved (app.py:3) has 9 mistakes
          one (app.py:4): init=False: what the constructor does not take, the log cannot bring back.
              leave  init out
          two (app.py:5): kw_only=True is not used: fields are given by position.
              leave  kw_only out
          three (app.py:6): InitVar is not used: fields are given by position.
              leave  it out
          _ (app.py:7): KW_ONLY is not used: fields are given by position.
              leave  it out
          four (app.py:8): pydantic's Field() stands as the default, and would be its value.
              write  four: Annotated[int, Field(gt=0)]
          five (app.py:9): an alias of pydantic's has no meaning in a log.
              write  field(metadata={"aliases": ["old_name"]}) as the default, for what older writers called it
          six (app.py:10): aliases is a str.
              write  field(metadata={"aliases": ["old_six"]})
          seven (app.py:11): the alias 'old-seven' is no Avro name.
              write  it with a-z, A-Z, 0-9 and _
          größe (app.py:12): the name is not ASCII, as Avro wants.
              rename  it with a-z, A-Z, 0-9 and _
    """
    )


def test_a_value_without_a_type(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            balance = 0
            LIMIT = 100
            rate: ClassVar[int] = 2
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has a mistake
          balance (app.py:4): has a value but no type, so it is no field.
              write  balance: int = 0   # or ClassVar[...] for a constant
    """
    )


def test_aliases_of_fields(report: Report) -> None:
    source = """
        @pipeline.event
        class Moved:
            one: int = field(metadata={"aliases": ["two", "one"]})
            two: int = field(metadata={"aliases": ["old"]})
            three: int = field(metadata={"aliases": ["old"]})
    """
    assert (
        report(source)
        == """
        class Moved (app.py:3) has 3 mistakes
          one (app.py:4): the alias 'two' is a name of two already.
              leave  it out
          one (app.py:4): the alias 'one' is a name of one already.
              leave  it out
          three (app.py:6): the alias 'old' is a name of two already.
              leave  it out
    """
    )

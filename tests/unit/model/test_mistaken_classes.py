"""Mistakes in a class as a whole, its bases, names and options.

Each test is a source and the exact report. Line 1 of every source is an import: its own first line is line 2.
"""

from __future__ import annotations

from tests.unit.model.conftest import Report


def test_no_methods(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            balance: int = 0
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has 2 mistakes
          the class (app.py:3): has no @handle method: no command could ever be sent to it.
              add  @handle
                   def open(self, command: Open) -> Opened: ...
          the class (app.py:3): has no @apply method: nothing could ever happen to it.
              add  @apply
                   def opened(self, event: Opened) -> None: ...
    """
    )


def test_inheritance_between_aggregates(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @handle
            def open(self, command: Open) -> Opened: ...

            @apply
            def opened(self, event: Opened) -> None: ...

        @pipeline.aggregate
        class Savings(Account):
            rate: int = 0
    """
    assert (
        report(source)
        == """
        class Savings (app.py:11) has a mistake
          the class (app.py:11): inherits from the aggregate Account: their histories would be one or two, depending on whom you ask.
              write  class Savings: with its own fields; share behaviour through functions or a nested dataclass
    """  # noqa: E501 - as it is printed
    )


def test_inherits_from_a_class_that_may_hold_state(report: Report) -> None:
    source = """
        class Audited:
            def note(self) -> None: ...

        @pipeline.aggregate
        class Account(Audited):
            @handle
            def open(self, command: Open) -> Opened: ...

            @apply
            def opened(self, event: Opened) -> None: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:6) has a mistake
          the class (app.py:6): inherits from Audited, which may hold state that is in no schema.
              write  __slots__ = () in Audited if it only has methods; else its fields here
    """
    )


def test_inherits_from_a_constructing_class(report: Report) -> None:
    source = """
        @pipeline.event
        class Failed(Exception):
            code: int
    """
    assert (
        report(source)
        == """
        class Failed (app.py:3) has a mistake
          the class (app.py:3): inherits from Exception, which constructs its instances itself.
              write  class Failed: with annotated fields
    """
    )


def test_inherits_from_a_pydantic_model(report: Report) -> None:
    source = """
        @pipeline.event
        class Drawn(BaseModel):
            x: int
    """
    assert (
        report(source)
        == """
        class Drawn (app.py:3) has 2 mistakes
          the class (app.py:3): inherits from BaseModel, which constructs its instances itself.
              write  class Drawn: with annotated fields
          model_config (app.py:3): has a value but no type, so it is no field.
              write  model_config: dict = {}   # or ClassVar[...] for a constant
    """
    )


def test_methods_that_are_derived(report: Report) -> None:
    source = """
        @pipeline.event
        class Paid:
            __slots__ = ("amount",)

            def __init__(self, amount: int) -> None: ...

            def __post_init__(self) -> None: ...
    """
    assert (
        report(source)
        == """
        class Paid (app.py:3) has 3 mistakes
          __slots__ (app.py:4): slots are derived from the fields.
              leave  it out
          __init__ (app.py:6): the constructor is derived from the fields.
              leave  it out
          __post_init__ (app.py:8): instances come back from the log as they were, and nothing may run or change then.
              leave  it out
    """
    )


def test_a_frozen_dataclass_below(report: Report) -> None:
    source = """
        @pipeline.event
        @dataclass(frozen=True)
        class Paid:
            amount: int
    """
    assert (
        report(source)
        == """
        class Paid (app.py:4) has a mistake
          the class (app.py:4): @dataclass(frozen=True) stands below @pipeline.event.
              write  @pipeline.event alone
    """
    )


def test_names_that_avro_refuses(report: Report) -> None:
    source = """
        @pipeline.event(name="paid-out", aliases=["Old", "a b", "paid-out"])
        class Paid:
            amount: int
    """
    assert (
        report(source)
        == """
        class Paid (app.py:3) has 3 mistakes
          the class (app.py:3): name='paid-out' is no Avro name.
              write  name="Paid"
          the class (app.py:3): the alias 'a b' is no Avro name.
              write  it with a-z, A-Z, 0-9 and _
          the class (app.py:3): the alias 'paid-out' is no Avro name.
              write  it with a-z, A-Z, 0-9 and _
    """
    )


def test_aliases_as_text(report: Report) -> None:
    source = """
        @pipeline.event(aliases="Old")
        class Paid:
            amount: int
    """
    assert (
        report(source)
        == """
        class Paid (app.py:3) has a mistake
          the class (app.py:3): aliases is a str.
              write  aliases=["Old"]
    """
    )


def test_alias_is_the_name(report: Report) -> None:
    source = """
        @pipeline.event(aliases=["Paid"])
        class Paid:
            amount: int
    """
    assert (
        report(source)
        == """
        class Paid (app.py:3) has a mistake
          the class (app.py:3): the alias 'Paid' is the name itself.
              leave  it out
    """
    )


def test_options_of_an_aggregate(report: Report) -> None:
    source = """
        @pipeline.aggregate(name="My Account", version=0, deduplicate=5000)
        class Account:
            balance: int = 0
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has 3 mistakes
          the class (app.py:3): name='My Account', which does not fit a topic's name: small letters, digits and hyphens, a letter first.
              write  @pipeline.aggregate(name="account")
          the class (app.py:3): version=0 is not a whole number from 1 on.
              write  version=1
          the class (app.py:3): deduplicate=5000 is not a number of commands from 1 to 1,024.
              write  deduplicate=8
    """  # noqa: E501 - as it is printed
    )


def test_class_name_without_a_topic_name(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class _1:
            balance: int = 0
    """
    assert (
        report(source)
        == """
        class _1 (app.py:3) has a mistake
          the class (app.py:3): the class name becomes '1', which does not fit a topic's name: small letters, digits and hyphens, a letter first.
              write  @pipeline.aggregate(name="account")
    """  # noqa: E501 - as it is printed
    )


def test_long_topic_name(report: Report) -> None:
    source = """
        @pipeline.aggregate(name="a" * 240)
        class Account:
            balance: int = 0
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has a mistake
          the class (app.py:3): the topic bank.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa... has 254 characters: Kafka takes 249.
              write  @pipeline.aggregate(name="something-shorter")
    """
    )


def test_duplicate_topic_name(report: Report) -> None:
    source = """
        def declare():
            @pipeline.aggregate
            class Account:
                @handle
                def open(self, command: Open) -> Opened: ...

                @apply
                def opened(self, event: Opened) -> None: ...

        declare()
        declare()
    """
    assert (
        report(source)
        == """
        class Account (app.py:4) has a mistake
          the class (app.py:4): app.declare.<locals>.Account has the topic name 'account' already.
              write  @pipeline.aggregate(name="another-name")
    """
    )


def test_a_command_that_is_an_event(report: Report) -> None:
    source = """
        @pipeline.command
        @pipeline.event
        class Paid:
            amount: int
    """
    assert (
        report(source)
        == """
        class Paid (app.py:4) has a mistake
          the class (app.py:4): is an event of this pipeline already.
              keep  one decorator, or write two classes
    """
    )


def test_an_event_declared_twice(report: Report) -> None:
    source = """
        @pipeline.event
        @pipeline.event
        class Paid:
            amount: int
    """
    assert (
        report(source)
        == """
        class Paid (app.py:4) has a mistake
          the class (app.py:4): is an event of this pipeline already.
              keep  one decorator, or write two classes
    """
    )


def test_not_a_class(report: Report) -> None:
    source = """
        @pipeline.command
        def pay() -> None: ...
    """
    assert (
        report(source)
        == """
        @pipeline.command, .event and .aggregate stand above a class, not above a function (app.py:2)
    """
    )


def test_messages_of_one_name(report: Report) -> None:
    source = """
        @pipeline.event(name="Open")
        class Unlocked:
            by: str

        @pipeline.event(aliases=["Opened", "Account"])
        class Begun:
            by: str

        @pipeline.aggregate
        class Account:
            @handle
            def open(self, command: Open) -> Opened: ...

            @apply
            def opened(self, event: Opened) -> None: ...

            @apply
            def unlocked(self, event: Unlocked) -> None: ...

            @apply
            def begun(self, event: Begun) -> None: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:11) has 3 mistakes
          unlocked (app.py:19): takes the event Unlocked, whose name or alias 'Open' is that of the command Open already.
              write  @pipeline.event(name="...") with another name
          begun (app.py:22): takes the event Begun, whose name or alias 'Opened' is that of the event Opened already.
              write  @pipeline.event(name="...") with another name
          begun (app.py:22): takes the event Begun, whose name or alias 'Account' is that of the aggregate Account already.
              write  @pipeline.event(name="...") with another name
    """
    )


def test_members_that_would_hide_what_is_given(report: Report) -> None:
    source = """
        import abc

        @pipeline.aggregate
        class Account(abc.ABC):
            @property
            def id(self) -> str: ...

            def sequence(self) -> int: ...

            @abc.abstractmethod
            def close(self) -> None: ...

            @handle
            def open(self, command: Open) -> Opened: ...

            @apply
            def opened(self, event: Opened) -> None: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:5) has 3 mistakes
          id (app.py:7): self.id is given, and this would hide it.
              rename  it
          sequence (app.py:9): self.sequence is given, and this would hide it.
              rename  it
          close (app.py:12): is abstract: no instance could be made.
              write  the body of close
    """
    )

"""Mistakes in the methods of an aggregate.

Each test is a source and the exact report. Line 1 of every source is an import: its own first line is line 2.
"""

from __future__ import annotations

from tests.unit.model.conftest import Report


def test_every_mistake_at_once(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            history: list[str] = []

            @handle
            def open(self, command: Open) -> Opened:
                return Opened(command.owner)
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has 2 mistakes
          history (app.py:4): the default [] would be shared by every Account.
              write  history: list[str] = field(default_factory=list)
          open (app.py:7): handles `Open`, but returns `Opened`, which no @apply method takes.
              add  @apply
                   def opened(self, event: Opened) -> None: ...
    """
    )


def test_handled_command_without_a_type(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @handle
            def open(self, command) -> None: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has a mistake
          open (app.py:5): command has no type, so no command leads here.
              write  def open(self, command: SomeClass)
    """
    )


def test_handled_command_without_a_type_with_context(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @handle
            def open(self, command, context) -> None: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has a mistake
          open (app.py:5): command has no type, so no command leads here.
              write  def open(self, command: SomeClass, context)
    """
    )


def test_takes_a_class_that_is_not_declared(report: Report) -> None:
    source = """
        class Deposit: ...

        @pipeline.aggregate
        class Account:
            @handle
            def deposit(self, command: Deposit) -> None: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:5) has a mistake
          deposit (app.py:7): takes `Deposit`, which is not declared as a command of pipeline 'bank'.
              write  @pipeline.command
                     class Deposit: ...
    """
    )


def test_takes_an_event_as_a_command(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @handle
            def open(self, command: Opened) -> None: ...

            @apply
            def opened(self, event: Open) -> None: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has 2 mistakes
          open (app.py:5): takes `Opened`, which is declared as an event, not as a command.
              declare  a class of its own under @pipeline.command
          opened (app.py:8): takes `Open`, which is declared as a command, not as an event.
              declare  a class of its own under @pipeline.event
    """
    )


def test_unknown_name(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @handle
            def deposit(self, command: Deposit) -> None: ...

            @apply
            def opened(self, event: Opened) -> Deposited: ...

            due: Money = 0
    """
    assert (
        report(source, future=True)
        == """
        class Account (app.py:3) has 3 mistakes
          deposit (app.py:5): `Deposit` is not known where the class is decorated.
              declare  it, or import it, above this class and outside `if TYPE_CHECKING:`
          opened (app.py:8): `Deposited` is not known where the class is decorated.
              declare  it, or import it, above this class and outside `if TYPE_CHECKING:`
          due (app.py:10): `Money` is not known where the class is decorated.
              declare  it, or import it, above this class and outside `if TYPE_CHECKING:`
    """
    )


def test_two_handlers_for_one_command(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @handle
            def open(self, command: Open) -> None: ...

            @handle
            def reopen(self, command: Open) -> None: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has a mistake
          reopen (app.py:8): handles `Open`, which open handles already.
              merge  the two into one method, or let open call the other
    """
    )


def test_two_appliers_for_one_event(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @apply
            def opened(self, event: Opened) -> None: ...

            @apply
            def reopened(self, event: Opened) -> None: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has a mistake
          reopened (app.py:8): applies `Opened`, which opened applies already.
              merge  the two into one method, or let opened call the other
    """
    )


def test_two_methods_of_one_name(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @apply
            def opened(self, event: Opened) -> None: ...

            @apply
            def opened(self, event: Closed) -> None: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has a mistake
          opened (app.py:7): a second method of this name replaces the one of line 4.
              rename  one of them
    """
    )


def test_compensate_what_is_not_applied_by_what_is_not_applied(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @handle
            def open(self, command: Open) -> Opened: ...

            @apply
            def opened(self, event: Opened) -> None: ...

            @compensate
            def reopen(self, event: Closed) -> Opened: ...

            @compensate
            def close(self, event: Opened) -> Closed: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has 2 mistakes
          reopen (app.py:11): compensates `Closed`, which no @apply method takes: it never happens here.
              add  @apply
                   def closed(self, event: Closed) -> None: ...
          close (app.py:14): compensates `Opened`, but returns `Closed`, which no @apply method takes.
              add  @apply
                   def closed(self, event: Closed) -> None: ...
    """
    )


def test_returns_a_command_an_undeclared_class_a_number(report: Report) -> None:
    source = """
        class Note: ...

        @pipeline.aggregate
        class Account:
            @handle
            def open(self, command: Open) -> Open | Note | int: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:5) has a mistake
          open (app.py:7): returns `Open | Note | int`, which does not say which events.
              write  the event class, a union of event classes, or Iterable[...] of them; None where there may be none
    """
    )


def test_returns_a_command_an_undeclared_class(report: Report) -> None:
    source = """
        class Note: ...

        @pipeline.aggregate
        class Account:
            @handle
            def open(self, command: Open) -> Iterable[Open | Note]: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:5) has 2 mistakes
          open (app.py:7): handles `Open`, but returns `Open`, which is a command.
              write  @pipeline.event
                     class Open: ...
          open (app.py:7): handles `Open`, but returns `Note`, which is not declared as an event.
              write  @pipeline.event
                     class Note: ...
    """
    )


def test_bare_list_mapping(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @handle
            def open(self, command: Open) -> list: ...

            @compensate
            def close(self, event: Opened) -> dict[str, Closed]: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has 2 mistakes
          open (app.py:5): returns `list`, which does not say which events.
              write  the event class, a union of event classes, or Iterable[...] of them; None where there may be none
          close (app.py:8): returns `dict[str, Closed]`, which does not say which events.
              write  the event class, a union of event classes, or Iterable[...] of them; None where there may be none
    """
    )


def test_apply_that_returns(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @apply
            def opened(self, event: Opened) -> Opened: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has a mistake
          opened (app.py:5): returns `Opened`: an @apply method only changes the state.
              write  def opened(...) -> None, and set what it returned as a field
    """
    )


def test_parameters(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @handle
            def alone(self) -> None: ...

            @handle
            def many(self, command: Open, context: Context, more: int) -> None: ...

            @handle
            def starred(self, command: Open, *rest: int) -> None: ...

            @handle
            def named(self, command: Open, *, context: Context) -> None: ...

            @apply
            def keywords(self, event: Opened, **rest: int) -> None: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has 5 mistakes
          alone (app.py:5): has 1 parameter: a method under @handle has 2 or 3.
              write  def alone(self, command: ...) or def alone(self, command: ..., context: Context)
          many (app.py:8): has 4 parameters: a method under @handle has 2 or 3.
              write  def many(self, command: ...) or def many(self, command: ..., context: Context)
          starred (app.py:11): has *rest: everything is given by position.
              write  def starred(self, command: ...) or def starred(self, command: ..., context: Context)
          named (app.py:14): has keyword-only context: everything is given by position.
              write  def named(self, command: ...) or def named(self, command: ..., context: Context)
          keywords (app.py:17): has **rest: everything is given by position.
              write  def keywords(self, event: ...) or def keywords(self, event: ..., recorded: Recorded)
    """
    )


def test_async_methods(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @handle
            async def open(self, command: Open) -> Opened: ...

            @handle
            async def many(self, command: Open) -> typing.AsyncIterator[Opened]:
                yield Opened("")
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has 2 mistakes
          open (app.py:5): is async: deciding and applying take no time of their own, and a replay cannot wait.
              write  def open(...), and leave what waits to the caller or to an effect
          many (app.py:8): is async: deciding and applying take no time of their own, and a replay cannot wait.
              write  def many(...), and leave what waits to the caller or to an effect
    """
    )


def test_an_apply_method_with_a_yield(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @handle
            def open(self, command: Open) -> None: ...

            @apply
            def opened(self, event: Opened):
                yield
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has a mistake
          opened (app.py:8): has a yield: calling it would only make a generator, and change nothing.
              write  def opened(...) -> None, without yield
    """
    )


def test_misused_decorators(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @handle()
            def open(self, command: Open) -> None: ...

            @handle
            @staticmethod
            def static(command: Open) -> None: ...

            @classmethod
            @apply
            def opened(cls, event: Opened) -> None: ...

            @apply
            @property
            def closed(self) -> None: ...

            @handle
            @apply
            def both(self, event: Opened) -> None: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has 5 mistakes
          open (app.py:5): @handle takes no arguments and no parentheses.
              write  @handle
                     def open(self, ...)
          static (app.py:9): @handle stands above a staticmethod, not above a plain method.
              write  @handle
                     def static(self, ...)
          opened (app.py:13): is a classmethod: it has no aggregate to work on.
              leave  @classmethod out
          closed (app.py:17): @apply stands above a property, not above a plain method.
              write  @apply
                     def closed(self, ...)
          both (app.py:21): carries @apply and @handle: a method has one part to play.
              write  a method for each
    """
    )


def test_union_command(report: Report) -> None:
    source = """
        @pipeline.aggregate
        class Account:
            @handle
            def open(self, command: Open | Opened) -> None: ...
    """
    assert (
        report(source)
        == """
        class Account (app.py:3) has a mistake
          open (app.py:5): command is `Open | Opened`, which is not one class.
              write  a method for each command class
    """
    )

"""The Python on the pages runs, and prints what the pages say."""

from __future__ import annotations

import inspect
import sys
import types
from pathlib import Path

import pytest

import eventsrc
from eventsrc import Rejected
from eventsrc.testing import MemoryPipeline
from tests.unit.docs.reading import PAGES, ROOT, blocks, python_blocks

README, TESTING = ROOT / "README.md", ROOT / "docs" / "testing.md"

# Every page with Python, but those that are more than one module. What is not to be run (it needs a worker, say) stands in
# a block without a language.
PROGRAMS = [page for page in PAGES if page not in (README, TESTING) and python_blocks(page)]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The README's application, as the module `app`."""
    module = types.ModuleType("app")
    monkeypatch.setitem(sys.modules, "app", module)
    exec(compile(python_blocks(README)[0], "README.md", "exec"), vars(module))
    return module


def test_the_application_does_what_the_terminal_shows(app: types.ModuleType) -> None:
    terminal = next(text for _, text in blocks(README) if text.startswith("$ export"))
    with MemoryPipeline(app.pipeline) as client:
        compare(app, client, terminal)


def compare(app: types.ModuleType, client: MemoryPipeline, terminal: str) -> None:
    assert f"{client.send(app.Account, 'alice', app.Deposit(500)).events[0]!r}   sequence 1" in terminal
    with pytest.raises(Rejected) as refusal:
        client.send(app.Account, "alice", app.Withdraw(9900))
    assert f"rejected: {refusal.value.reason}   (account alice, balance {refusal.value.details['balance']})" in terminal
    assert f"{client.send(app.Account, 'alice', app.Withdraw(120)).events[0]!r}   sequence 2" in terminal
    account = client.get(app.Account, "alice")
    assert account is not None
    assert f"  balance  {account.balance}\n" in terminal
    with pytest.raises(eventsrc.InvalidCommand) as invalid:
        client.send(app.Account, "alice", app.Withdraw(0))
    assert f"error: {invalid.value}\n" in terminal


def test_the_client_prints_what_the_page_says(
    app: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(eventsrc, "Client", MemoryPipeline, raising=False)
    shown = blocks(README)
    number = next(place for place, (_, text) in enumerate(shown) if text.startswith("from app import"))
    exec(compile(shown[number][1], "README.md", "exec"), {"__name__": "use"})
    assert capsys.readouterr().out == shown[number + 1][1]


def test_the_page_on_testing_is_a_test_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    application, *suites = python_blocks(TESTING)
    app, suite = types.ModuleType("app"), types.ModuleType("test_app")
    monkeypatch.setitem(sys.modules, "app", app)
    monkeypatch.setitem(sys.modules, "test_app", suite)
    exec(compile(application, "testing.md, block 1", "exec"), vars(app))
    for number, text in enumerate(suites, 2):
        exec(compile(text, f"testing.md, block {number}", "exec"), vars(suite))
    tests = [test for name, test in vars(suite).items() if name.startswith("test_")]
    alone = [test for test in tests if not inspect.signature(test).parameters]
    assert len(alone) >= 10
    assert [test.__name__ for test in tests if test not in alone] == ["test_on_a_real_kafka"]
    for test in alone:
        test()
    with pytest.raises(AssertionError) as wrong:
        suite.wrong()
    assert f"\n{wrong.value}\n" in TESTING.read_text()


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.name)
def test_the_python_on_a_page_is_one_program(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(page.stem.replace("-", "_"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for number, text in enumerate(python_blocks(page), 1):
        exec(compile(text, f"{page.name}, block {number}", "exec"), vars(module))


def test_the_pages_that_explain_code_have_some() -> None:
    assert ROOT / "docs" / "guide.md" in PROGRAMS
    assert ROOT / "docs" / "concepts.md" in PROGRAMS

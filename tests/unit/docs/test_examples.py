"""The Python on the pages runs, and prints what the pages say."""

from __future__ import annotations

import sys
import types
from typing import Any, Self
from uuid import UUID

import pytest

import eventsrc
from eventsrc import EventMeta, Outcome, Recorded, Rejected
from tests.unit.docs.reading import ROOT, blocks, python_blocks

README = ROOT / "README.md"


class ModelClient:
    """What a client does, on the model alone: decide, apply, remember."""

    def __init__(self, pipeline: eventsrc.Pipeline) -> None:
        self._pipeline = pipeline
        self._states: dict[str, Any] = {}
        self._events: dict[str, list[Recorded]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None: ...

    def send(self, cls: type, id: str, command: Any, **options: Any) -> Outcome:
        aggregate = self._pipeline.aggregate_type(cls)
        self._pipeline.commands[type(command)].validate(command)
        state = self._states.setdefault(id, aggregate.new(id.encode()))
        event = aggregate.handlers[type(command)].function(state, command)
        aggregate.appliers[type(event)].function(state, event)
        log = self._events.setdefault(id, [])
        meta = EventMeta(bytes(16), None, None, 0, 0, 1, 0, bytes(8))
        log.append(Recorded(event, len(log) + 1, len(log), meta))
        return Outcome(UUID(int=0), (event,), len(log), False)

    def get(self, cls: type, id: str) -> Any:
        return self._states.get(id)

    def history(self, cls: type, id: str) -> list[Recorded]:
        return self._events.get(id, [])


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The README's application, as the module `app`."""
    module = types.ModuleType("app")
    monkeypatch.setitem(sys.modules, "app", module)
    exec(compile(python_blocks(README)[0], "README.md", "exec"), vars(module))
    return module


def test_the_application_does_what_the_terminal_shows(app: types.ModuleType) -> None:
    client = ModelClient(app.pipeline)
    terminal = next(text for _, text in blocks(README) if text.startswith("$ export"))
    assert f"{client.send(app.Account, 'alice', app.Deposit(500)).events[0]!r}   sequence 1" in terminal
    with pytest.raises(Rejected) as refusal:
        client.send(app.Account, "alice", app.Withdraw(9900))
    assert f"rejected: {refusal.value.reason}   (account alice, balance {refusal.value.details['balance']})" in terminal
    assert f"{client.send(app.Account, 'alice', app.Withdraw(120)).events[0]!r}   sequence 2" in terminal
    assert f"  balance  {client.get(app.Account, 'alice').balance}\n" in terminal
    with pytest.raises(eventsrc.InvalidCommand) as invalid:
        client.send(app.Account, "alice", app.Withdraw(0))
    assert f"error: {invalid.value}\n" in terminal


def test_the_client_prints_what_the_page_says(
    app: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(eventsrc, "Client", ModelClient, raising=False)
    shown = blocks(README)
    number = next(place for place, (_, text) in enumerate(shown) if text.startswith("from app import"))
    exec(compile(shown[number][1], "README.md", "exec"), {"__name__": "use"})
    assert capsys.readouterr().out == shown[number + 1][1]


def test_the_guide_is_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", module)
    for number, text in enumerate(python_blocks(ROOT / "docs" / "guide.md"), 1):
        exec(compile(text, f"guide.md, block {number}", "exec"), vars(module))
    assert set(module.pipeline.aggregates) == {"order"}

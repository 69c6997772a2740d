"""What words on the command line mean: times, applications, aggregates, commands, the quick way to run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from eventsrc import InvalidCommand, Pipeline, apply, handle
from eventsrc.cli.errors import UsageError
from eventsrc.cli.finding import aggregate_and_id, build_command, find_command, parse_json
from eventsrc.cli.loading import load_pipeline, split_app
from eventsrc.cli.quick_run import parse

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "configured", "expected"),
    [
        (["a:p", "Account"], None, ("a:p", ["Account"])),
        (["a:p"], "b:p", ("a:p", [])),
        (["Account", "a:b"], "b:p", ("b:p", ["Account", "a:b"])),
        ([], None, (None, [])),
    ],
)
def test_the_application_is_known_by_its_colon(words: list[str], configured: str | None, expected: Any) -> None:
    assert split_app(words, configured) == expected


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    path, known = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("source", "app", "message"),
    [
        (None, "loadable_gone:pipeline", "there is no module loadable_gone in"),
        ("import loadable_absent", "loadable:pipeline", "importing loadable failed: No module named 'loadable_absent'"),
        (
            "1 / 0",
            "loadable:pipeline",
            r"importing loadable failed: ZeroDivisionError: division by zero \(.*loadable.py:1\)",
        ),
        ("def", "loadable:pipeline", r"importing loadable failed: SyntaxError.*loadable.py:1"),
        (
            "bank = __import__('eventsrc').Pipeline('bank')",
            "loadable:pipeline",
            "no attribute 'pipeline'; it has loadable:bank",
        ),
        ("pipeline = 5", "loadable:pipeline", "is a int, not a Pipeline"),
        (None, "loadable", "is not module:attribute"),
        (None, ":pipeline", "is not module:attribute"),
        (None, "dir/loadable.py:pipeline", "write the module: dir.loadable:pipeline"),
        (None, None, "no application is named"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_one_sentence(
    source: str | None, app: str | None, message: str, modules: Path
) -> None:
    if source is not None:
        (modules / "loadable.py").write_text(source)
    with pytest.raises(UsageError, match=message):
        load_pipeline(app)


def test_an_application_in_a_package_is_found_from_the_current_directory(modules: Path) -> None:
    (modules / "loadable_package").mkdir()
    (modules / "loadable_package" / "app.py").write_text(
        "from eventsrc import Pipeline\nclass holder:\n    p = Pipeline('bank')\n"
    )
    assert load_pipeline("loadable_package.app:holder.p").name == "bank"


def test_plain_options_of_run_are_understood_quickly() -> None:
    words = ["app:p", "--workers", "1", "--instance-id=i-1", "-X", "a=b", "-X=c=d", "--state-dir", "s"]
    expected = {"app": "app:p", "workers": "1", "instance_id": "i-1", "kafka": ["a=b", "c=d"], "state_dir": "s"}
    assert parse(words) == expected


@pytest.mark.parametrize(
    "words",
    [["--help"], ["a:p", "b:p"], ["--workers"], ["--workers", "x"], ["--unknown", "1"], ["--"], ["--workers=-1"]],
)
def test_anything_else_of_run_is_left_to_the_full_command_line(words: list[str]) -> None:
    assert parse(words) is None


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    pipeline = Pipeline("shop")

    @pipeline.command
    class PlaceOrder:
        quantity: int = 1

    @pipeline.event
    class Placed:
        quantity: int

    @pipeline.aggregate
    class StockItem:
        quantity: int = 0

        @handle
        def place(self, command: PlaceOrder) -> Placed:
            return Placed(command.quantity)

        @apply
        def placed(self, event: Placed) -> None:
            self.quantity += event.quantity

    return pipeline


@pytest.mark.parametrize("name", ["StockItem", "stock-item"])
@pytest.mark.parametrize("command", ["PlaceOrder", "place-order"])
def test_aggregates_and_commands_by_class_name_or_kebab_case(pipeline: Pipeline, name: str, command: str) -> None:
    aggregate, aggregate_id = aggregate_and_id(pipeline, [name, "-x"], "show")
    assert (aggregate.name, aggregate_id) == ("stock-item", "-x")
    assert find_command(aggregate, command).name == "PlaceOrder"


def test_unknown_words_name_what_there_is(pipeline: Pipeline) -> None:
    with pytest.raises(UsageError, match="did you mean StockItem"):
        aggregate_and_id(pipeline, ["StokItem", "x"], "show")
    with pytest.raises(UsageError, match=r"eventsrc log \[APP\] AGGREGATE ID"):
        aggregate_and_id(pipeline, ["StockItem"], "log")
    with pytest.raises(UsageError, match="it handles PlaceOrder"):
        find_command(pipeline.aggregate_type("stock-item"), "Ship")


def test_a_command_is_built_from_an_object_only(pipeline: Pipeline) -> None:
    message = find_command(pipeline.aggregate_type("stock-item"), "PlaceOrder")
    assert build_command(message, {"quantity": 4}).quantity == 4
    wrongs: list[Any] = [[], 5, {"quantity": "many"}, {"quantity": 1, "more": 2}]
    for wrong in wrongs:
        with pytest.raises(InvalidCommand):
            build_command(message, wrong)


@pytest.mark.parametrize("text", ["{", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, ""])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the payload is not JSON"):
        parse_json(text, "the payload")

"""What the pages say of the code is true of the code."""

from __future__ import annotations

import ast
import datetime as clock
import decimal
import enum
import json
import re
import typing
import uuid
from dataclasses import fields, make_dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from eventsrc import Pipeline, apply, handle
from eventsrc.adapters.kafka.config import PROTECTED
from eventsrc.cli.app import build_app
from eventsrc.codec.catalog import Catalog
from eventsrc.model.settings import PipelineSettings
from eventsrc.runtime.settings import Settings
from tests.unit.docs.reading import PAGES, ROOT, anchors, code, links, rows

README, GUIDE, OPERATIONS = ROOT / "README.md", ROOT / "docs" / "guide.md", ROOT / "docs" / "operations.md"


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in (ROOT / "eventsrc" / folder).rglob("*.py")]


def string_texts(paths: list[Path]) -> str:
    """Every text in the code, an f-string with `{}` where a value stands."""
    texts: list[str] = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                texts.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


def test_the_readme_lists_the_commands_that_there_are() -> None:
    import typer

    listed = {code(cell)[0].split()[1] for cell, *_ in rows(README, "## Commands")}
    assert listed == set(getattr(typer.main.get_command(build_app()), "commands"))  # noqa: B009 - click's, untyped here


def test_the_readme_lists_the_settings_that_there_are() -> None:
    names = {each.name.upper() for each in fields(Settings)}
    listed = [word for _, _, cell, _ in rows(README, "## Configuration") for word in code(cell)]
    assert listed
    for word in listed:
        if word.startswith("EVENTSRC_") and not word.startswith("EVENTSRC_KAFKA_"):
            assert word.removeprefix("EVENTSRC_") in names, word


def test_operations_lists_the_metrics_that_there_are() -> None:
    from eventsrc.runtime.exposition import render
    from tests.unit.runtime.test_http_answers import HALTED, NOW_US, OPEN, READING, worker

    shown = render([worker(OPEN, READING, HALTED)], NOW_US, "")[0].decode()
    histograms = set(re.findall(r"^# TYPE (eventsrc_\w+) histogram$", shown, re.MULTILINE))
    there_are = set(re.findall(r"^(eventsrc_\w+)", shown, re.MULTILINE))
    there_are -= {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum", "created")}
    listed = [word for cell, *_ in rows(OPERATIONS, "## Probes and metrics") for word in code(cell)]
    assert sorted(word for word in listed if word.startswith("eventsrc_")) == sorted(there_are | histograms)


def test_the_guide_lists_every_pipeline_setting() -> None:
    listed = [word for cell, *_ in rows(GUIDE, "## Pipeline settings") for word in code(cell)]
    assert sorted(listed) == sorted(each.name for each in fields(PipelineSettings))


def test_protected_settings_are_all_named() -> None:
    text = OPERATIONS.read_text()
    assert not [name for name in PROTECTED if f"`{name}`" not in text]


def test_dead_letter_reasons_are_all_named_in_the_order_of_precedence() -> None:
    listed = [code(cell)[0] for cell, *_ in rows(OPERATIONS, "## Dead letters")]
    assert listed == [
        "null-key", "bad-id", "wrong-partition", "null-value", "oversize", "undecodable", "unknown-schema",
        "not-a-command", "constraint", "handler-failed",
    ]  # fmt: skip
    text = string_texts(sources("engine"))
    assert not [reason for reason in listed if reason not in text]


def test_halts_are_quoted_from_the_code() -> None:
    text = string_texts(sources("engine", "adapters", "runtime"))
    quoted = [span for cell, *_ in rows(OPERATIONS, "## Halts") for span in code(cell)]
    assert len(quoted) >= 15
    for span in quoted:
        for piece in re.split(r"\.\.\.|\b[ABMN]\b", span):
            assert piece.strip() in text, span


class Colour(enum.Enum):
    RED = 1


def avro_of(annotation: Any) -> Any:
    """The schema of a field of this type."""
    pipeline = Pipeline("types")
    command: Any = pipeline.command(type("Go", (), {}))
    event: Any = pipeline.event(type("Gone", (), {"__annotations__": {"field": annotation}}))

    class Thing:
        @handle
        def go(self, command: Any) -> Any:
            return None

        @apply
        def gone(self, event: Any) -> None: ...

    Thing.go.__annotations__.update({"command": command, "return": event})
    Thing.gone.__annotations__.update({"event": event})
    pipeline.aggregate(Thing)
    found = next(each for each in Catalog(pipeline, None).schemas() if each.name == "Gone")
    return found.schema["fields"][1]["type"]


def test_the_table_of_field_types_is_what_the_codec_does() -> None:
    names = {**vars(typing), **vars(clock), **vars(decimal), "UUID": uuid.UUID, "Enum": Colour, "Field": Field}
    names |= {"A": str, "B": int, "nested": make_dataclass("Nested", [("name", str)])}
    table = rows(GUIDE, "### Field types")
    assert len(table) >= 17
    for python, avro, *_ in table:
        for span in code(python) or ["nested"]:
            written = json.dumps(avro_of(eval(span, dict(names))))
            for word in re.findall(r"[a-z0-9_-]{3,}", " ".join(code(avro))):
                assert word in written, f"{span}: {word} is not in {written}"

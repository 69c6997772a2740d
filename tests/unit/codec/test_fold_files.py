"""A changed @apply method is noticed; a comment, a docstring or another layout is not a change."""

from __future__ import annotations

import importlib
import sys
import uuid
from pathlib import Path

import pytest

from eventsrc import Pipeline
from eventsrc.codec import fold_files
from eventsrc.errors import InvalidSchema, SchemaIncompatible

SOURCE = """
from eventsrc import Pipeline, apply, handle

pipeline = Pipeline("folds")

@pipeline.command
class Add:
    number: int

@pipeline.event
class Added:
    number: int

@pipeline.aggregate(version={version})
class Sum:
    total: int = 0

    @handle
    def add(self, command: Add) -> Added:
        return Added(command.number)

    @apply
    def {name}(self, event: Added) -> None:
{body}
"""
PLAIN = "        self.total += event.number"


def written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str = PLAIN, version: int = 1, name: str = "a"
) -> Pipeline:
    module = f"folded_{uuid.uuid4().hex}"
    (tmp_path / f"{module}.py").write_text(SOURCE.format(body=body, version=version, name=name))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    pipeline: Pipeline = importlib.import_module(module).pipeline
    del sys.modules[module]
    return pipeline


def test_export_writes_one_file_and_then_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = written(tmp_path, monkeypatch)
    assert fold_files.compare(pipeline, tmp_path) == fold_files.FoldReport([], ["sum"])
    assert fold_files.export(pipeline, tmp_path) == [tmp_path / "folds" / "sum" / "fold.json"]
    assert fold_files.export(pipeline, tmp_path) == []
    assert fold_files.compare(pipeline, tmp_path) == fold_files.FoldReport([], [])


@pytest.mark.parametrize(
    "body",
    [
        '        """Adds."""\n' + PLAIN,
        "        # adds\n\n" + PLAIN,
        "        self.total += (\n            event.number)",
    ],
    ids=["docstring", "comment", "layout"],
)
def test_what_is_no_code_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    fold_files.export(written(tmp_path, monkeypatch), tmp_path)
    assert fold_files.compare(written(tmp_path, monkeypatch, body, name="renamed"), tmp_path).changed == []


def test_another_fold_under_the_same_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fold_files.export(written(tmp_path, monkeypatch), tmp_path)
    changed = written(tmp_path, monkeypatch, "        self.total += 2 * event.number")
    with pytest.raises(SchemaIncompatible) as raised:
        fold_files.export(changed, tmp_path)
    assert len(raised.value.problems) == 1
    assert "declare @pipeline.aggregate(version=2)" in raised.value.problems[0]
    assert "--same-fold" in raised.value.problems[0]
    assert fold_files.export(changed, tmp_path, same_fold=True) == [tmp_path / "folds" / "sum" / "fold.json"]
    assert fold_files.compare(changed, tmp_path).changed == []


def test_another_version_is_written_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fold_files.export(written(tmp_path, monkeypatch), tmp_path)
    newer = written(tmp_path, monkeypatch, "        self.total = event.number", version=2)
    assert fold_files.compare(newer, tmp_path) == fold_files.FoldReport([], ["sum"])
    assert len(fold_files.export(newer, tmp_path)) == 1


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = written(tmp_path, monkeypatch)
    (path,) = fold_files.export(pipeline, tmp_path)
    path.write_text("{}")
    with pytest.raises(InvalidSchema, match="restore it from version control"):
        fold_files.compare(pipeline, tmp_path)


def test_whoever_uses_checkpoints_is_warned_and_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = written(tmp_path, monkeypatch)
    (path,) = fold_files.export(pipeline, tmp_path)
    assert fold_files.warnings(pipeline, tmp_path) == []
    (changed,) = fold_files.warnings(written(tmp_path, monkeypatch, "        self.total -= event.number"), tmp_path)
    assert "may hold other states than a replay" in changed
    path.write_text("damaged")
    (damaged,) = fold_files.warnings(pipeline, tmp_path)
    assert str(path) in damaged

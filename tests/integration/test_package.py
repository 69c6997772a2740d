"""The package as a user gets it: built, installed into a clean environment, and the quick start followed there."""

from __future__ import annotations

import email
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tarfile
import uuid
import venv
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def build(source: Path, into: Path, *targets: str) -> Path:
    """What `hatchling build` makes of these sources; returns `into`. Fetches nothing."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(into), *targets]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return into


def wheel_of(directory: Path) -> Path:
    (found,) = directory.glob("*.whl")
    return found


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


class CleanEnvironment:
    """A virtual environment with the wheel, and the libraries that the tests' own environment has: no index is asked."""

    def __init__(self, directory: Path, wheel: Path, **variables: str) -> None:
        venv.create(directory, with_pip=False)
        self.bin = directory / "bin"
        self._variables = {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "HOME": str(directory), **variables}
        install = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install", "--no-deps"]
        subprocess.run([*install, "--no-index", "--quiet", str(wheel)], check=True, timeout=120)
        libraries = sysconfig.get_path("purelib")
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        # Named in a .pth file, so their own .pth files, one of which leads to these sources, are not followed.
        (directory / "lib" / version / "site-packages" / "libraries.pth").write_text(f"{libraries}\n")

    def start(self, *words: str, cwd: Path, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(words, cwd=cwd, env=self._variables, text=True, **options)

    def __call__(self, *words: str, cwd: Path, exit_code: int = 0) -> str:
        process = self.start(*words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=120)
        assert process.returncode == exit_code, f"{words}: exit {process.returncode}\n{out}\n{err}"
        return out


@pytest.fixture
def clean(built: Path, tmp_path: Path, kafka: str, make_database: Callable[[str], AbstractContextManager[str]]) -> Any:
    with make_database("package") as database:
        yield CleanEnvironment(
            tmp_path / "environment", wheel_of(built), KAFKA_BOOTSTRAP_SERVERS=kafka, DATABASE_URL=database
        )


def test_the_wheel_has_what_is_run_and_nothing_else(built: Path) -> None:
    names = names_in(wheel_of(built))
    assert {each.partition("/")[0] for each in names} == {"eventsrc", "eventsrc-0.1.0.dist-info"}
    needed = {
        "eventsrc/py.typed",
        "eventsrc/mypy.py",
        "eventsrc/migrations/env.py",
        "eventsrc-0.1.0.dist-info/licenses/LICENSE",
    }
    for pattern in ("migrations/versions/*.py", "eventsrc/cli/scaffold/*", "eventsrc/localstack/*.pins"):
        found = {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)}
        assert found
        needed |= {each if each.startswith("eventsrc/") else f"eventsrc/{each}" for each in found}
    assert needed <= names
    assert not [each for each in names if each.endswith((".pyc", ".avsc")) or "/tests/" in each]


def test_the_source_distribution_makes_the_same_wheel(built: Path, tmp_path: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as sources:
        sources.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    assert not {".venv", ".eventsrc", "site"} & {path.name for path in root.iterdir()}
    assert {"CHANGELOG.md", "LICENSE", "README.md", "docs", "tests", "tools"} <= {path.name for path in root.iterdir()}
    assert names_in(wheel_of(build(root, tmp_path / "dist", "-t", "wheel"))) == names_in(wheel_of(built))


def test_the_metadata_says_what_is_true(built: Path) -> None:
    with zipfile.ZipFile(wheel_of(built)) as archive:
        metadata = email.message_from_bytes(archive.read("eventsrc-0.1.0.dist-info/METADATA"))
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"local", "registry", "metrics"} <= set(metadata.get_all("Provides-Extra", []))
    claimed = [each for each in metadata.get_all("Classifier", []) if "Python :: 3." in each]
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    assert claimed
    for each in claimed:
        assert each.rpartition(" ")[2] in contributing, f"{each}: CONTRIBUTING.md does not say how it is tested"


def test_the_quick_start_in_a_clean_environment(clean: CleanEnvironment, tmp_path: Path) -> None:
    assert clean("eventsrc", "--version", cwd=tmp_path) == "eventsrc 0.1.0\n"
    where = clean("python", "-c", "import eventsrc; print(eventsrc.__file__)", cwd=tmp_path)
    assert where.startswith(str(clean.bin.parent))

    name = f"shop-{uuid.uuid4().hex[:8]}"
    clean("eventsrc", "init", name, cwd=tmp_path)
    project = tmp_path / name
    assert clean("eventsrc", "check", cwd=project).splitlines()[-1].startswith("ok: ")
    clean("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    clean("eventsrc", "db", "upgrade", cwd=project)
    clean("eventsrc", "topics", "create", cwd=project)
    worker = clean.start("eventsrc", "run", "--log-level", "warning", cwd=project, stderr=subprocess.PIPE)
    try:
        place = ("send", "Order", "o-1", "Place", '{"sku": "tea", "quantity": 2}')
        clean("eventsrc", *place, "--timeout", "60", cwd=project)  # the worker has yet to begin
        clean("eventsrc", "send", "Order", "o-1", "Ship", cwd=project, exit_code=1)
        shown = json.loads(clean("eventsrc", "show", "Order", "o-1", "--json", cwd=project))
        assert shown["state"]["status"] == "placed"
        clean("eventsrc", "checkpoint", "now", cwd=project)
    finally:
        worker.send_signal(signal.SIGTERM)
        _, log = worker.communicate(timeout=60)
    assert (worker.returncode, "Traceback" in log) == (0, False), log

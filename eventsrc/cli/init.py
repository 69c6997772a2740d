"""`eventsrc init`: a new application that runs."""

from __future__ import annotations

import keyword
import shutil
import sys
import uuid
from pathlib import Path
from typing import Annotated

import typer

from eventsrc.cli.errors import UsageError
from eventsrc.model.names import is_kebab_name, kebab_case

_TEMPLATES = Path(__file__).parent / "scaffold"


def register(app: typer.Typer) -> None:
    app.command("init")(init)


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new directory; its last part names the pipeline.")],
) -> None:
    """Make a new application that runs."""
    target = Path(name)
    files = scaffold(target.name)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists and is not empty: choose another name")
    try:
        _write(target, files)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error
    for path in files:
        print(f"  {target / path}")
    print(f"next: cd {target} && eventsrc dev")


def scaffold(name: str) -> dict[Path, str]:
    """The files of a new application, by their path in its directory. Raises `UsageError` for a name that cannot be a
    pipeline's."""
    pipeline = kebab_case(name)
    package = pipeline.replace("-", "_")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in ("eventsrc", "tests"):
        raise UsageError(f"{name!r} cannot name an application: Python knows {package} as something else")
    if not is_kebab_name(pipeline):
        raise UsageError(f"{name!r} cannot name an application: small letters, digits and hyphens, a letter first")
    places = {
        Path("pyproject.toml"): "pyproject.toml",
        Path(package) / "__init__.py": None,
        Path(package) / "app.py": "app.py",
        Path("tests") / "test_app.py": "test_app.py",
        Path("README.md"): "README.md",
        Path(".gitignore"): "gitignore",
    }
    return {path: "" if template is None else _filled(template, pipeline, package) for path, template in places.items()}


def _filled(template: str, pipeline: str, package: str) -> str:
    text = (_TEMPLATES / f"{template}.template").read_text(encoding="utf-8")
    return text.replace("@PIPELINE@", pipeline).replace("@PACKAGE@", package)


def _write(target: Path, files: dict[Path, str]) -> None:
    """All or nothing: written beside its place, then renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        for path, text in files.items():
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            (partial / path).write_text(text, encoding="utf-8")
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)

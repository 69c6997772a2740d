"""Finds the application: `module:attribute`, by its colon, else what the settings name. Imports it from the current
directory."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from eventsrc.cli.errors import UsageError
from eventsrc.errors import EventsrcError

if TYPE_CHECKING:
    from eventsrc.model.pipeline import Pipeline


def split_app(words: list[str], configured: str | None) -> tuple[str | None, list[str]]:
    """The application's name, if one is given or configured, and the other words."""
    if words and ":" in words[0]:
        return words[0], words[1:]
    return configured, words


def named_app(app: str | None) -> str:
    """Raises `UsageError` where none is named."""
    if app is None:
        raise UsageError(
            "no application is named: give module:attribute (for example app:pipeline), or set EVENTSRC_APP, or "
            'app = "module:attribute" under [tool.eventsrc] in pyproject.toml'
        )
    return app


def load_pipeline(app: str | None) -> Pipeline:
    """Imports the application. Raises `UsageError`; what eventsrc itself raises in the import (`DeclarationError`)
    passes through."""
    app = named_app(app)
    module_name, colon, attribute = app.partition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(f"{app!r} is not module:attribute, for example app:pipeline")
    if module_name.endswith(".py") or "/" in module_name:
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise UsageError(f"{app!r} names a file; write the module: {dotted}:{attribute}")
    return _pipeline_in(_imported(module_name, app), attribute, app)


def _imported(module_name: str, app: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module_name)
    except EventsrcError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise UsageError(f"{app}: there is no module {error.name} in {here} or on the Python path") from error
        raise UsageError(f"importing {module_name} failed: {error}{_place(error)}") from error
    except SystemExit as error:  # its code would be taken for ours
        raise UsageError(
            f"importing {module_name} ended the program: sys.exit({error.code!r}){_place(error)}"
        ) from error
    except Exception as error:
        raise UsageError(f"importing {module_name} failed: {type(error).__name__}: {error}{_place(error)}") from error


def _pipeline_in(module: ModuleType, attribute: str, app: str) -> Pipeline:
    from eventsrc.model.pipeline import Pipeline

    found: object = module
    for name in attribute.split("."):
        found = getattr(found, name, None)
    if isinstance(found, Pipeline):
        return found
    names = [name for name, value in vars(module).items() if isinstance(value, Pipeline)]
    mend = f"; it has {', '.join(f'{module.__name__}:{name}' for name in names)}" if names else ""
    if found is None:
        raise UsageError(f"{app}: module {module.__name__} has no attribute {attribute!r}{mend}")
    raise UsageError(f"{app} is a {type(found).__name__}, not a Pipeline{mend}")


def _place(error: BaseException) -> str:
    """Where in the application it was raised: the innermost line that is not the import machinery's."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}:{error.lineno})"
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith("<frozen")]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if len(frames) > 2 else ""

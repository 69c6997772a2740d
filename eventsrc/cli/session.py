"""What every command shares: the options that make up its settings, its logs, and the application it works on.

`command` turns a function into a command of the CLI; its first parameter, a `Session`, is made of the shared options.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventsrc.cli.loading import load_pipeline, split_app
from eventsrc.cli.work import configure_logging
from eventsrc.runtime import logs
from eventsrc.runtime.settings import Settings, parse_kafka_settings

if TYPE_CHECKING:
    from eventsrc.model.pipeline import Pipeline

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# The options that every command takes. Settings not given here come from the environment, .env and pyproject.toml.
_SHARED: dict[str, tuple[Any, Any]] = {
    "bootstrap_servers": (
        Annotated[str | None, typer.Option("--bootstrap-servers", "-b", metavar="HOST:PORT", help="Kafka's address.")],
        None,
    ),
    "kafka": (
        Annotated[
            list[str] | None, typer.Option("-X", metavar="KEY=VALUE", help="Any librdkafka setting; may be repeated.")
        ],
        None,
    ),
    "state_dir": (
        Annotated[Path | None, typer.Option("--state-dir", metavar="DIR", help="Local state [default: .eventsrc].")],
        None,
    ),
    "schemas_dir": (
        Annotated[Path | None, typer.Option("--schemas-dir", metavar="DIR", help="Schema files [default: schemas].")],
        None,
    ),
    "log_level": (
        Annotated[
            str | None, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error, on stderr.")
        ],
        None,
    ),
    "log_format": (
        Annotated[str | None, typer.Option("--log-format", metavar="FORM", help="text or json, a line each.")],
        None,
    ),
}


@dataclass(frozen=True, slots=True)
class Session:
    """One command's surroundings."""

    settings: Settings

    def split(self, words: list[str] | None) -> tuple[Pipeline, list[str]]:
        """The application that the first word or the settings name, loaded, and the words after it."""
        app, rest = split_app(list(words or ()), self.settings.app)
        pipeline = load_pipeline(app)
        logs.bind(pipeline=pipeline.name)
        return pipeline, rest

    @property
    def kafka_address(self) -> str:
        """Raises `Unreachable` where none is known."""
        return self.settings.require_bootstrap_servers()


def command(
    app: typer.Typer, name: str, *, quiet: bool = True, usage: str | None = None
) -> Callable[[Callable[..., None]], None]:
    """Registers `function(session, ...)`. `quiet`: unless a log level is given, only warnings are logged."""

    def register(function: Callable[..., None]) -> None:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        shared = [
            inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for each, (annotation, default) in _SHARED.items()
            if each not in {parameter.name for parameter in own}
        ]

        @functools.wraps(function)
        def run(**values: Any) -> None:
            flags = {each: values.pop(each) for each in _SHARED if each not in own_names}
            function(open_session(flags, quiet=quiet), **values)

        own_names = {parameter.name for parameter in own}
        vars(run).pop("__wrapped__")
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + shared
        vars(run)["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        app.command(name, options_metavar="[OPTIONS]", short_help=None, epilog=usage)(run)

    return register


def open_session(flags: Mapping[str, Any], *, quiet: bool) -> Session:
    """Settings from the shared options and everything beneath them. Raises `InvalidSettings`."""
    pairs = flags.get("kafka")
    settings = Settings.resolve(
        {**flags, "kafka": parse_kafka_settings(pairs) if pairs else None}, os.environ, Path.cwd()
    )
    configure_logging(settings, "warning" if quiet and not flags.get("log_level") else None)
    return Session(settings)

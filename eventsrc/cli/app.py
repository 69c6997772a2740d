"""All command groups in one Typer application. Knows the groups' modules, and nothing of what they do."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

# Each module has `register(app)`. In the order in which `--help` lists them.
_GROUPS = (
    "init", "dev", "run", "check", "doctor", "send", "show", "log", "replay", "tail", "status", "dlq", "fsck", "checkpoint",
    "topics", "schema", "db",
)  # fmt: skip

_ABOUT = """Event-sourced stream processing on Kafka: aggregates as Python classes, exactly once.

APP is module:attribute, for example app:pipeline; leave it out where EVENTSRC_APP or [tool.eventsrc] app names it.
"""

_EXIT_CODES = (
    "Exit codes: 0 done, 1 the command found a failure, "
    "2 usage or load, 3 unreachable, 5 schema incompatible, 6 (run) fenced."
)


def build_app(first_word: str | None = None) -> typer.Typer:
    """With the one group that `first_word` names, else with all."""
    app = typer.Typer(
        name="eventsrc",
        help=_ABOUT,
        epilog=_EXIT_CODES,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for group in (first_word,) if first_word in _GROUPS else _GROUPS:
        importlib.import_module(f"eventsrc.cli.{group}").register(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"eventsrc {version('eventsrc')}")
        except PackageNotFoundError:
            typer.echo("eventsrc, from a source tree that is not installed")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_version),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error was raised; may stand anywhere before `--`.")
    ] = False,
) -> None:
    """The options before a command; `--debug` is taken out before this is called."""

"""Writes docs/cli.md from the command line itself: every command with its words, options, defaults and variables.

`python -m tools.cli_reference` (part of `make docs`); tests/unit/docs compares the page with what this would write.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"

_HEAD = """\
# Command line

This page is made of the code by `make docs`: do not edit it.

{about}

Data goes to stdout, logs to stderr. `--json` prints JSON. {exit_codes}

A setting is looked for in this order: option, environment, `.env`, `[tool.eventsrc]` in pyproject.toml (without
`EVENTSRC_`, in small letters). `KAFKA_BOOTSTRAP_SERVERS` and `DATABASE_URL` are honoured after their `EVENTSRC_` forms.
`--debug`, anywhere before `--`, shows where an error was raised. `--` ends the options: an id may begin with `-` after it.

## Options of most commands

{shared}
"""


def leaves(command: Any, path: tuple[str, ...] = ("eventsrc",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that name it. `command`: click's, as Typer makes it."""
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield path, command
        return
    for name, subcommand in subcommands.items():
        yield from leaves(subcommand, (*path, name))


def tree() -> Any:
    """The command line as click knows it."""
    import typer

    from eventsrc.cli.app import build_app

    return typer.main.get_command(build_app())


def page() -> str:
    """The whole text of docs/cli.md."""
    root = tree()
    commands = list(leaves(root))
    shared = _shared_options([command for _, command in commands])
    head = _HEAD.format(
        about=_prose(root.help), exit_codes=_prose(root.epilog), shared=_option_table(list(shared.values()))
    )
    return "\n".join([head, *(_section(path, command, shared) for path, command in commands)])


def _shared_options(commands: list[Any]) -> dict[tuple[str, ...], Any]:
    """The options that most commands have, by their names: told once."""
    found = {_names(option): option for command in commands for option in _options(command)}
    often = Counter(_names(option) for command in commands for option in _options(command))
    settings = _settings()
    return {
        names: found[names]
        for names, count in often.items()
        if count > len(commands) / 2 and found[names].name in settings
    }


def _section(path: tuple[str, ...], command: Any, shared: dict[tuple[str, ...], Any]) -> str:
    own = [option for option in _options(command) if _names(option) not in shared]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    words = [_word(each) for each in arguments]
    lines = [f"## {' '.join(path)}", "", "```", " ".join([*path, *words, "[OPTIONS]"]), "```", "", _prose(command.help)]
    if command.epilog:
        lines += ["", _prose(command.epilog)]
    described = [each for each in arguments if each.help]
    if described:
        lines += ["", *(f"- `{_word(each)}`: {_cell(each.help)}" for each in described)]
    if own:
        lines += ["", _option_table(own)]
    if any(_names(option) in shared for option in _options(command)):
        lines += ["", "And the [options of most commands](#options-of-most-commands)."]
    return "\n".join([*lines, ""])


def _option_table(options: list[Any]) -> str:
    rows = [(_spelling(each), _cell(each.help or ""), _default(each), _variable(each)) for each in options]
    lines = ["|" + "".join(f" {cell} |" if cell else " |" for cell in row) for row in rows]
    return "\n".join(["| option | | default | environment |", "|---|---|---|---|", *lines])


def _options(command: Any) -> list[Any]:
    return [each for each in command.params if each.param_type_name == "option" and each.name != "help"]


def _names(option: Any) -> tuple[str, ...]:
    return (*option.opts, *option.secondary_opts)


def _word(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _spelling(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in _names(option))
    if option.is_flag:
        return names
    return f"{names} `{option.metavar or ('NUMBER' if isinstance(option.default, int | float) else 'TEXT')}`"


def _default(option: Any) -> str:
    default = option.default
    return "" if option.is_flag or default is None or callable(default) else f"`{default}`"


def _variable(option: Any) -> str:
    if option.name == "kafka":
        return "`EVENTSRC_KAFKA_...`"
    return f"`EVENTSRC_{option.name.upper()}`" if option.name in _settings() else ""


def _settings() -> set[str]:
    from eventsrc.runtime.settings import Settings

    return {each.name for each in fields(Settings)}


def _prose(text: str | None) -> str:
    """A docstring as Markdown: it is written as such, but for characters of markup."""
    return re.sub(r"([<>*])", r"\\\1", inspect.cleandoc(text or "")).strip()


def _cell(text: str) -> str:
    return " ".join(_prose(text).split()).replace("|", "\\|")


def main() -> int:
    text = page()
    if not PAGE.exists() or PAGE.read_text() != text:
        PAGE.write_text(text)
        print("docs/cli.md was out of date and is written anew", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

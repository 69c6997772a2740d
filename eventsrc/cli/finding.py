"""Finds what words on the command line name: aggregates, ids, commands. Class names and kebab-case both work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from eventsrc.cli.errors import UsageError
from eventsrc.errors import InvalidCommand
from eventsrc.model.names import kebab_case

if TYPE_CHECKING:
    from eventsrc.model.aggregate import AggregateType
    from eventsrc.model.message import MessageType
    from eventsrc.model.pipeline import Pipeline


def find_aggregate(pipeline: Pipeline, name: str) -> AggregateType:
    try:
        return pipeline.aggregate_type(name)
    except LookupError as error:
        raise UsageError(str(error.args[0])) from error


def aggregate_and_id(pipeline: Pipeline, words: list[str], command: str) -> tuple[AggregateType, str]:
    """Exactly two words. Raises `UsageError` with how the command is written."""
    if len(words) != 2:
        raise UsageError(
            f"write eventsrc {command} [APP] AGGREGATE ID, for example: eventsrc {command} Account alice; "
            "an id that begins with '-' follows after --"
        )
    return find_aggregate(pipeline, words[0]), words[1]


def find_command(aggregate: AggregateType, name: str) -> MessageType:
    messages = list(aggregate.commands.values())
    for message in messages:
        if name in (message.name, message.cls.__name__, kebab_case(message.name)):
            return message
    known = ", ".join(sorted(message.name for message in messages))
    raise UsageError(f"{aggregate.cls.__name__} handles no command {name!r}; it handles {known}")


def build_command(message: MessageType, payload: Any) -> Any:
    """The command that a JSON object describes. Raises `InvalidCommand`."""
    if not isinstance(payload, dict):
        raise InvalidCommand(f"{message.name} is written as a JSON object, not as {type(payload).__name__}")
    return message.from_json(payload)


def parse_json(text: str, what: str) -> Any:
    """Raises `UsageError` with the place of the mistake. NaN, Infinity and repeated names are refused."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{what} is not JSON: {error}") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found

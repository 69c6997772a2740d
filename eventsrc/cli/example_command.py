"""A first command to try, made up from a pipeline's own types, so that the next step can be pasted."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from eventsrc.errors import EventsrcError
from eventsrc.model.types import EnumOf, ListOf, LiteralOf, Primitive

if TYPE_CHECKING:
    from eventsrc.model.message import MessageType
    from eventsrc.model.pipeline import Pipeline

_EXAMPLES: dict[str, Any] = {"int": 1, "float": 1.5, "str": "tea", "bool": True, "decimal-text": "1.50"}


def example_command(pipeline: Pipeline, app: str | None) -> str | None:
    """`eventsrc send Account a-1 Deposit '{"amount": 1}'`, with `app` if given; None if no command of the pipeline
    has only fields that are easy to make up."""
    for aggregate in pipeline.aggregates.values():
        for message in aggregate.commands.values():
            payload = _payload(message)
            if payload is not None:
                name = aggregate.cls.__name__
                words = [name, f"{name[0].lower()}-1", message.name, json.dumps(payload)]
                return shlex.join(["eventsrc", "send", *([app] if app else []), *words])
    return None


def _payload(message: MessageType) -> dict[str, Any] | None:
    payload = {}
    for field in message.record.fields:
        if (value := _value(field.type)) is None:
            return None
        payload[field.name] = value
    try:
        message.validate(message.from_json(payload))
    except EventsrcError:  # a constraint that a made-up value does not meet
        return None
    return payload


def _value(described: Any) -> Any:
    if isinstance(described, Primitive):
        return _EXAMPLES.get(described.kind)
    if isinstance(described, LiteralOf):
        return described.values[0]
    if isinstance(described, EnumOf):
        return next(iter(described.cls)).value
    if isinstance(described, ListOf) and (item := _value(described.item)) is not None:
        return [item]
    return None

"""What is looked at before a command is sent: whether the aggregate handles it, its constraints, its size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventsrc.errors import EncodingError, InvalidCommand
from eventsrc.model.aggregate import AggregateType


def check_handled(aggregate: AggregateType, kind: type) -> None:
    """Raises `InvalidCommand` that names the commands there are."""
    if kind not in aggregate.handlers:
        handled = ", ".join(sorted(each.__name__ for each in aggregate.handlers))
        raise InvalidCommand(f"{aggregate.cls.__name__} handles no {kind.__name__}; it handles {handled}")


def encoded_command(
    validate: Callable[[Any], None],
    write: Callable[..., bytes],
    max_bytes: int,
    command: Any,
    command_id: bytes,
    correlation_id: bytes | None,
    causation_id: bytes | None,
    time_us: int,
    reply_partition: int | None,
) -> bytes:
    """The record's value. Raises `InvalidCommand`."""
    validate(command)
    try:
        value = write(command_id, correlation_id, causation_id, time_us, reply_partition, command)
    except EncodingError as error:
        raise InvalidCommand(f"{type(command).__name__} cannot be encoded: {error}") from error
    if len(value) > max_bytes:
        raise InvalidCommand(
            f"{type(command).__name__} takes {len(value):,} bytes encoded; at most {max_bytes:,} are allowed"
        )
    return value

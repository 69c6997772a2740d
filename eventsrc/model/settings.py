"""The settings an application gives its pipeline, validated together. Where things run is not here: addresses and
directories belong to the runtime's settings.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from typing import Any, TypedDict

from eventsrc.errors import InvalidSettings
from eventsrc.model.durations import Duration, seconds

_DAY_S = 86400.0


class SettingsKeywords(TypedDict, total=False):
    """What `Pipeline(...)` takes by keyword beside `partitions` and `recovery_time_objective`."""

    group_id: str
    handler_attempts: int
    max_command_bytes: int
    unknown_schema_deadline: Duration
    batch_records: int
    batch_bytes: int
    transaction_interval: Duration
    transaction_timeout: Duration
    session_timeout: Duration
    max_poll_interval: Duration
    recovery_stall_deadline: Duration
    checkpoint_interval: Duration
    checkpoint_overhead: float
    live_aggregates: int
    commands_retention: Duration
    replies_retention: Duration
    dead_letter_retention: Duration
    min_cleanable_dirty_ratio: float
    min_compaction_lag: Duration
    max_compaction_lag: Duration
    replication_factor: int | None


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """Durations are in seconds. Made by `read`, which checks them."""

    group_id: str
    """One consumer group over all command topics; the pipeline's name by default."""
    partitions: int = 8
    """Of every topic of commands and events: equal, since an event's partition is its command's."""
    recovery_time_objective: float = 2.0
    """How long a killed worker may take to be back; checkpoints are taken so that it holds."""
    handler_attempts: int = 3
    """How often a handler that fails is tried, without delay, before its command is dead-lettered."""
    max_command_bytes: int = 900_000
    """Larger commands are dead-lettered; a client refuses them."""
    unknown_schema_deadline: float = 600.0
    """How long a partition waits for a newer version's schema before it gives the fingerprint up."""
    batch_records: int = 2000
    """A transaction closes at so many records,"""
    batch_bytes: int = 4_000_000
    """at so many bytes,"""
    transaction_interval: float = 1.0
    """or after this time, whichever comes first."""
    transaction_timeout: float = 10.0
    """The broker aborts a transaction that is open for longer."""
    session_timeout: float = 6.0
    """A worker silent for this long loses its partitions."""
    max_poll_interval: float = 300.0
    """A command decided more slowly costs its worker its partitions, and is decided again."""
    recovery_stall_deadline: float = 60.0
    """A recovery that makes no progress for this long stops loudly."""
    checkpoint_interval: float = 60.0
    """A partition that changes is checkpointed at least this often; sooner where the recovery time objective wants it."""
    checkpoint_overhead: float = 0.05
    """The share of the processing loop's time that encoding states for checkpoints may cost; writing them, on a thread beside it,
    costs about as much again. The objective gives way to it, with a warning."""
    live_aggregates: int = 200_000
    """Of one worker, kept as objects; the others stay encoded until a command touches them."""
    commands_retention: float = 7 * _DAY_S
    """How long a worker may be down before commands are lost."""
    replies_retention: float = 3600.0
    """How long answers are kept."""
    dead_letter_retention: float = 30 * _DAY_S
    """How long dead letters are kept."""
    min_cleanable_dirty_ratio: float = 0.8
    """Of events topics, as the next two: a pass of compaction costs much and frees little."""
    min_compaction_lag: float = _DAY_S
    """No record is compacted away before."""
    max_compaction_lag: float = 30 * _DAY_S
    """The deadline by which an erased event is gone from the brokers' disks."""
    replication_factor: int | None = None
    """None: the broker's default. From 3 on, topics are created with `min.insync.replicas=2`."""

    @classmethod
    def read(cls, pipeline: str, given: dict[str, Any]) -> PipelineSettings:
        """Raises `InvalidSettings` with every problem at once."""
        problems = [_unknown(name) for name in given if name not in _NAMES]
        values: dict[str, Any] = {"group_id": pipeline}
        for name, value in given.items():
            if name in _NAMES:
                try:
                    values[name] = _read_value(name, value)
                except ValueError as error:
                    problems.append(f"{name}: {error}")
        if not problems:
            settings = cls(**values)
            problems = list(_contradictions(settings))
            if not problems:
                return settings
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise InvalidSettings(f'the settings of Pipeline("{pipeline}") do not hold together:{lines}')


_NAMES = {field.name: field.type for field in fields(PipelineSettings)}


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.5)
    mend = f"did you mean {near[0]}?" if near else "the settings are " + ", ".join(_NAMES)
    return f"{name}: no such setting; {mend}"


def _read_value(name: str, value: Any) -> Any:
    if name == "group_id":
        if not isinstance(value, str) or not value:
            raise ValueError(f"{value!r} is not a consumer group's name")
        return value
    if name == "replication_factor" and value is None:
        return None
    if name in ("min_cleanable_dirty_ratio", "checkpoint_overhead"):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{value!r} is not a share between 0 and 1")
        return float(value)
    if _NAMES[name] == "float":
        if seconds(value) <= 0:
            raise ValueError(f"{value!r} is not a time above zero")
        return seconds(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is not a whole number from 1 on")
    return value


def _contradictions(settings: PipelineSettings) -> list[str]:
    of = settings
    rules = [
        (of.partitions <= 10_000, f"partitions: {of.partitions} is above 10,000, which no Kafka cluster serves well"),
        (
            2 * of.transaction_interval <= of.transaction_timeout,
            f"transaction_interval: {of.transaction_interval:g} s leaves no room below transaction_timeout "
            f"({of.transaction_timeout:g} s), at which the broker aborts; keep it at half of that or less",
        ),
        (
            6 <= of.session_timeout <= 60,
            f"session_timeout: {of.session_timeout:g} s; brokers refuse less than 6 s by default, and a worker that "
            "dies keeps its partitions for that long: 6-10 s is advised, at most 60 s",
        ),
        (
            of.max_poll_interval > max(of.session_timeout, of.transaction_timeout),
            f"max_poll_interval: {of.max_poll_interval:g} s has to be above session_timeout "
            f"({of.session_timeout:g} s) and transaction_timeout ({of.transaction_timeout:g} s)",
        ),
        (
            of.max_command_bytes <= of.batch_bytes,
            f"batch_bytes: {of.batch_bytes:,} is below max_command_bytes ({of.max_command_bytes:,}): "
            "one command would not fit into a batch",
        ),
        (
            of.max_command_bytes >= 1_000,
            f"max_command_bytes: {of.max_command_bytes} leaves no room for a command; at least 1,000",
        ),
        (
            of.unknown_schema_deadline < of.commands_retention,
            f"unknown_schema_deadline: {of.unknown_schema_deadline:g} s is not below commands_retention "
            f"({of.commands_retention:g} s): the waiting commands would be deleted",
        ),
        (
            of.min_compaction_lag < of.max_compaction_lag,
            f"min_compaction_lag: {of.min_compaction_lag:g} s is not below max_compaction_lag "
            f"({of.max_compaction_lag:g} s)",
        ),
    ]
    return [problem for holds, problem in rules if not holds]

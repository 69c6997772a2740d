from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest

from eventsrc import InvalidSettings, Pipeline
from eventsrc.model.durations import seconds
from eventsrc.model.settings import PipelineSettings, SettingsKeywords


def test_defaults() -> None:
    settings = Pipeline("bank").settings
    assert (settings.partitions, settings.group_id, settings.recovery_time_objective) == (8, "bank", 2.0)
    assert (settings.handler_attempts, settings.max_command_bytes) == (3, 900_000)
    assert (settings.commands_retention, settings.unknown_schema_deadline) == (7 * 86400.0, 600.0)
    assert settings.replication_factor is None


def test_every_setting_is_a_keyword_that_type_checkers_know() -> None:
    named = {"partitions", "recovery_time_objective"}
    assert {field.name for field in fields(PipelineSettings)} - named == set(SettingsKeywords.__annotations__)


def test_durations_in_every_form() -> None:
    settings = Pipeline(
        "bank",
        recovery_time_objective=timedelta(milliseconds=1500),
        transaction_interval="500ms",
        commands_retention="1h30m",
        unknown_schema_deadline=60,
    ).settings
    assert settings.recovery_time_objective == 1.5
    assert settings.transaction_interval == 0.5
    assert settings.commands_retention == 5400.0
    assert settings.unknown_schema_deadline == 60.0


@pytest.mark.parametrize("duration", ["", "2", "2 weeks", "-1s", "s", True, None, "1s1"])
def test_what_is_no_duration(duration: Any) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(duration)


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(InvalidSettings, match=r"handler_atempts: no such setting; did you mean handler_attempts\?"):
        Pipeline("bank", handler_atempts=5)  # type: ignore[call-arg]  # the misspelling is the point


def test_every_problem_at_once() -> None:
    with pytest.raises(InvalidSettings) as raised:
        Pipeline(
            "bank",
            partitions=0,
            batch_records=True,
            session_timeout="soon",
            min_cleanable_dirty_ratio=80,
            group_id="",
            transaction_interval=0,
        )
    assert str(raised.value).splitlines() == [
        'the settings of Pipeline("bank") do not hold together:',
        "  partitions: 0 is not a whole number from 1 on",
        "  batch_records: True is not a whole number from 1 on",
        '  session_timeout: \'soon\' is not a duration: write "500ms", "2s", "10m", "1h30m", "7d" or a number of seconds',
        "  min_cleanable_dirty_ratio: 80 is not a share between 0 and 1",
        "  group_id: '' is not a consumer group's name",
        "  transaction_interval: 0 is not a time above zero",
    ]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"transaction_interval": "6s"}, "leaves no room below transaction_timeout"),
        ({"session_timeout": "5s"}, "6-10 s is advised"),
        ({"session_timeout": "2m"}, "at most 60 s"),
        ({"max_poll_interval": "9s"}, "max_poll_interval"),
        ({"batch_bytes": 1_000, "max_command_bytes": 2_000}, "one command would not fit"),
        ({"max_command_bytes": 10}, "at least 1,000"),
        ({"unknown_schema_deadline": "8d"}, "would be deleted"),
        ({"min_compaction_lag": "31d"}, "min_compaction_lag"),
        ({"partitions": 20_000}, "10,000"),
    ],
)
def test_contradictions(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidSettings, match=problem):
        Pipeline("bank", **settings)


@pytest.mark.parametrize("name", ["", "Bank", "my_bank", "bank.eu", "1bank", "bank-", "b" * 101, None])
def test_names_that_no_topic_could_carry(name: Any) -> None:
    with pytest.raises(InvalidSettings, match="begins every topic's name"):
        Pipeline(name)

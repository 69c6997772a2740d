"""`eventsrc run` without the command-line library: a worker that restarts must be back before that is imported.

Understands the plain forms of its options; anything else (a mistake, `--help`) is left to the full command line, which
says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_VALUES = {
    "--workers": "workers",
    "--instance-id": "instance_id",
    "--state-dir": "state_dir",
    "--schemas-dir": "schemas_dir",
    "--log-level": "log_level",
    "--log-format": "log_format",
    "--http": "http",
    "--bootstrap-servers": "bootstrap_servers",
    "-b": "bootstrap_servers",
    "-X": "kafka",
}


def run_quickly(words: Sequence[str]) -> int | None:
    """The worker's exit code, or None where the full command line must look at the words."""
    if not words or words[0] != "run":
        return None
    parsed = parse(words[1:])
    if parsed is None:
        return None
    from eventsrc.cli.work import configure_logging, work
    from eventsrc.runtime.settings import Settings, parse_kafka_settings

    app, workers = parsed.pop("app", None), parsed.pop("workers", "1")
    pairs = parsed.pop("kafka", None)
    settings = Settings.resolve({**parsed, "kafka": parse_kafka_settings(pairs) if pairs else None})
    configure_logging(settings)
    return work(app, settings, int(workers))


def parse(words: Sequence[str]) -> dict[str, Any] | None:
    """The options by name, `kafka` a list; None for anything but plain options and at most one application."""
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            if "app" in values:
                return None
            values["app"] = word
            continue
        name, equals, value = word.partition("=")
        key = _VALUES.get(name)
        if key is None or (not equals and not rest):
            return None
        given = value if equals else rest.pop(0)
        if key == "kafka":
            values.setdefault("kafka", []).append(given)
        else:
            values[key] = given
    workers = values.get("workers", "1")
    return values if workers.isascii() and workers.isdigit() else None

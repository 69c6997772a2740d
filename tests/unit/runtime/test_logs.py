"""Log lines: text as it was, or one JSON object each; secrets in neither."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from eventsrc.runtime import logs
from eventsrc.runtime.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged, with everything that `configure` changes put back afterwards."""
    root, hook = logging.getLogger(), threading.excepthook
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    monkeypatch.setattr(logs, "_bound", {})
    yield io.StringIO()
    root.handlers, threading.excepthook = handlers, hook
    root.setLevel(level)
    logging.captureWarnings(False)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_has_its_time_in_utc_and_what_it_is_about(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream=stream)
    logs.bind(pipeline="bank", instance="w-0")
    engine, about = logging.getLogger("eventsrc.engine"), {"partition": "account/3", "offset": 7}
    engine.warning("partition %s waits\nlong", "account/3", extra=about)
    engine.debug("too much")
    (line,) = lines(stream)
    assert datetime.fromisoformat(line.pop("time")).utcoffset() is not None
    assert line == {
        "level": "warning", "logger": "eventsrc.engine", "message": "partition account/3 waits\nlong", "pipeline": "bank",
        "instance": "w-0", "partition": "account/3", "offset": 7,
    }  # fmt: skip
    assert logs.rfc3339(1_800_000_000.5) == "2027-01-15T08:00:00.500000Z"


def test_an_exception_is_a_string_and_so_is_what_has_no_json(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream=stream)
    try:
        raise ValueError("with\na break")
    except ValueError:
        logging.getLogger("any").exception("failed", extra={"path": Path("/x")})
    (line,) = lines(stream)
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: with\na break")
    assert line["path"] == "/x"


def test_warnings_and_threads_that_end_are_lines_too(stream: io.StringIO) -> None:
    logs.configure("warning", "json", stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    thread = threading.Thread(target=lambda: os.environ["NO SUCH VARIABLE"], name="lost")
    thread.start()
    thread.join()
    first, second = lines(stream)
    assert first["logger"] == "py.warnings"
    assert "old" in first["message"]
    assert second["message"] == "thread lost ended"
    assert "KeyError" in second["exception"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_has_a_secret(form: str, stream: io.StringIO) -> None:
    settings = Settings(
        database_url="postgresql://bank:hunter2@db/bank",
        kafka={"sasl.password": 'tr"icky\\', "client.id": "shown"},
        http_token="to-ken-1",
    )
    logs.configure("info", form, settings.secrets, stream)
    logging.info("at %s with %s of shown and %s", settings.database_url, 'tr"icky\\', "to-ken-1")
    logging.info("at http://someone:other@registry:8081/x and @that")
    try:
        raise ValueError("hunter2")
    except ValueError:
        logging.exception("failed", extra={"address": settings.database_url})
    text = stream.getvalue()
    for secret in ("hunter2", "icky", "to-ken-1", "other"):
        assert secret not in text
    assert "of shown and ***" in text
    assert "http://someone:***@registry:8081/x and @that" in text


def test_text_lines_are_as_they_were(stream: io.StringIO) -> None:
    logs.configure("info", "text", stream=stream)
    logging.getLogger("eventsrc.worker").info("drained", extra={"partition": "account/3"})
    assert stream.getvalue().rstrip().endswith(" INFO    eventsrc.worker  drained")
    assert not logs.is_json()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show", "nowhere:pipeline", "Account", "x"], "usage-error"),
        (["show"], "usage-error"),
        (["nosuch"], "usage-error"),
        (["check", "--no-such-option"], "usage-error"),
        (["status", "--log-level", "loud"], "invalid-settings"),
        (["run", "nowhere:pipeline", "-X", "acks=0"], "setting-protected"),
    ],
)
def test_what_a_command_refuses_is_a_json_line_with_its_name(words: list[str], code: str, tmp_path: Path) -> None:
    for given, environ in (([*words, "--log-format", "json"], {}), (words, {"EVENTSRC_LOG_FORMAT": "json"})):
        done = subprocess.run(
            [sys.executable, "-m", "eventsrc", *given],
            cwd=tmp_path, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        (line,) = [json.loads(each) for each in done.stderr.splitlines()]
        assert (done.returncode, line["level"], line["code"], done.stdout) == (2, "error", code, "")

"""How a supervisor's words are shown."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from eventsrc.cli.main import run
from eventsrc.cli.supervise import NEVER_AGAIN, Lines, progress_text
from eventsrc.runtime.restarts import EXIT_FENCED
from eventsrc.runtime.supervisor import Progress

SOURCE = str(Path(__file__).parents[3])
UP = Progress(2, 2, 0, False, 8, 8, 0, 12_400.4)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (UP, "2 of 2 workers up   8 of 8 partitions open   12,400 commands/s   0 restarts"),
        (Progress(2, 1, 1, False, None, 0, 0, None), "1 of 2 workers up   1 restart"),
        (
            Progress(3, 2, 4, True, 8, 7, 1, None),
            "2 of 3 workers left   7 of 8 partitions open   1 HALTED: eventsrc status   4 restarts",
        ),
    ],
)
def test_progress_is_one_line(progress: Progress, text: str) -> None:
    assert progress_text(progress) == text


def test_each_line_says_whose_it_is() -> None:
    out = io.StringIO()
    with Lines(out, "info", 6) as lines:
        lines.log("host-0", "joined")
        lines.event("host-0 started")
        lines.progress(UP)
        lines.progress(UP._replace(commands_per_s=9.0))
        lines.progress(UP._replace(running=1))
    written = out.getvalue().splitlines()
    assert written[0] == "host-0     | joined"
    assert written[1].startswith("supervisor | ")
    assert written[1].endswith(" INFO    eventsrc.supervisor  host-0 started")
    assert len(written) == 4  # not again for a rate that moves
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_the_last_line_gives_way_and_goes() -> None:
    out = Terminal()
    with Lines(out, "info", 6) as lines:
        lines.progress(UP)
        lines.log("host-0", "joined")
    clear = "\r\x1b[K"
    text = progress_text(UP)[:79]
    assert out.getvalue() == f"{clear}{text}{clear}host-0     | joined\n{text}{clear}"


def test_a_quiet_log_has_only_what_alarms() -> None:
    out = io.StringIO()
    with Lines(out, "warning", 6) as lines:
        lines.event("host-0 started")
        lines.progress(UP)
        lines.event("host-0 was killed", alarming=True)
    assert out.getvalue().count("\n") == 1


def test_a_log_that_nobody_reads_ends_nothing() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with Lines(Gone(), "info", 6) as lines:
        lines.log("host-0", "joined")


def test_what_is_not_started_again_has_its_own_exit_codes() -> None:
    assert set(NEVER_AGAIN) == {EXIT_FENCED, 2, 5}
    assert EXIT_FENCED not in {0, 1, 2, 3, 4, 5}


def test_a_supervisor_carries_neither_client_nor_application(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import decimal\nfrom eventsrc import Pipeline\npipeline = Pipeline('shop')\n")
    program = (
        "import sys\nimport eventsrc.cli.supervise\nfrom eventsrc.cli.describing import group_of\n"
        "assert group_of('app:pipeline') == 'shop'\n"
        "heavy = {'confluent_kafka', 'fastavro', 'typer', 'rich', 'pydantic', 'sqlalchemy', 'psycopg', 'app'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    environ = {"PYTHONPATH": f"{SOURCE}:{tmp_path}", "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env=environ)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nothing:pipeline", "--workers", "2"], "there is no module nothing"),
        (["--workers", "2"], "no application is named"),
        (["a:b", "--workers", "0"], "at least 1"),
    ],
)
def test_a_mistake_is_told_once_and_no_worker_started(
    words: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", SOURCE)
    assert run(["run", *words, "-b", "127.0.0.1:1"]) == 2
    assert capfd.readouterr().err.count(text) == 1
    assert not (tmp_path / ".eventsrc").exists()


def test_where_logs_are_json_every_line_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventsrc.runtime.logs.is_json", lambda: True)
    out = Terminal()
    with Lines(out, "info", 6) as lines:
        lines.log("host-0", '{"message": "joined", "instance": "host-0"}')
        lines.log("host-0", '{"half of')
        lines.log("host-0", "printed \x1b[1m")
        lines.event("host-0 started", alarming=True)
        lines.progress(UP)
    joined, half, printed, event, progress = map(json.loads, out.getvalue().splitlines())
    assert joined == {"message": "joined", "instance": "host-0"}
    assert (half["message"], half["logger"], half["instance"]) == ('{"half of', "eventsrc.output", "host-0")
    assert printed["message"] == "printed \x1b[1m"
    assert (event["level"], event["logger"], event["message"]) == ("warning", "eventsrc.supervisor", "host-0 started")
    assert progress["message"].startswith("2 of 2 workers up")

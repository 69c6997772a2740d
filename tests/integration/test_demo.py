"""`make demo` as a process, and that it fails where the log is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eventsrc.localstack.services import Services
from examples.bank import check, demo

ROOT = Path(__file__).parents[2]
SMALL = ("--commands", "600", "--accounts", "12", "--workers", "1")


@pytest.fixture
def environment(services: Services, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The session's services, given as a user gives them."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", services.bootstrap_servers)
    monkeypatch.setenv("DATABASE_URL", services.database_url)
    return dict(os.environ)


def test_the_demo_ends_well(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.bank.demo", *SMALL, "--state-dir", str(tmp_path / "demo")]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    assert "every command took effect once" in result.stdout
    assert "money adds up" in result.stdout
    assert "a worker, by SIGKILL in mid-load; first new event of its partitions" in result.stdout
    assert "8 partitions recovered" in result.stdout
    assert "digest" in result.stdout
    timeline = [line.split() for line in result.stdout.splitlines() if " -> " in line]
    assert [words[0] for words in timeline] == ["1", "2", "3", "4"]
    assert "balance 160000 -> 161250" in result.stdout


def test_the_demo_fails_where_an_event_is_missing(
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = check.read_log

    def with_a_hole(bootstrap_servers: str, topic: str) -> list[check.Record]:
        records = whole(bootstrap_servers, topic)
        last = max(number for number, record in enumerate(records) if not (record.key or b"\0").startswith(b"\0"))
        return [record for number, record in enumerate(records) if number != last]

    monkeypatch.setattr(check, "read_log", with_a_hole)
    assert demo.main([*SMALL, "--state-dir", str(tmp_path / "demo")]) == 1
    shown = capsys.readouterr()
    assert "is nowhere in the log" in shown.err
    assert "next: " in shown.err
    assert "took effect once" not in shown.out


def test_a_worker_that_ends_by_itself_ends_the_demo(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "APP", "examples.bank.app:no_such_pipeline")
    assert demo.main([*SMALL, "--state-dir", str(tmp_path / "demo")]) == 1
    assert "a worker ended by itself, with exit code 2" in capsys.readouterr().err

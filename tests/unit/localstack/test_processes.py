"""Processes end when they should; ports and pids are told apart."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from eventsrc.adapters.local.processes import is_alive, started_at
from eventsrc.localstack.processes import (
    Account,
    accepts_connections,
    end,
    free_port,
    keep_log_short,
    port_is_free,
    run_as,
    spawn,
    wait_until,
)

_SLEEP = [sys.executable, "-S", "-c", "import signal; print('up', flush=True); signal.pause()"]
_STUBBORN = [
    sys.executable,
    "-S",
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()",
]


def _started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    process = spawn(command, log, signal.SIGTERM)
    assert wait_until(lambda: "up" in log.read_text(), timeout_s=20)
    return process


def test_a_process_is_asked_to_end_and_reaped(tmp_path: Path) -> None:
    process = _started(_SLEEP, tmp_path / "log")
    assert is_alive(process.pid)
    end(process, signal.SIGTERM, grace_s=10)
    assert process.returncode == -signal.SIGTERM
    assert not is_alive(process.pid)
    end(process, signal.SIGTERM, grace_s=10)


def test_a_process_that_does_not_listen_is_killed_after_the_grace(tmp_path: Path) -> None:
    process = _started(_STUBBORN, tmp_path / "log")
    end(process, signal.SIGTERM, grace_s=0.1)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends the children of a killed process on Linux only")
def test_a_child_ends_with_its_killed_parent(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "import signal, sys; from pathlib import Path; from eventsrc.localstack.processes import spawn\n"
        f"print(spawn({_SLEEP!r}, Path({str(log)!r}), signal.SIGTERM).pid, flush=True); signal.pause()"
    )
    repository = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=repository) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert wait_until(lambda: log.exists() and "up" in log.read_text(), timeout_s=20)
        assert is_alive(child)
        parent.kill()
    assert wait_until(lambda: not is_alive(child), timeout_s=10)


def test_a_child_whose_parent_is_gone_does_not_start(tmp_path: Path) -> None:
    child = Path(__file__).parents[3] / "eventsrc/adapters/local/child.py"
    command = [sys.executable, "-I", "-S", str(child), "1", "15", "-", "/bin/echo", "started"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout == ""


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        assert wait_until(lambda: not is_alive(process.pid), timeout_s=20)
        assert started_at(process.pid) == ""
        assert process.wait() == 0


def test_the_start_tells_a_process_from_another() -> None:
    assert started_at(os.getpid()) == started_at(os.getpid()) != ""
    assert started_at(1) != started_at(os.getpid())


def test_a_port_is_free_until_somebody_listens() -> None:
    port = free_port()
    assert port_is_free(port)
    with socket.create_server(("127.0.0.1", port)):
        assert not port_is_free(port)
        assert accepts_connections(port)
    assert not accepts_connections(port)


def test_a_command_that_cannot_be_run_is_an_answer_too() -> None:
    assert run_as(None, ["/nonexistent/program"]).returncode == 126
    assert run_as(None, ["/bin/sh", "-c", "exit 3"]).returncode == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_command_runs_as_another_account() -> None:
    account = Account("nobody", 65534, 65534)
    assert run_as(account, ["/usr/bin/env", "id", "-u"]).stdout == "65534\n"


def test_a_condition_that_stays_false_is_given_up() -> None:
    assert not wait_until(lambda: False, timeout_s=0.05)


def test_a_long_log_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventsrc.localstack.processes._LOG_LIMIT_BYTES", 10)
    log = tmp_path / "log"
    keep_log_short(log)
    log.write_text("short")
    keep_log_short(log)
    assert log.read_text() == "short"
    log.write_text("longer than that")
    keep_log_short(log)
    assert not log.exists()
    assert (tmp_path / "log.old").read_text() == "longer than that"

"""Processes and ports: started so that nothing outlives its parent, ended within a grace. Must not know any server."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventsrc.adapters.local import child
from eventsrc.localstack.problems import StackUnavailable

# Below the ephemeral range, so that no outgoing connection can take a port before the server binds it.
_PORTS = range(15_000, 31_000)
_LOG_LIMIT_BYTES = 8_000_000
_CHILD = child.__file__

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Account:
    """The user a server runs as where it refuses to run as root."""

    name: str
    user: int
    group: int


def free_port(attempts: int = 200) -> int:
    """A loopback port that nobody listens on now. It may be taken before it is used: be ready to ask again."""
    for _ in range(attempts):
        port = random.choice(_PORTS)
        if port_is_free(port):
            return port
    raise StackUnavailable(
        f"no free port between {_PORTS.start} and {_PORTS.stop} on {LOOPBACK}", "end some of the programs listening"
    )


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), 0.2).close()
    except OSError:
        return False
    return True


def spawn(
    command: Sequence[str | os.PathLike[str]],
    log: Path,
    death_signal: signal.Signals,
    *,
    account: Account | None = None,
    environ: Mapping[str, str] | None = None,
    directory: str | os.PathLike[str] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a server that gets `death_signal` when the calling thread's process ends, however it ends (Linux).

    Its output is appended to `log`. Call it from the main thread: the death of another thread counts as well.
    """
    identity = f"{account.user}:{account.group}" if account else "-"
    launcher = [sys.executable, "-I", "-S", _CHILD, str(os.getpid()), str(int(death_signal)), identity]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*launcher, *(os.fspath(part) for part in command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environ,
            cwd=directory,
        )


def run_as(
    account: Account | None, command: Sequence[str], environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a short command from /, under another account if one is given. One that cannot be run returns 126."""
    options: dict[str, Any] = {}
    if account is not None:
        options = {"user": account.user, "group": account.group, "extra_groups": []}
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=environ, **options)
    except OSError as error:
        return subprocess.CompletedProcess(command, 126, "", str(error))


def end(process: subprocess.Popen[bytes] | None, with_signal: signal.Signals, grace_s: float) -> None:
    """Asks a process to end, and kills it when the grace is over. It is reaped when this returns."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(with_signal)
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], timeout_s: float, interval_s: float = 0.02) -> bool:
    """Polls a condition; false when the time is over."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval_s)
    return True


def keep_log_short(log: Path) -> None:
    """Sets a log aside that has grown large over many starts; one older copy is kept."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_name(log.name + ".old"))

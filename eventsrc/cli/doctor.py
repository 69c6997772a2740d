"""`eventsrc doctor`: are the surroundings fit to run in? One line each, with its mend."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from eventsrc.cli.session import AsJson, Session, command

if TYPE_CHECKING:
    from eventsrc.localstack.check import Check

_NAME_WIDTH = 11
_VERDICT_WIDTH = 11


def register(app: typer.Typer) -> None:
    command(app, "doctor")(doctor)


def doctor(session: Session, as_json: AsJson = False) -> None:
    """Check Java, Kafka (a real transaction, fencing), Postgres and permissions; start a local stack for it if no
    address is given. Exit 1 if a check fails, 3 if a server does not answer."""
    from eventsrc.cli.render import dump
    from eventsrc.cli.surroundings import given_in, progress
    from eventsrc.localstack.checks import exit_code, run_checks
    from eventsrc.localstack.stack import LocalStack

    stack = LocalStack(session.settings.state_dir, report=progress)
    checks: list[Check] = []
    for check in run_checks(stack, given_in(session.settings), session.settings.kafka):
        checks.append(check)
        if not as_json:
            print(line(check), flush=True)
    code = exit_code(checks)
    if as_json:
        print(dump({"ok": code == 0, "checks": [asdict(check) for check in checks]}))
    raise typer.Exit(code)


def line(check: Check) -> str:
    """`ok           java         17, PATH (/usr/bin/java)`, and the mend below where there is one."""
    head = f"{check.verdict:<{_VERDICT_WIDTH}}  {check.name:<{_NAME_WIDTH}}  {check.text}"
    if check.mend is None:
        return head
    return f"{head}\n{' ' * (_VERDICT_WIDTH + _NAME_WIDTH + 4)}next: {check.mend}"

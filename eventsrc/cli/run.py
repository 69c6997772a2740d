"""`eventsrc run`: a production worker."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from eventsrc.cli.session import Session, command
from eventsrc.cli.work import work
from eventsrc.runtime.http_address import HttpAddress


def register(app: typer.Typer) -> None:
    command(app, "run", quiet=False)(run)


def run(
    session: Session,
    app: Annotated[str | None, typer.Argument(metavar="[APP]", help="module:attribute of the pipeline.")] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes; several are supervised, and restarted.")
    ] = 1,
    instance_id: Annotated[
        str | None, typer.Option("--instance-id", help="Static membership [default: this host's next free slot].")
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            "--http", metavar="[HOST:]PORT", help="Serve /healthz, /readyz, /metrics [default: not; loopback]."
        ),
    ] = None,
) -> None:
    """Run a worker, or several.

    SIGTERM or SIGINT drains: what was begun is finished, and the exit code is 0. A second signal ends all at once.
    """
    settings = session.settings
    if instance_id is not None:
        settings = replace(settings, instance_id=instance_id)
    if http is not None:
        HttpAddress.parse(http)
        settings = replace(settings, http=http)
    raise typer.Exit(work(app, settings, workers))

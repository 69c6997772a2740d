"""What `dev` and `doctor` share: which addresses were given, and the lines about work that takes a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventsrc.cli.telling import tell

if TYPE_CHECKING:
    from eventsrc.localstack.services import Services
    from eventsrc.runtime.settings import Settings


def given_in(settings: Settings) -> Services:
    """The addresses that a person named. Settings also hold those of a stack that runs: they are not given ones."""
    from eventsrc.localstack.services import Service, Services
    from eventsrc.runtime.running_stack import find_running_stack

    running = find_running_stack(settings.state_dir)

    def given(address: str | None, local: str | None) -> Service | None:
        return Service(address, "given") if address is not None and address != local else None

    return Services(
        given(settings.bootstrap_servers, running.bootstrap_servers if running else None),
        given(settings.database_url, running.database_url if running else None),
    )


def progress(text: str) -> None:
    """A line of its own."""
    tell(f"  {text}")

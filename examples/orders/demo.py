"""Three versions of the shop write one history, each by its own code. `python -m examples.orders --help`

Starts (or shares) a local stack and lets a worker of each version in turn take commands. Then today's code shows what
all three wrote, and `eventsrc check` is asked about today's code, and about a change that would make old events unreadable.
Exit code 1 if anything is not as told.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from eventsrc import Client, Outcome
from eventsrc.runtime.settings import Settings
from examples import running
from examples.orders import app
from examples.orders.history import v1, v2
from examples.running import ExampleFailed, Surroundings, WorkerProcess, say

APP = "examples.orders.app:pipeline"
EXIT_SCHEMA = 5
_ANSWERED_WITHIN_S = 60.0

BEFORE = 'quantity: int = field(metadata={"aliases": ["qty"]})'
AFTER = "quantity: int"
"""A change of one line, which forgets what the field was called in version 1."""


class Generation(NamedTuple):
    """A version of the application, and what was asked of it, in order."""

    name: str
    module: Any
    cls: type
    commands: Sequence[tuple[str, Any]]

    @property
    def app(self) -> str:
        return f"{self.module.__name__}:pipeline"


CANAL_STREET = ("Prinsengracht 7", "Amsterdam")

GENERATIONS = (
    Generation(
        "version 1",
        v1,
        v1.Purchase,
        (
            ("o-1", v1.Place("Ada", [v1.Line("tea", 2, Decimal("4.90")), v1.Line("pot", 1, Decimal("31.00"))])),
            ("o-1", v1.Pay(Decimal("40.80"))),
            ("o-1", v1.Ship(3)),
            ("o-2", v1.Place("Ben", [v1.Line("tea", 5, Decimal("4.90"))], v1.Shipping.EXPRESS)),
        ),
    ),
    Generation(
        "version 2",
        v2,
        v2.Purchase,
        (
            ("o-2", v2.Pay(Decimal("24.50"))),
            (
                "o-3",
                v2.Place(
                    "Cleo",
                    [v2.Line("cup", 2, Decimal("12.00"), note="the blue ones")],
                    address=v2.Address(*CANAL_STREET),
                    gift=True,
                ),
            ),
            ("o-4", v2.Place("Dan", [v2.Line("tea", 1, Decimal("4.90"))], v2.Shipping.PICKUP)),
        ),
    ),
    Generation(
        "version 3",
        app,
        app.Order,
        (
            ("o-2", app.Ship(0.45)),
            ("o-3", app.Pay(Decimal("24.00"), app.Card("4242", date(2027, 12, 31)))),
            ("o-3", app.Cancel("the blue ones are sold out")),
            ("o-4", app.Pay(Decimal("4.90"), app.Invoice("2026-117"))),
            (
                "o-5",
                app.Place(
                    "Eva",
                    [app.Line("tea", 1, Decimal("4.90"))],
                    app.Shipping.DRONE,
                    app.Address(*CANAL_STREET),
                    "red paper",
                ),
            ),
        ),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 if everything was as told."""
    options = argparse.ArgumentParser(
        prog="python -m examples.orders", description="Three versions of a shop write one history."
    )
    options.add_argument("--state-dir", type=Path, default=Path(".eventsrc/orders"), help="everything it keeps")
    wanted = options.parse_args(arguments)
    return running.run_to_end(lambda cleanup: _run(wanted.state_dir, cleanup))


def _run(state_dir: Path, cleanup: contextlib.ExitStack) -> str | None:
    around = running.prepare(state_dir, cleanup, fresh=True)
    topics = running.prepare_topics(v1.pipeline, around.services.bootstrap_servers)
    if topics.existing:
        raise ExampleFailed(
            f"{topics.existing[0]} was there before: version 1 may not be able to read what later versions wrote to it\n"
            f"  next: delete the topics shop.*, or unset KAFKA_BOOTSTRAP_SERVERS to use a Kafka of this command's own"
        )
    for generation in GENERATIONS:
        with _worker(generation, around):
            outcomes = write(generation, around.services.bootstrap_servers, around.schemas_dir)
        events = sum(len(outcome.events) for outcome in outcomes)
        files = len(list((around.schemas_dir / "shop").rglob("*.avsc")))
        say(generation.name, f"{generation.app}", f"{events} events written; {files} schema files so far")
    _show_history(around.environment)
    _show_refusal(around)
    print(flush=True)
    return (
        f"eventsrc dev {APP} --state-dir {state_dir}   (the same orders, to play with)" if around.is_own_kafka else None
    )


@contextlib.contextmanager
def _worker(generation: Generation, around: Surroundings) -> Iterator[None]:
    """One `eventsrc run` of that version, drained when its commands are answered."""
    worker = WorkerProcess(generation.app, around.state_dir / "worker.log", around)
    worker.start()
    try:
        yield
        worker.look()
        worker.ask_to_end()
        worker.wait_drained()
    finally:
        worker.kill()


def write(generation: Generation, bootstrap_servers: str, schemas_dir: Path) -> list[Outcome]:
    """Sends what was asked of that version, one after the other. Raises what `Client.send` does."""
    with Client(generation.module.pipeline, bootstrap_servers, Settings(schemas_dir=schemas_dir)) as client:
        return [
            client.send(generation.cls, order, command, timeout=_ANSWERED_WITHIN_S)
            for order, command in generation.commands
        ]


def _show_history(environment: dict[str, str]) -> None:
    """As today's code sees it: an order of version 1, and one that each version has written to."""
    running.show(["show", APP, "Order", "o-1"], environment)
    running.show(["log", APP, "Order", "o-2", "--diff"], environment)
    running.show(["log", APP, "Order", "o-3", "--diff"], environment)


def _show_refusal(around: Surroundings) -> None:
    """`check` lets today's code pass, and refuses a copy of it with one line changed."""
    running.show(["schema", "export", APP], around.environment)
    running.show(["check", APP], around.environment)
    today = Path(app.__file__).read_text()
    changed = propose(today)
    proposal = around.state_dir / "proposed" / "shop_proposed.py"
    proposal.parent.mkdir(exist_ok=True)
    proposal.write_text(changed)
    print("\na change to app.py:")
    for line in difflib.ndiff(today.splitlines(), changed.splitlines()):
        if line.startswith(("- ", "+ ")):
            print(f"  {line}", flush=True)
    paths = os.pathsep.join([str(proposal.parent), around.environment["PYTHONPATH"]])
    running.show(
        ["check", "shop_proposed:pipeline"], {**around.environment, "PYTHONPATH": paths}, exit_code=EXIT_SCHEMA
    )
    say("refused", f"with exit code {EXIT_SCHEMA}, before anything was deployed")


def propose(today: str) -> str:
    """Today's code with the change of one line. Raises `ExampleFailed` where it has no such line."""
    if BEFORE not in today:
        raise ExampleFailed(f"app.py has no line `{BEFORE}`\n  next: mend BEFORE in {__file__}")
    return today.replace(BEFORE, AFTER)

"""`eventsrc topics create`, `verify` and `acls`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from eventsrc.cli.errors import EXIT_FAILURE
from eventsrc.cli.render import columns, dump
from eventsrc.cli.session import AsJson, Session, command

App = Annotated[list[str] | None, typer.Argument(metavar="[APP]", help="module:attribute of the pipeline.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Create and verify the pipeline's topics; print the rights they need.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    command(group, "create")(create)
    command(group, "verify")(verify)
    command(group, "acls")(acls)
    app.add_typer(group, name="topics")


def create(session: Session, app: App = None, as_json: AsJson = False) -> None:
    """Create what is missing of the pipeline's topics. What exists stays as it is."""
    from eventsrc.adapters.kafka.topics import create_topics

    pipeline, _ = session.split(app)
    done = create_topics(pipeline, session.kafka_address, session.settings.kafka)
    if as_json:
        print(dump({"created": list(done.created), "existing": list(done.existing)}))
        return
    rows = [(name, "created") for name in done.created] + [(name, "exists") for name in done.existing]
    print(columns(rows))
    made = f"created with {pipeline.settings.partitions} partitions; " if done.created else ""
    print(f"{made}check what existed: eventsrc topics verify")


def verify(session: Session, app: App = None, as_json: AsJson = False) -> None:
    """Compare the pipeline's topics with what its guarantees need. Exit 1 if one is missing or wrong."""
    from eventsrc.adapters.kafka.topics import verify_topics
    from eventsrc.errors import TopicsInvalid

    pipeline, _ = session.split(app)
    try:
        found = verify_topics(pipeline, session.kafka_address, session.settings.kafka)
    except TopicsInvalid as invalid:
        if not as_json:
            raise
        print(dump({"ok": False, "problems": list(invalid.problems)}))
        raise typer.Exit(EXIT_FAILURE) from None
    for name in (name for name, topic in found.items() if topic.config is None):
        print(f"{name}: its configuration was not compared, since this user may not see it", file=sys.stderr)
    ids = {name: topic.topic_id for name, topic in found.items()}
    if as_json:
        print(dump({"ok": True, "topics": ids}))
    else:
        print(columns([(name, "ok", f"id {topic_id}") for name, topic_id in ids.items()]))


def acls(
    session: Session,
    app: App = None,
    principal: Annotated[
        str | None, typer.Option(metavar="User:NAME", help="Who gets them [default: the user of sasl.username].")
    ] = None,
    role: Annotated[
        Literal["worker", "client", "operator", "reader", "doctor"], typer.Option(help="What the user runs.")
    ] = "worker",
    as_json: AsJson = False,
) -> None:
    """Print the least rights of a role, as lines for Kafka's kafka-acls.sh. Asks no broker and changes nothing."""
    from eventsrc.adapters.kafka.rights import grant, principal_of, rights_of
    from eventsrc.cli.errors import UsageError

    pipeline, _ = session.split(app)
    who = principal or principal_of(session.settings.kafka)
    if who is None or not who.partition(":")[2]:
        raise UsageError("whose rights? Give --principal User:NAME, as the brokers know the user")
    rights = rights_of(pipeline, role)
    if as_json:
        print(dump([{**asdict(right), "principal": who} for right in rights]))
        return
    address = session.settings.bootstrap_servers or "HOST:PORT"
    for right in rights:
        optional = " (optional)" if right.optional else ""
        print(f"{grant(right, who, address)}  # {right.purpose}{optional}")

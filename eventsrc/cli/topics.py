"""`eventsrc topics create` and `verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from eventsrc.cli.errors import EXIT_FAILURE
from eventsrc.cli.render import columns, dump
from eventsrc.cli.session import AsJson, Session, command

App = Annotated[list[str] | None, typer.Argument(metavar="[APP]", help="module:attribute of the pipeline.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Create and verify the pipeline's topics.", no_args_is_help=True, rich_markup_mode=None)
    command(group, "create")(create)
    command(group, "verify")(verify)
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
    ids = {name: topic.topic_id for name, topic in found.items()}
    if as_json:
        print(dump({"ok": True, "topics": ids}))
    else:
        print(columns([(name, "ok", f"id {topic_id}") for name, topic_id in ids.items()]))

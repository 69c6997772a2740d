"""`eventsrc dlq list`, `show`, `retry` and `drop`: commands that were set aside."""

from __future__ import annotations

from typing import Annotated

import typer

from eventsrc.cli.session import AsJson, Session, command

FORMS = (
    "3@17 as `dlq list` prints it, or the command's own place: account/3@41, "
    "'bank.account.commands/3 offset 41' as the worker's log and CommandFailed have it"
)
_APP = "module:attribute of the pipeline"
App = Annotated[list[str] | None, typer.Argument(metavar="[APP]", help=f"{_APP}.")]
Words = Annotated[list[str] | None, typer.Argument(metavar="[APP] [PLACE]...", help=f"{_APP}; {FORMS}.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="REASON", help="Only these, e.g. handler-failed.")]
Aggregate = Annotated[str | None, typer.Option("--aggregate", metavar="NAME", help="Only this aggregate's.")]
Id = Annotated[str | None, typer.Option("--id", metavar="ID", help="Only this id's.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Set aside from this moment on, or -15m.")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Set aside up to this moment.")]
Everything = Annotated[bool, typer.Option("--all", help="All that wait.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without: only say what would be done.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Kept in the audit record.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Dead letters: commands that were set aside.", no_args_is_help=True, rich_markup_mode=None)
    command(group, "list")(list_letters)
    command(group, "show")(show)
    command(group, "retry")(retry)
    command(group, "drop")(drop)
    app.add_typer(group, name="dlq")


def list_letters(
    session: Session,
    app: App = None,
    reason: Reason = None,
    aggregate: Aggregate = None,
    id: Id = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Show so many, the newest.")] = 50,
    all_states: Annotated[bool, typer.Option("--all-states", help="Those that were retried or dropped too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the dead letters that wait, oldest first, and count them by reason."""
    from eventsrc.cli import dlq_acts

    wanted = dlq_acts.Wanted(reason, aggregate, id, since, until)
    dlq_acts.list_letters(session, app, wanted, limit, all_states=all_states, as_json=as_json)


def show(session: Session, words: Words = None, as_json: AsJson = False) -> None:
    """Show one dead letter: its command, decoded, why it was set aside, and what was done about it."""
    from eventsrc.cli import dlq_acts

    dlq_acts.show(session, words, as_json=as_json)


def retry(
    session: Session,
    words: Words = None,
    reason: Reason = None,
    aggregate: Aggregate = None,
    id: Id = None,
    since: Since = None,
    until: Until = None,
    everything: Everything = False,
    out_of_order: Annotated[
        bool, typer.Option("--out-of-order", help="Also where later commands of the same id came first.")
    ] = False,
    why: Why = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send set-aside commands again, each once, those of one id in their order.

    The command id stays: what has taken effect meanwhile is not sent. Exit 1 if a letter was held back.
    """
    from eventsrc.cli import dlq_acts

    wanted, how = dlq_acts.Wanted(reason, aggregate, id, since, until), dlq_acts.How(why, yes, as_json)
    dlq_acts.retry(session, words, wanted, how, everything=everything, out_of_order=out_of_order)


def drop(
    session: Session,
    words: Words = None,
    reason: Reason = None,
    aggregate: Aggregate = None,
    id: Id = None,
    since: Since = None,
    until: Until = None,
    everything: Everything = False,
    why: Why = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Mark dead letters as handled, without sending them again.

    Nothing is deleted: `dlq list --all-states` shows them for as long as the topic keeps them.
    """
    from eventsrc.cli import dlq_acts

    wanted, how = dlq_acts.Wanted(reason, aggregate, id, since, until), dlq_acts.How(why, yes, as_json)
    dlq_acts.drop(session, words, wanted, how, everything=everything)

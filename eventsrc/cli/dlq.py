"""`eventsrc dlq list`, `show`, `retry` and `drop`: commands that were set aside."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventsrc.cli.dlq_text import (
    LetterDecoder,
    audit_json,
    done_text,
    list_json,
    list_text,
    plan_lines,
    show_json,
    show_text,
)
from eventsrc.cli.dlq_words import FORMS, Filter, find_letter, read_places
from eventsrc.cli.errors import EXIT_FAILURE, UsageError
from eventsrc.cli.render import dump, local_time
from eventsrc.cli.session import AsJson, Session, command
from eventsrc.engine.letters import Action, Audit, Letter, Letters
from eventsrc.engine.retrying import Held, Ready, RetryPlan

if TYPE_CHECKING:
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.runtime.dead_letter_box import DeadLetterBox

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
    pipeline, rest = session.split(app)
    if rest:
        raise UsageError(f"{rest[0]!r}: options name what is wanted; one letter is shown by eventsrc dlq show PLACE")
    wanted = Filter.read(pipeline, reason, aggregate, id, since, until)
    decoder = _decoder(session, pipeline)
    with _box(session, pipeline) as box:
        letters = box.letters()
    of_state = list(letters.by_place.values()) if all_states else letters.waiting()
    matching = sorted((each for each in of_state if wanted.admits(each)), key=lambda each: (each.time_ms, each.place))
    shown = matching[-limit:]
    if as_json:
        print(dump(list_json(shown, matching, letters, decoder)))
    else:
        print(list_text(shown, matching, letters, decoder, _typed_app(app)))


def show(session: Session, words: Words = None, as_json: AsJson = False) -> None:
    """Show one dead letter: its command, decoded, why it was set aside, and what was done about it."""
    pipeline, rest = session.split(words)
    places = read_places(pipeline, rest)
    if len(places) != 1:
        raise UsageError(f"name one letter: eventsrc dlq show [APP] PLACE; a place is {FORMS}")
    with _box(session, pipeline) as box:
        letters = box.letters()
    letter = find_letter(letters, places[0])
    decoded = _decoder(session, pipeline).decode(letter)
    if as_json:
        print(dump(show_json(letter, letters, decoded)))
    else:
        print(show_text(letter, letters, decoded, _typed_app(words)))


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
    from eventsrc.cli.progress import ProgressBar
    from eventsrc.runtime.replaying import ReplayProgress

    pipeline, rest = session.split(words)
    choose = _chooser(pipeline, rest, (reason, aggregate, id, since, until), everything)
    with _box(session, pipeline) as box, ProgressBar() as bar:
        letters, chosen, handled = _chosen(box, choose, yes)
        plan = box.plan(
            letters,
            {each.place for each in chosen},
            out_of_order=out_of_order,
            progress=lambda passed, total: bar.show(ReplayProgress(passed, total, passed)),
        )
        plan.held[:0] = handled
        act = _Act("retried", letters, plan, _decoder(session, pipeline), as_json)
        act.run(box, yes, why)


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
    pipeline, rest = session.split(words)
    choose = _chooser(pipeline, rest, (reason, aggregate, id, since, until), everything)
    with _box(session, pipeline) as box:
        letters, chosen, handled = _chosen(box, choose, yes)
        plan = RetryPlan([Ready(each, each.place.partition) for each in chosen], handled)
        _Act("dropped", letters, plan, _decoder(session, pipeline), as_json).run(box, yes, why)


# ---- inside


class _Act:
    """What is done, or would be, to the letters of a plan, and how it is told."""

    def __init__(
        self, action: Action, letters: Letters, plan: RetryPlan, decoder: LetterDecoder, as_json: bool
    ) -> None:
        self._action, self._letters, self._plan, self._decoder, self._as_json = action, letters, plan, decoder, as_json
        self._done: list[Audit] = []

    def run(self, box: DeadLetterBox, yes: bool, why: str) -> None:
        """Raises `typer.Exit` with 1 where a letter is held back."""
        if not self._as_json:
            sending = () if yes else self._plan.ready
            for line in plan_lines(sending, self._plan.held, self._decoder, f"would be {self._action}"):
                print(line)
        try:
            if yes and self._plan.ready:
                box.carry_out(self._letters, self._action, self._plan.ready, _operator(), why, self._tell)
        finally:
            self._sum_up(yes)
        if self._plan.held:
            raise typer.Exit(EXIT_FAILURE)

    def _tell(self, audit: Audit) -> None:
        self._done.append(audit)
        if not self._as_json:
            print(done_text(audit), flush=True)

    def _sum_up(self, yes: bool) -> None:
        ready, held, done = len(self._plan.ready), self._plan.held, len(self._done)
        if self._as_json:
            print(dump(self._object(yes)))
            return
        if yes:
            print(f"{done:,} {self._action}" + (f" of {ready:,}" if done < ready else "") + _held_text(held))
            return
        print(f"{ready:,} would be {self._action}{_held_text(held)}; nothing was changed")
        if ready:
            print("next: the same command with --yes")

    def _object(self, yes: bool) -> dict[str, Any]:
        return {
            "action": self._action,
            "dry_run": not yes,
            "ready": [str(each.letter.place) for each in self._plan.ready],
            "done": [{"place": str(audit.place)} | audit_json(audit) for audit in self._done],
            "held": [
                {"place": str(each.letter.place), "why": each.why, "order": each.order} for each in self._plan.held
            ],
            "notes": {str(each.letter.place): each.note for each in self._plan.ready if each.note},
        }


def _held_text(held: list[Held]) -> str:
    if not held:
        return ""
    by_order = sum(each.order for each in held)
    how = f", {by_order:,} of them for the order alone (--out-of-order sends them too)" if by_order else ""
    return f", {len(held):,} held back{how}"


Chooser = Callable[[Letters], list[Letter]]


def _chooser(pipeline: Pipeline, rest: list[str], options: tuple[str | None, ...], everything: bool) -> Chooser:
    """Letters by place, by filter, or all that wait; never all for want of a word. Raises `UsageError`."""
    places = read_places(pipeline, rest)
    filtered = any(each is not None for each in options)
    if places and (filtered or everything):
        raise UsageError("name places, or filter; not both")
    if not places and not filtered and not everything:
        raise UsageError(f"say which: places ({FORMS}), or --reason, --aggregate, --id, --since, --until, or --all")
    if places:
        return lambda letters: list(dict.fromkeys(find_letter(letters, each) for each in places))
    wanted = Filter.read(pipeline, *options)
    return lambda letters: [each for each in letters.waiting() if wanted.admits(each)]


def _chosen(box: DeadLetterBox, choose: Chooser, yes: bool) -> tuple[Letters, list[Letter], list[Held]]:
    """With the letters that were named, but handled before. What is done takes the right to do it first: then nobody
    else's act is missed."""
    if yes:
        box.take()
    letters = box.letters()
    chosen = choose(letters)
    handled = [Held(each, _handled_text(letters.audits[each.place])) for each in chosen if each.place in letters.audits]
    return letters, [each for each in chosen if each.place not in letters.audits], handled


def _handled_text(audit: Audit) -> str:
    sent = "" if audit.sent is None else f", as {audit.sent}"
    return f"it was {audit.action} already, {local_time(audit.at)} by {audit.by}{sent}"


@contextmanager
def _box(session: Session, pipeline: Pipeline) -> Iterator[DeadLetterBox]:
    from eventsrc.runtime.dead_letter_box import DeadLetterBox

    with DeadLetterBox(pipeline, session.settings) as box:
        yield box


def _decoder(session: Session, pipeline: Pipeline) -> LetterDecoder:
    from eventsrc.runtime.catalogs import open_catalog

    return LetterDecoder(pipeline, open_catalog(pipeline, session.settings))


def _typed_app(words: list[str] | None) -> str | None:
    """As it must be typed in the commands to run next."""
    return words[0] if words and ":" in words[0] else None


def _operator() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"

"""What `eventsrc dlq` does: finds the letters that are meant, acts on them, and tells what was done or held back.

Apart from the commands' declarations, which `--help` needs at once, because it stands on the engine and the codec.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from eventsrc.cli.dlq import FORMS
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
from eventsrc.cli.dlq_words import Filter, find_letter, read_places
from eventsrc.cli.errors import EXIT_FAILURE, UsageError
from eventsrc.cli.progress import ProgressBar
from eventsrc.cli.render import dump, local_time
from eventsrc.cli.session import Session
from eventsrc.engine.letters import Action, Audit, Letter, Letters
from eventsrc.engine.retrying import Held, Ready, RetryPlan
from eventsrc.runtime.replaying import ReplayProgress

if TYPE_CHECKING:
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.runtime.dead_letter_box import DeadLetterBox


class Wanted(NamedTuple):
    """The options that filter; None is anything."""

    reason: str | None
    aggregate: str | None
    id: str | None
    since: str | None
    until: str | None


class How(NamedTuple):
    """The options of an act."""

    why: str
    yes: bool
    as_json: bool


def list_letters(
    session: Session, app: list[str] | None, wanted: Wanted, limit: int, *, all_states: bool, as_json: bool
) -> None:
    pipeline, rest = session.split(app)
    if rest:
        raise UsageError(f"{rest[0]!r}: options name what is wanted; one letter is shown by eventsrc dlq show PLACE")
    admitted = Filter.read(pipeline, *wanted)
    decoder = _decoder(session, pipeline)
    with _box(session, pipeline) as box:
        letters = box.letters()
    of_state = list(letters.by_place.values()) if all_states else letters.waiting()
    matching = sorted((each for each in of_state if admitted.admits(each)), key=lambda each: (each.time_ms, each.place))
    shown = matching[-limit:]
    if as_json:
        print(dump(list_json(shown, matching, letters, decoder)))
    else:
        print(list_text(shown, matching, letters, decoder, _typed_app(app)))


def show(session: Session, words: list[str] | None, *, as_json: bool) -> None:
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
    session: Session, words: list[str] | None, wanted: Wanted, how: How, *, everything: bool, out_of_order: bool
) -> None:
    pipeline, rest = session.split(words)
    choose = _chooser(pipeline, rest, wanted, everything)
    with _box(session, pipeline) as box, ProgressBar() as bar:
        letters, chosen, handled = _chosen(box, choose, how.yes)
        plan = box.plan(
            letters,
            {each.place for each in chosen},
            out_of_order=out_of_order,
            progress=lambda passed, total: bar.show(ReplayProgress(passed, total, passed)),
        )
        plan.held[:0] = handled
        _Act("retried", letters, plan, _decoder(session, pipeline), how).run(box)


def drop(session: Session, words: list[str] | None, wanted: Wanted, how: How, *, everything: bool) -> None:
    pipeline, rest = session.split(words)
    choose = _chooser(pipeline, rest, wanted, everything)
    with _box(session, pipeline) as box:
        letters, chosen, handled = _chosen(box, choose, how.yes)
        plan = RetryPlan([Ready(each, each.place.partition) for each in chosen], handled)
        _Act("dropped", letters, plan, _decoder(session, pipeline), how).run(box)


# ---- inside


class _Act:
    """What is done, or would be, to the letters of a plan, and how it is told."""

    def __init__(self, action: Action, letters: Letters, plan: RetryPlan, decoder: LetterDecoder, how: How) -> None:
        self._action, self._letters, self._plan, self._decoder, self._how = action, letters, plan, decoder, how
        self._done: list[Audit] = []

    def run(self, box: DeadLetterBox) -> None:
        """Raises `typer.Exit` with 1 where a letter is held back."""
        yes = self._how.yes
        if not self._how.as_json:
            sending = () if yes else self._plan.ready
            for line in plan_lines(sending, self._plan.held, self._decoder, f"would be {self._action}"):
                print(line)
        try:
            if yes and self._plan.ready:
                box.carry_out(self._letters, self._action, self._plan.ready, _operator(), self._how.why, self._tell)
        finally:
            self._sum_up()
        if self._plan.held:
            raise typer.Exit(EXIT_FAILURE)

    def _tell(self, audit: Audit) -> None:
        self._done.append(audit)
        if not self._how.as_json:
            print(done_text(audit), flush=True)

    def _sum_up(self) -> None:
        ready, held, done = len(self._plan.ready), self._plan.held, len(self._done)
        if self._how.as_json:
            print(dump(self._object()))
            return
        if self._how.yes:
            print(f"{done:,} {self._action}" + (f" of {ready:,}" if done < ready else "") + _held_text(held))
            return
        print(f"{ready:,} would be {self._action}{_held_text(held)}; nothing was changed")
        if ready:
            print("next: the same command with --yes")

    def _object(self) -> dict[str, Any]:
        return {
            "action": self._action,
            "dry_run": not self._how.yes,
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


def _chooser(pipeline: Pipeline, rest: list[str], wanted: Wanted, everything: bool) -> Chooser:
    """Letters by place, by filter, or all that wait; never all for want of a word. Raises `UsageError`."""
    places = read_places(pipeline, rest)
    filtered = any(each is not None for each in wanted)
    if places and (filtered or everything):
        raise UsageError("name places, or filter; not both")
    if not places and not filtered and not everything:
        raise UsageError(f"say which: places ({FORMS}), or --reason, --aggregate, --id, --since, --until, or --all")
    if places:
        return lambda letters: list(dict.fromkeys(find_letter(letters, each) for each in places))
    admitted = Filter.read(pipeline, *wanted)
    return lambda letters: [each for each in letters.waiting() if admitted.admits(each)]


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

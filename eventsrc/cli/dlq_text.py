"""How dead letters are shown: decoded where their schemas are known, raw where not."""

from __future__ import annotations

import base64
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from eventsrc.cli.render import columns, local_time, message_text, printable, record_to_json, rfc3339
from eventsrc.codec.framing import prefix_of
from eventsrc.engine.letters import Audit, Letter, Letters
from eventsrc.engine.retrying import may_be_sent
from eventsrc.errors import EventsrcError
from eventsrc.model.names import commands_topic

if TYPE_CHECKING:
    from eventsrc.codec.catalog import Catalog
    from eventsrc.engine.retrying import Held, Ready
    from eventsrc.model.pipeline import Pipeline

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RAW_BYTES = 256
_MESSAGE_CHARACTERS = 100


class Decoded(NamedTuple):
    """`aggregate`: None where the topic is none of the pipeline's. `problem`: why there is no payload."""

    aggregate: str | None
    name: str | None = None
    text: str | None = None
    payload: dict[str, Any] | None = None
    command_id: str | None = None
    problem: str | None = None


class LetterDecoder:
    """Of one pipeline."""

    def __init__(self, pipeline: Pipeline, catalog: Catalog) -> None:
        self._aggregates = {commands_topic(pipeline.name, name): each for name, each in pipeline.aggregates.items()}
        self._catalog = catalog

    def decode(self, letter: Letter) -> Decoded:
        aggregate = self._aggregates.get(letter.source.topic)
        if aggregate is None:
            return Decoded(None, problem=f"topic {letter.source.topic} is none of this pipeline's")
        if letter.value is None:
            return Decoded(aggregate.name, problem="it has no value")
        if not letter.whole:
            return Decoded(aggregate.name, problem="only its beginning was kept")
        try:
            meta, _, command = self._catalog.command_reader(aggregate, prefix_of(letter.value))(letter.value)
        except EventsrcError as unreadable:
            return Decoded(aggregate.name, problem=str(unreadable))
        message = aggregate.commands[type(command)]
        return Decoded(
            aggregate.name,
            message.name,
            message_text(message.record, command),
            record_to_json(message.record, command),
            str(uuid.UUID(bytes=meta.id)),
        )


# ---- a list


def list_text(
    shown: Sequence[Letter], matching: Sequence[Letter], letters: Letters, decoder: LetterDecoder, app: str | None
) -> str:
    """`matching`: those that are waited for, or all, of which the newest are shown."""
    lines = []
    if shown:
        heads = ("place", "set aside", "reason", "from", "id", "command", "message")
        lines.append(columns([heads, *(_row(each, letters, decoder.decode(each)) for each in shown)]))
    lines += _footer(shown, matching, letters, app)
    return "\n".join(lines)


def _row(letter: Letter, letters: Letters, decoded: Decoded) -> tuple[str, ...]:
    audit = letters.audits.get(letter.place)
    message = letter.message.splitlines()[0] if letter.message else ""
    if len(message) > _MESSAGE_CHARACTERS:
        message = message[: _MESSAGE_CHARACTERS - 3] + "..."
    state = "" if audit is None else f"{audit.action.upper()} by {audit.by}: "
    attempt = "" if letter.attempt == 1 else f"attempt {letter.attempt}, of {letter.retry_of}: "
    return (
        str(letter.place),
        local_time(_time(letter)),
        printable(letter.reason),
        printable(_origin(letter, decoded)),
        printable(key_text(letter.key)),
        decoded.name or "?",
        printable(state + attempt + message),
    )


def _footer(shown: Sequence[Letter], matching: Sequence[Letter], letters: Letters, app: str | None) -> Iterator[str]:
    if len(shown) < len(matching):
        yield f"the newest {len(shown):,} of {len(matching):,}; --limit shows more"
    counts = Counter(each.reason for each in matching)
    said = ", ".join(f"{count:,} {printable(reason)}" for reason, count in counts.most_common())
    yield said or "no dead letter"
    done = Counter(audit.action for audit in letters.audits.values())
    if done and not any(each.place in letters.audits for each in matching):
        handled = ", ".join(f"{count:,} {action}" for action, count in done.most_common())
        yield f"not shown: {handled} (--all-states)"
    if letters.foreign:
        yield f"{len(letters.foreign):,} records of another program stand in the topic, the first at {letters.foreign[0]}"
    if shown:
        yield f"next: eventsrc dlq show{f' {app}' if app else ''} {shown[-1].place}"


def list_json(
    shown: Sequence[Letter], matching: Sequence[Letter], letters: Letters, decoder: LetterDecoder
) -> dict[str, Any]:
    return {
        "letters": [letter_json(each, letters, decoder.decode(each)) for each in shown],
        "matching": len(matching),
        "by_reason": dict(Counter(each.reason for each in matching).most_common()),
        "handled": dict(Counter(audit.action for audit in letters.audits.values())),
        "foreign": [str(place) for place in letters.foreign],
    }


def letter_json(letter: Letter, letters: Letters, decoded: Decoded) -> dict[str, Any]:
    audit = letters.audits.get(letter.place)
    return {
        "place": str(letter.place),
        "time": rfc3339(_time(letter)),
        "reason": letter.reason,
        "message": letter.message,
        "aggregate": decoded.aggregate,
        "id": key_text(letter.key) if letter.key is not None else None,
        "command": decoded.name,
        "payload": decoded.payload,
        "command_id": decoded.command_id,
        "source": letter.source._asdict(),
        "attempt": letter.attempt,
        "retry_of": letter.retry_of,
        "state": "waiting" if audit is None else audit.action,
        "audit": None if audit is None else audit_json(audit),
    }


def audit_json(audit: Audit) -> dict[str, Any]:
    return {
        "action": audit.action,
        "by": audit.by,
        "at": rfc3339(audit.at),
        "why": audit.why,
        "sent": None if audit.sent is None else audit.sent._asdict(),
    }


# ---- one


def show_text(letter: Letter, letters: Letters, decoded: Decoded, app: str | None) -> str:
    attempt = "" if letter.attempt == 1 else f", attempt {letter.attempt}, after {letter.retry_of}"
    rows = [
        ("command", printable(decoded.text or f"unreadable: {decoded.problem}")),
        ("id", printable(f"{decoded.aggregate or '?'} {key_text(letter.key)}")),
        *([("command id", decoded.command_id)] if decoded.command_id else []),
        ("from", printable(str(letter.source))),
        ("set aside", local_time(_time(letter))),
        ("message", printable(letter.message)),
        *(("header", printable(f"{name}: {_header_text(value)}")) for name, value in letter.headers),
        *_raw_rows(letter, decoded),
        *_state_rows(letters.audits.get(letter.place)),
    ]
    lines = [f"{letter.place}   {printable(letter.reason)}{printable(attempt)}", columns(rows, indent="  ")]
    if letter.traceback:
        lines += ["  traceback", *(f"    {printable(line)}" for line in letter.traceback.splitlines())]
    if letter.place not in letters.audits:
        named = f" {app}" if app else ""
        again = f"eventsrc dlq retry{named} {letter.place}, or " if may_be_sent(letter) else ""
        lines.append(f"next: {again}eventsrc dlq drop{named} {letter.place}")
    return "\n".join(lines)


def _raw_rows(letter: Letter, decoded: Decoded) -> Iterator[tuple[str, str]]:
    if decoded.payload is not None:
        return
    if letter.key is not None:
        yield "key, hex", _hex(letter.key)
    yield "value, hex", "null" if letter.value is None else _hex(letter.value)


def _hex(content: bytes) -> str:
    rest = len(content) - _RAW_BYTES
    more = f" and {rest:,} bytes more (--json has all, in base64)" if rest > 0 else ""
    return (content[:_RAW_BYTES].hex(" ", 2) or "empty") + more


def _state_rows(audit: Audit | None) -> Iterator[tuple[str, str]]:
    if audit is not None:
        sent = "" if audit.sent is None else f", as {audit.sent}"
        why = f": {audit.why}" if audit.why else ""
        yield "handled", printable(f"{audit.action} {local_time(audit.at)} by {audit.by}{sent}{why}")


def show_json(letter: Letter, letters: Letters, decoded: Decoded) -> dict[str, Any]:
    return letter_json(letter, letters, decoded) | {
        "problem": decoded.problem,
        "traceback": letter.traceback,
        "headers": [_header_json(name, value) for name, value in letter.headers],
        "whole": letter.whole,
        "key_base64": _base64(letter.key),
        "value_base64": _base64(letter.value),
    }


def _header_json(name: str, value: bytes | None) -> dict[str, Any]:
    try:
        return {"name": name, "value": None if value is None else value.decode()}
    except UnicodeDecodeError:
        return {"name": name, "value_base64": _base64(value)}


# ---- what is done


def plan_lines(ready: Iterable[Ready], held: Iterable[Held], decoder: LetterDecoder, verb: str) -> Iterator[str]:
    """A line for each that is sent, or would be, and for each that is held."""
    for each in ready:
        note = f"   out of order: {each.note}" if each.note else ""
        yield printable(f"{verb} {line_of(each.letter, decoder)}{note}")
    for one in held:
        yield printable(f"held {line_of(one.letter, decoder)}: {one.why}")


def line_of(letter: Letter, decoder: LetterDecoder) -> str:
    decoded = decoder.decode(letter)
    whose = f"{decoded.aggregate or letter.source.topic} {key_text(letter.key)}"
    return f"{letter.place}  {letter.reason}  {decoded.name or '?'} on {whose}"


def done_text(audit: Audit) -> str:
    return printable(f"{audit.action} {audit.place}" + ("" if audit.sent is None else f" as {audit.sent}"))


def key_text(key: bytes | None) -> str:
    return "null" if key is None else key.decode(errors="backslashreplace")


def _origin(letter: Letter, decoded: Decoded) -> str:
    return f"{decoded.aggregate or letter.source.topic}/{letter.source.partition}@{letter.source.offset}"


def _time(letter: Letter) -> datetime:
    return _EPOCH + timedelta(milliseconds=letter.time_ms)


def _header_text(value: bytes | None) -> str:
    return "null" if value is None else value.decode(errors="backslashreplace")


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()
